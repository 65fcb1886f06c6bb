/* Waits in poll for a fault that never comes, until the daemon is killed. */
#include "robust.h"

int main(void)
{
	struct iommu_fault_alloc alloc = { .size = sizeof(alloc) };
	struct pollfd wait = { .events = POLLIN };
	char buf[64];
	int fd = iommu_open();

	CHECK(ioctl(fd, IOMMU_FAULT_QUEUE_ALLOC, &alloc) == 0);
	wait.fd = alloc.out_fault_fd;
	CHECK(poll(&wait, 1, 0) == 0);
	printf("ready\n");
	fflush(stdout);
	CHECK(poll(&wait, 1, -1) == 1);
	REFUSED(read(wait.fd, buf, sizeof(buf)), ENODEV);
	REFUSED(write(wait.fd, buf, 16), ENODEV);
	CHECK(ioas_alloc(fd) == 0 && errno == ENODEV);
	return 0;
}
