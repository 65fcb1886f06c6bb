/*
 * A driver of Intel's DMA engine in user space, as small as one can be: finds its registers, enables memory and bus
 * mastering, has a copy done and waits for the interrupt on an eventfd. Argument: which kind of interrupt.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ioasis.h"

#define IOVA 0x100000ULL
#define CHANNEL 0x80

static char memory[3 * 4096] __attribute__((aligned(4096)));
static int device;
static off_t bar, config;

#define CHECK(condition)                                                 \
	do {                                                             \
		if (!(condition)) {                                      \
			printf("line %d: %s\n", __LINE__, #condition);   \
			perror("errno");                                 \
			exit(1);                                         \
		}                                                        \
	} while (0)

static void store(int offset, const void *bytes, size_t length)
{
	CHECK(pwrite(device, bytes, length, bar + offset) == (ssize_t)length);
}

static unsigned long load(int offset, size_t length)
{
	unsigned long value = 0;

	CHECK(pread(device, &value, length, bar + offset) == (ssize_t)length);
	return value;
}

static struct vfio_region_info region(unsigned int index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	CHECK(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) == 0);
	return info;
}

/* Sets one eventfd, or another value, for the interrupt at 0 of a kind. */
static int set_irq(unsigned int index, unsigned int flags, int value)
{
	union {
		struct vfio_irq_set set;
		char room[sizeof(struct vfio_irq_set) + sizeof(int)];
	} arg = { .set = { .argsz = sizeof(struct vfio_irq_set) + sizeof(int),
			   .flags = flags,
			   .index = index,
			   .count = 1 } };

	memcpy(arg.room + sizeof(struct vfio_irq_set), &value, sizeof(value));
	return ioctl(device, VFIO_DEVICE_SET_IRQS, &arg);
}

static long waited(int event)
{
	struct pollfd pollfd = { .fd = event, .events = POLLIN };
	unsigned long count = 0;

	if (poll(&pollfd, 1, 5000) != 1 || read(event, &count, sizeof(count)) != sizeof(count))
		return -1;
	return count;
}

static void copy(int intx)
{
	unsigned int descriptor[16] = { 4096, 1 };
	unsigned long at[] = { IOVA, IOVA + 4096, IOVA + 8192, 0 };
	unsigned short one = 1;
	unsigned char control = intx ? 1 : 9;

	memcpy(descriptor + 2, at, 16);
	memcpy(descriptor + 6, at + 2, 8);
	memset(memory, 'x', 4096);
	memset(memory + 4096, 0, 4096);
	memcpy(memory + 8192, descriptor, sizeof(descriptor));
	store(3, &control, 1);
	store(CHANNEL + 0x10, at + 2, 8);
	store(CHANNEL + 6, &one, 2);
}

int main(int argc, char **argv)
{
	const char *kind = argc > 1 ? argv[1] : "msix";
	int iommu = open("/dev/iommu", O_RDWR);
	int event = eventfd(0, EFD_CLOEXEC);
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommu };
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct iommu_ioas_map map = { .size = sizeof(map),
				      .flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE |
					       IOMMU_IOAS_MAP_FIXED_IOVA,
				      .user_va = (unsigned long)memory,
				      .length = sizeof(memory),
				      .iova = IOVA };
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_region_info bar0;
	unsigned short command = 6;
	volatile unsigned char *image;
	unsigned int trigger = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	unsigned int index = !strcmp(kind, "intx") ? VFIO_PCI_INTX_IRQ_INDEX :
			     !strcmp(kind, "msi")  ? VFIO_PCI_MSI_IRQ_INDEX :
						     VFIO_PCI_MSIX_IRQ_INDEX;

	device = open("/dev/vfio/devices/vfio0", O_RDWR);
	CHECK(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0);
	CHECK(ioctl(iommu, IOMMU_IOAS_ALLOC, &alloc) == 0);
	map.ioas_id = attach.pt_id = alloc.out_ioas_id;
	CHECK(ioctl(iommu, IOMMU_IOAS_MAP, &map) == 0);
	CHECK(ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) == 0);
	CHECK(ioctl(device, VFIO_DEVICE_GET_INFO, &info) == 0 && info.num_regions == 9 && info.num_irqs == 5);
	bar0 = region(VFIO_PCI_BAR0_REGION_INDEX);
	CHECK(bar0.size == 0x4000 && (bar0.flags & VFIO_REGION_INFO_FLAG_MMAP));
	bar = bar0.offset;
	config = region(VFIO_PCI_CONFIG_REGION_INDEX).offset;
	CHECK(pwrite(device, &command, 2, config + 4) == 2);
	image = mmap(NULL, bar0.size, PROT_READ, MAP_SHARED, device, bar);
	CHECK(image != MAP_FAILED && image[8] == load(8, 1));
	CHECK(set_irq(index, trigger, event) == 0);
	CHECK(set_irq(index, VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER, 1) == 0 && waited(event) == 1);
	copy(index == VFIO_PCI_INTX_IRQ_INDEX);
	CHECK(waited(event) == 1);
	CHECK(!memcmp(memory, memory + 4096, 4096));
	CHECK((image[CHANNEL + 8] & 7) == 1 && (load(CHANNEL + 8, 8) & 7) == 1);
	if (index == VFIO_PCI_INTX_IRQ_INDEX) {
		/* It is still up: unmasking by an eventfd tells again; once it is served, nothing comes. */
		int unmask = eventfd(0, 0);
		unsigned long one = 1;
		unsigned char served = 1;

		CHECK(set_irq(index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, unmask) == 0);
		CHECK(write(unmask, &one, 8) == 8 && waited(event) == 1);
		store(3, &served, 1);
		CHECK(write(unmask, &one, 8) == 8);
		CHECK(ioctl(device, VFIO_DEVICE_GET_INFO, &info) == 0);
		CHECK(poll(&(struct pollfd){ .fd = event, .events = POLLIN }, 1, 50) == 0);
	}
	CHECK(ioctl(device, VFIO_DEVICE_RESET) == 0);
	/* What the program leaves open, its end closes. */
	return 0;
}
