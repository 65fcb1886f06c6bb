/* Lengths and addresses at every edge: refused with an errno, or exact to the last bit. */
#include "robust.h"

static const uint64_t edges[] = {
	0,	       1,	      4095,	     4096,	     (1ull << 31) - 1, 1ull << 31,
	(1ull << 31) + 1, (1ull << 32) - 1, 1ull << 32,	     (1ull << 32) + 1, (1ull << 53) - 1, 1ull << 53,
	(1ull << 53) + 1, (1ull << 63) - 1, 1ull << 63,	     (1ull << 63) + 1, ~0ull - 4095,	 ~0ull,
};
#define EDGES (sizeof(edges) / sizeof(edges[0]))

static char page[4096] __attribute__((aligned(4096)));

static void refused_or_exact(int fd, uint32_t ioas)
{
	for (size_t i = 0; i < EDGES * EDGES * 2; i++) {
		uint64_t iova = edges[i % EDGES], length = edges[i / EDGES % EDGES];
		uint64_t at = i < EDGES * EDGES ? (uintptr_t)page : edges[(i * 7 + i / EDGES) % EDGES];
		struct iommu_ioas_map command = {
			.size = sizeof(command), .ioas_id = ioas, .user_va = at, .length = length, .iova = iova,
			.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		};
		struct iommu_ioas_unmap undo = { .size = sizeof(undo), .ioas_id = ioas, .iova = iova, .length = length };
		int mapped;

		errno = 0;
		mapped = ioctl(fd, IOMMU_IOAS_MAP, &command);
		CHECK(mapped == 0 ? command.iova == iova : errno == EINVAL || errno == EOVERFLOW || errno == EEXIST);
		CHECK(mapped != 0 || (length != 0 && iova + length - 1 >= iova));
		CHECK(ioctl(fd, IOMMU_IOAS_UNMAP, &undo) == (mapped == 0 ? 0 : -1) || length == ~0ull);
		CHECK(mapped != 0 || undo.length == length);
	}
}

static void exact(int fd, uint32_t ioas)
{
	struct iommu_ioas_map command = {
		.size = sizeof(command), .ioas_id = ioas, .user_va = (uintptr_t)page, .length = sizeof(page),
		.iova = 0xfedcba9876543000, .flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE,
	};
	uint32_t device = access_alloc(fd, ioas);
	char byte = 'n';

	CHECK(ioctl(fd, IOMMU_IOAS_MAP, &command) == 0);
	CHECK(access_rw(fd, device, 0xfedcba9876543fff, &byte, 1, 1) == 0 && page[4095] == 'n');
	REFUSED(access_rw(fd, device, 0xfedcba9876544000, &byte, 1, 1), ENOENT);
	REFUSED(access_rw(fd, device, 0xfedcba9876542fff, &byte, 1, 1), ENOENT);
}

int main(void)
{
	int fd = iommu_open();

	refused_or_exact(fd, ioas_alloc(fd));
	exact(fd, ioas_alloc(fd));
	CHECK(works(fd));
	return 0;
}
