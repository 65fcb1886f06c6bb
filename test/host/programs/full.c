/* The daemon has few descriptors: what does not fit is refused, what was given up can be had again. */
#include "fake.h"

static int refused_here(void)
{
	REFUSED(open("/dev/iommu", O_RDWR), EMFILE);
	_exit(0);
}

int main(void)
{
	int fds[200], count;

	for (int round = 0; round < 3; round++) {
		for (count = 0; count < 200; count++) {
			fds[count] = open("/dev/iommu", O_RDWR);
			if (fds[count] < 0)
				break;
		}
		CHECK(count > 5 && count < 200 && (errno == EMFILE || errno == ENFILE));
		check_add(fds[0], round);
		for (int i = 0; i < 5; i++)
			CHECK(fork() || refused_here());
		for (int i = 0, status; i < 5; i++)
			CHECK(wait(&status) > 0 && status == 0);
		while (count > 0)
			close(fds[--count]);
		fds[0] = open("/dev/iommu", O_RDWR);
		check_add(fds[0], 1);
		close(fds[0]);
	}
	return 0;
}
