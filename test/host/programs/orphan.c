/* Says "ready", waits for a line, and then expects the daemon to be gone. */
#include "fake.h"
#include <poll.h>

int main(void)
{
	struct fake f = { sizeof(f), 0, 0, 0, 0, 0 };
	int fd = fake_open(), queue = give(fd, 1);
	char byte;

	check_add(fd, 1);
	CHECK(write(1, "ready\n", 6) == 6);
	CHECK(read(0, &byte, 1) == 1);
	REFUSED(ioctl(fd, ADD, &f), ENODEV);
	REFUSED(ioctl(fd, ADD, &f), ENODEV);
	REFUSED(read(queue, &f, sizeof(f)), ENODEV);
	REFUSED(open("/dev/iommu", O_RDWR), ENODEV);
	CHECK(close(queue) == 0 && close(fd) == 0);
	REFUSED(ioctl(fd, ADD, &f), EBADF);
	return 0;
}
