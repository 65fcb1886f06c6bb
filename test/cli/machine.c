/*
 * A device of the topology reads what this program has mapped, then one page beyond. Reads the machine's own files, and
 * waits at the end if it is told to, so that somebody else can look.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ioasis.h"

static char page[4096] __attribute__((aligned(4096))) = "hello";

static int show(const char *path)
{
	char text[65536];
	int fd = open(path, O_RDONLY);
	long length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (length < 0)
		return 1;
	text[length] = 0;
	printf("%s: %s\n", path, text);
	return close(fd);
}

int main(int argc, char **argv)
{
	int device = open("/dev/vfio/devices/vfio0", O_RDWR);
	int iommu = open("/dev/iommu", O_RDWR);
	char got[6] = "";
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommu };
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct iommu_ioas_map map = { .size = sizeof(map),
				      .flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_FIXED_IOVA,
				      .user_va = (unsigned long)page,
				      .length = sizeof(page),
				      .iova = 0x10000 };
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct ioasis_dma dma = { .size = sizeof(dma),
				  .op = IOASIS_DMA_OP_READ,
				  .iova = 0x10000,
				  .length = sizeof(got),
				  .data_uptr = (unsigned long)got };

	if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) || ioctl(iommu, IOMMU_IOAS_ALLOC, &alloc))
		return 2;
	map.ioas_id = attach.pt_id = alloc.out_ioas_id;
	if (ioctl(iommu, IOMMU_IOAS_MAP, &map) || ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		return 3;
	if (ioctl(device, IOASIS_DMA, &dma) || strcmp(got, "hello"))
		return 4;
	dma.iova = 0x11000;
	if (ioctl(device, IOASIS_DMA, &dma) || dma.out_state != IOASIS_DMA_FAULTED)
		return 5;
	if (show("/sys/kernel/debug/ioasis/dmesg") || show("/sys/kernel/debug/ioasis/walk/0000:00:01.0,0x10000"))
		return 6;
	if (open("/sys/kernel/debug/ioasis/walk/nobody,0x10000", O_RDONLY) >= 0)
		return 7;
	fflush(stdout);
	if (argc > 1 && !strcmp(argv[1], "wait"))
		(void)getchar();
	return 0;
}
