/* A program that does nothing odd: an object, a mapping, a device, a copy through it. */
#include "robust.h"

int main(void)
{
	static char page[4096] __attribute__((aligned(4096)));
	char byte = 'x';
	uint64_t iova;
	int fd = iommu_open();
	uint32_t ioas = ioas_alloc(fd), access;

	CHECK(ioas && map(fd, ioas, page, sizeof(page), &iova) == 0);
	access = access_alloc(fd, ioas);
	CHECK(access_rw(fd, access, iova + 7, &byte, 1, 1) == 0 && page[7] == 'x');
	return 0;
}
