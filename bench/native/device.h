/* A device of VFIO in the hands of a benchmark: bound, attached, its registers mapped, memory where it finds it. */
#ifndef DEVICE_H
#define DEVICE_H

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ioasis.h"

#include "batch.h"

#define PAGE 4096ul
#define IOVA 0x10000000ull
#define MEMORY (16ul << 20)
#define MEMORY_AND_MASTER 6

static int device;
static uint64_t bar_offset;
static volatile char *bar;
static char *memory;

static inline void ask(int fd, unsigned long request, void *argument, const char *what)
{
	if (ioctl(fd, request, argument) < 0)
		die(what);
}

static inline struct vfio_region_info region(unsigned index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	ask(device, VFIO_DEVICE_GET_REGION_INFO, &info, "VFIO_DEVICE_GET_REGION_INFO");
	return info;
}

static inline void open_device(const char *path)
{
	int iommu = open("/dev/iommu", O_RDWR);
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommu };
	struct iommu_ioas_alloc make = { .size = sizeof(make) };
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		.length = MEMORY,
		.iova = IOVA,
	};
	uint16_t command = MEMORY_AND_MASTER;
	struct vfio_region_info info;

	device = open(path, O_RDWR);
	if (iommu < 0 || device < 0)
		die(path);
	ask(device, VFIO_DEVICE_BIND_IOMMUFD, &bind, "VFIO_DEVICE_BIND_IOMMUFD");
	ask(iommu, IOMMU_IOAS_ALLOC, &make, "IOMMU_IOAS_ALLOC");
	attach.pt_id = make.out_ioas_id;
	ask(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("memory");
	memset(memory, 0, MEMORY);
	map.ioas_id = make.out_ioas_id;
	map.user_va = (uintptr_t)memory;
	ask(iommu, IOMMU_IOAS_MAP, &map, "IOMMU_IOAS_MAP");
	if (pwrite(device, &command, 2, (off_t)region(VFIO_PCI_CONFIG_REGION_INDEX).offset + 4) != 2)
		die("the command register");
	info = region(VFIO_PCI_BAR0_REGION_INDEX);
	bar_offset = info.offset;
	bar = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)info.offset);
	if (bar == MAP_FAILED)
		die("registers");
}

static inline uint32_t load32(unsigned at)
{
	return *(volatile uint32_t *)(bar + at);
}

static inline void store32(unsigned at, uint32_t value)
{
	*(volatile uint32_t *)(bar + at) = value;
}

#endif
