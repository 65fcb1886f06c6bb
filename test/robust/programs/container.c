/* Groups and containers from outside: every order of closing, and processes that are killed in the middle of it all. */
#include "robust.h"

#define IOVA 0x10000000ULL
#define LENGTH (1 << 20)

static const char *const device_name = "0000:00:01.0";

struct opened {
	int container, group, device;
	char *memory;
};

static char *shared(void)
{
	char *at = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

/* False: somebody else has the group, or had it a moment ago. */
static int open_all(struct opened *o, const char *container, unsigned long type)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = IOVA,
		.size = LENGTH,
	};

	o->group = open("/dev/vfio/0", O_RDWR);
	if (o->group < 0) {
		CHECK(errno == EBUSY);
		return 0;
	}
	o->container = open(container, O_RDWR);
	CHECK(o->container >= 0);
	CHECK(ioctl(o->group, VFIO_GROUP_SET_CONTAINER, &o->container) == 0);
	CHECK(ioctl(o->container, VFIO_SET_IOMMU, type) == 0);
	o->memory = shared();
	map.vaddr = (uintptr_t)o->memory;
	CHECK(ioctl(o->container, VFIO_IOMMU_MAP_DMA, &map) == 0);
	o->device = ioctl(o->group, VFIO_GROUP_GET_DEVICE_FD, device_name);
	CHECK(o->device >= 0);
	return 1;
}

/* The device fills memory; the state of the operation. */
static uint32_t fills(int device, int value)
{
	struct ioasis_dma dma = {
		.size = sizeof(dma),
		.op = IOASIS_DMA_OP_FILL,
		.iova = IOVA,
		.length = LENGTH,
		.value = (unsigned)value,
	};

	CHECK(ioctl(device, IOASIS_DMA, &dma) == 0);
	return dma.out_state;
}

static void patiently(struct opened *o, const char *container, unsigned long type)
{
	while (!open_all(o, container, type))
		usleep(1000);
}

static void closes_in(const int order[3], const char *container, unsigned long type)
{
	struct opened o;
	int *fds[3] = { &o.container, &o.group, &o.device };

	patiently(&o, container, type);
	for (int i = 0; i < 3; i++) {
		if (o.device >= 0) {
			CHECK(fills(o.device, i + 1) == IOASIS_DMA_DONE);
			CHECK(o.memory[0] == i + 1 && o.memory[LENGTH - 1] == i + 1);
		}
		CHECK(close(*fds[order[i]]) == 0);
		*fds[order[i]] = -1;
	}
	munmap(o.memory, LENGTH);
}

static void every_order(const char *container, unsigned long type)
{
	static const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

	for (int i = 0; i < 6; i++)
		closes_in(orders[i], container, type);
}

/* Bound by its own file, and closed: the group is free again. */
static void binds(void)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	int device = open("/dev/vfio/devices/vfio0", O_RDWR), iommu = iommu_open(), group;

	CHECK(device >= 0);
	bind.iommufd = iommu;
	CHECK(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0);
	CHECK(open("/dev/vfio/0", O_RDWR) == -1 && errno == EBUSY);
	close(iommu);
	close(device);
	while ((group = open("/dev/vfio/0", O_RDWR)) < 0)
		usleep(1000);
	close(group);
}

static void killed(const char *container, unsigned long type)
{
	for (int round = 0; round < 12; round++) {
		pid_t child = fork();
		struct opened o;

		CHECK(child >= 0);
		if (child == 0)
			for (;;) {
				if (!open_all(&o, container, type))
					continue;
				for (int i = 0; i < 8; i++)
					fills(o.device, i);
				close(o.container);
				close(o.group);
				close(o.device);
				munmap(o.memory, LENGTH);
			}
		usleep(2000 + round * 1500);
		CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
		/* Whatever it had is free, and works. */
		patiently(&o, container, type);
		CHECK(fills(o.device, 7) == IOASIS_DMA_DONE && o.memory[LENGTH / 2] == 7);
		close(o.device);
		close(o.group);
		close(o.container);
		munmap(o.memory, LENGTH);
	}
}

int main(void)
{
	every_order("/dev/vfio/vfio", VFIO_TYPE1_IOMMU);
	every_order("/dev/vfio/vfio", VFIO_TYPE1v2_IOMMU);
	every_order("/dev/iommu", VFIO_TYPE1v2_IOMMU);
	binds();
	killed("/dev/vfio/vfio", VFIO_TYPE1v2_IOMMU);
	killed("/dev/iommu", VFIO_TYPE1_IOMMU);
	return 0;
}
