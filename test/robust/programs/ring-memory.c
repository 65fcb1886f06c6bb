/*
 * The fault region of a device, mapped for DMA of another device, and then gone with its file: the memory is somebody
 * else's region now, and no device reaches it by the old mapping. Meanwhile the program writes what it likes into rings.
 */
#include "robust.h"
#include <sys/eventfd.h>

#define PAGE 4096ul
#define GUEST 0x100000ul
#define IOVA 0x7f0000000000ul
#define PLACE 0x40000000ul

struct machine {
	int container, group, device;
	unsigned regions, irqs;
};

static struct machine begin(const char *group, const char *device)
{
	struct machine m = { .container = open("/dev/vfio/vfio", O_RDWR), .group = open(group, O_RDWR) };
	struct vfio_device_info info = { .argsz = sizeof(info) };
	uint16_t command = 6;

	CHECK(m.container >= 0 && m.group >= 0);
	CHECK(ioctl(m.group, VFIO_GROUP_SET_CONTAINER, &m.container) == 0);
	CHECK(ioctl(m.container, VFIO_SET_IOMMU, VFIO_TYPE1_NESTING_IOMMU) == 0);
	m.device = ioctl(m.group, VFIO_GROUP_GET_DEVICE_FD, device);
	CHECK(m.device >= 0 && ioctl(m.device, VFIO_DEVICE_GET_INFO, &info) == 0);
	CHECK(pwrite(m.device, &command, 2, ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40) + 4) == 2);
	m.regions = info.num_regions;
	m.irqs = info.num_irqs;
	return m;
}

/* The region of faults is the last but one, that of responses the last. */
static off_t region(const struct machine *m, int fromEnd)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = m->regions - (unsigned)fromEnd };

	CHECK(ioctl(m->device, VFIO_DEVICE_GET_REGION_INFO, &info) == 0 && info.size > PAGE);
	return (off_t)info.offset;
}

static char *entries(const struct machine *m, int fromEnd)
{
	char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, m->device, region(m, fromEnd) + (off_t)PAGE);

	CHECK(at != MAP_FAILED);
	return at;
}

static void map_for_dma(const struct machine *m, void *at, uint64_t iova, uint64_t length)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = 3, .vaddr = (uintptr_t)at, .iova = iova, .size = length,
	};

	CHECK(ioctl(m->container, VFIO_IOMMU_MAP_DMA, &map) == 0);
}

/* What became of it; -1: there are too many that are not over. */
static int dma(const struct machine *m, uint32_t op, uint32_t flags, uint64_t iova, void *into)
{
	struct ioasis_dma cmd = {
		.size = sizeof(cmd), .op = op, .flags = flags, .iova = iova, .length = 8,
		.data_uptr = (uintptr_t)into, .value = 'X',
	};

	if (ioctl(m->device, IOASIS_DMA, &cmd)) {
		CHECK(errno == EBUSY);
		return -1;
	}
	return (int)cmd.out_state;
}

static void close_all(const struct machine *m)
{
	close(m->device);
	close(m->group);
	close(m->container);
}

static void memory_that_is_gone(void)
{
	struct machine mine = begin("/dev/vfio/1", "0000:00:02.0"), first = begin("/dev/vfio/0", "0000:00:01.0");
	char *ring = entries(&first, 2), got[9] = "";
	struct machine second;

	strcpy(ring, "a fault");
	map_for_dma(&mine, ring, PLACE, PAGE);
	CHECK(dma(&mine, IOASIS_DMA_OP_READ, 0, PLACE, got) == IOASIS_DMA_DONE && strcmp(got, "a fault") == 0);
	munmap(ring, PAGE);
	close_all(&first);

	second = begin("/dev/vfio/0", "0000:00:01.0");
	ring = entries(&second, 2);
	strcpy(ring, "another");
	strcpy(got, "nothing");
	CHECK(dma(&mine, IOASIS_DMA_OP_READ, 0, PLACE, got) == IOASIS_DMA_FAILED && strcmp(got, "nothing") == 0);
	CHECK(dma(&mine, IOASIS_DMA_OP_FILL, 0, PLACE, NULL) == IOASIS_DMA_FAILED && strcmp(ring, "another") == 0);
	munmap(ring, PAGE);
	close_all(&second);
	close_all(&mine);
}

/* ---- Rings that the program writes as it likes ---- */

