/*
 * ioctl-client WORK COUNT, where /dev/iommu is ioasis'. WORK says what one operation is:
 *   areas    one of COUNT areas, chosen at random, is unmapped and mapped again: two ioctls
 *   objects  one of COUNT objects, chosen at random, is destroyed and one is made: two ioctls
 */
#include <fcntl.h>
#include "ioasis.h"
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "batch.h"

#define PAGE 4096ull
/* Areas do not touch: each is a page and then a page of nothing. */
#define STRIDE (2 * PAGE)

static int iommu;
static uint32_t ioas;
static void *page;
static uint32_t count;
static uint32_t *objects;

static void ask(unsigned long request, void *argument)
{
	if (ioctl(iommu, request, argument) < 0)
		die("ioctl");
}

static uint32_t make_ioas(void)
{
	struct iommu_ioas_alloc make = { .size = sizeof(make) };

	ask(IOMMU_IOAS_ALLOC, &make);
	return make.out_ioas_id;
}

static void map(uint64_t iova)
{
	struct iommu_ioas_map request = {
		.size = sizeof(request),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)page,
		.length = PAGE,
		.iova = iova,
	};

	ask(IOMMU_IOAS_MAP, &request);
}

static void unmap(uint64_t iova)
{
	struct iommu_ioas_unmap request = {
		.size = sizeof(request), .ioas_id = ioas, .iova = iova, .length = PAGE
	};

	ask(IOMMU_IOAS_UNMAP, &request);
}

static void do_area(void)
{
	uint64_t iova = next_random() % count * STRIDE;

	unmap(iova);
	map(iova);
}

static void do_object(void)
{
	uint32_t *object = &objects[next_random() % count];
	struct iommu_destroy request = { .size = sizeof(request), .id = *object };

	ask(IOMMU_DESTROY, &request);
	*object = make_ioas();
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	count = (uint32_t)atol(argv[2]);
	iommu = open("/dev/iommu", O_RDWR);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (iommu < 0 || page == MAP_FAILED)
		die("/dev/iommu");
	ioas = make_ioas();
	if (strcmp(argv[1], "areas") == 0) {
		for (uint32_t i = 0; i < count; i++)
			map(i * STRIDE);
		serve_batches(do_area);
	} else if (strcmp(argv[1], "objects") == 0) {
		objects = malloc(count * sizeof(*objects));
		for (uint32_t i = 0; i < count; i++)
			objects[i] = make_ioas();
		serve_batches(do_object);
	} else {
		return 2;
	}
	return 0;
}