static void listen_to(const struct machine *m, int event)
{
	struct {
		struct vfio_irq_set set;
		int fd;
	} __attribute__((packed)) set = {
		.set = { .argsz = sizeof(set),
			 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			 .index = m->irqs - 1,
			 .count = 1 },
		.fd = event,
	};

	CHECK(ioctl(m->device, VFIO_DEVICE_SET_IRQS, &set) == 0);
}

static void bind(const struct machine *m, uint64_t root)
{
	struct {
		struct vfio_iommu_type1_bind head;
		struct iommu_gpasid_bind_data data;
	} cmd = { .head = { .argsz = sizeof(cmd), .flags = VFIO_IOMMU_BIND_GUEST_PGTBL },
		  .data = { .argsz = sizeof(cmd.data),
			    .version = 1,
			    .format = IOMMU_PASID_FORMAT_INTEL_VTD,
			    .addr_width = 48,
			    .gpgd = root } };

	CHECK(ioctl(m->container, VFIO_IOMMU_BIND, &cmd) == 0);
}

static void rings_of_the_program(void)
{
	struct machine m = begin("/dev/vfio/0", "0000:00:01.0");
	char *guest = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *faults = entries(&m, 2), *responses = entries(&m, 1);
	off_t at[2] = { region(&m, 2), region(&m, 1) };
	int event = eventfd(0, EFD_NONBLOCK);
	struct ioasis_dma_completion over;
	unsigned seed = 5;
	char got[8];

	map_for_dma(&m, guest, GUEST, 16 * PAGE);
	listen_to(&m, event);
	bind(&m, GUEST);
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t index = (seed = seed * 1664525 + 1013904223) >> 22;

		/* Reads where nothing is: page requests that nobody may ever answer. */
		if (i % 16 == 0)
			dma(&m, IOASIS_DMA_OP_READ, IOASIS_DMA_ATS | IOASIS_DMA_PRI, IOVA, got);
		((uint32_t *)faults)[seed >> 8 & 1023] = seed;
		((uint32_t *)responses)[seed >> 9 & 1023] = seed >> 30 ? seed : 24;
		if (index < 512)
			CHECK(pwrite(m.device, &index, 4, at[i & 1]) == 4);
		else
			REFUSED(pwrite(m.device, &index, 4, at[i & 1]), EINVAL);
		while (poll(&(struct pollfd){ .fd = m.device, .events = POLLIN }, 1, 0) == 1)
			CHECK(read(m.device, &over, sizeof(over)) == sizeof(over));
	}
	/* The eventfd goes, and then all else with requests still waiting. */
	close(event);
	close_all(&m);
	munmap(faults, PAGE);
	munmap(responses, PAGE);
	munmap(guest, 16 * PAGE);
}

/* ---- Calls with anything for arguments ---- */

static void anything(void)
{
	static const uint32_t sizes[] = { 0, 7, 8, 12, 16, 56, 64, 72, 80, 88, 4096, 0x7fffffff, 0xffffffff };
	static const uint64_t odd[] = { 0, 1, 2, 3, 4, 48, GUEST, GUEST + 1, 1ul << 20, 1ul << 47, 1ul << 63, ~0ul };
	const unsigned long calls[] = { VFIO_IOMMU_BIND, VFIO_IOMMU_CACHE_INVALIDATE, VFIO_IOMMU_PASID_REQUEST };
	struct machine m = begin("/dev/vfio/0", "0000:00:01.0");
	char *guest = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned seed = 11, done = 0;

	CHECK(munmap(edge + PAGE, PAGE) == 0);
	map_for_dma(&m, guest, GUEST, 16 * PAGE);
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t *words = (uint32_t *)(edge + PAGE - (seed >> 27) * 4 - 4);
		unsigned room = (unsigned)((uint32_t *)(edge + PAGE) - words);

		for (unsigned j = 0; j < room; j++) {
			seed = seed * 1664525 + 1013904223;
			words[j] = seed >> 30 ? seed >> 8 & 3 : (uint32_t)odd[seed % 12];
		}
		words[0] = sizes[(seed >> 12) % 13];
		done += ioctl(m.container, calls[(seed >> 20) % 3], words) >= 0;
		if (i % 64 == 0)
			dma(&m, IOASIS_DMA_OP_FILL, IOASIS_DMA_ATS, IOVA, NULL);
	}
	CHECK(done > 20);
	close_all(&m);
	munmap(edge, PAGE);
	munmap(guest, 16 * PAGE);
}

int main(void)
{
	anything();
	memory_that_is_gone();
	rings_of_the_program();
	rings_of_the_program();
	return 0;
}
