/*
 * owner-client DEVICE sva|kvm SIZE BYTES: one operation is a device's store of SIZE bytes into this process, from place to
 * place, by its own page table, or by that of a virtual machine whose slot shows a memfd.
 */
#define _GNU_SOURCE
#include <linux/kvm.h>

#include "device.h"

#define PASID 5
#define GUEST_ADDRESS 0x100000000ull

static struct ioasis_dma dma = {
	.size = sizeof(dma),
	.op = IOASIS_DMA_OP_FILL,
	.flags = IOASIS_DMA_PASID | IOASIS_DMA_ATS | IOASIS_DMA_PRI,
	.pasid = PASID,
	.value = 3,
};
static uint64_t first, bytes;

static void store(void)
{
	ask(device, IOASIS_DMA, &dma, "IOASIS_DMA");
	if (dma.out_state != IOASIS_DMA_DONE)
		die("a store");
	dma.iova = dma.iova + dma.length < first + bytes ? dma.iova + dma.length : first;
}

static uint32_t use_process(int ioasids, char *memory)
{
	struct alloc_ioasid_sva alloc = { .size = sizeof(alloc), .pidfd = -1 };

	ask(ioasids, ALLOC_IOASID_SVA, &alloc, "ALLOC_IOASID_SVA");
	first = (uintptr_t)memory;
	return alloc.out_ioasid;
}

static uint32_t use_machine(int ioasids, char *memory)
{
	int vm = ioctl(open("/dev/kvm", O_RDWR), KVM_CREATE_VM, 0);
	struct alloc_ioasid_kvm alloc = { .size = sizeof(alloc), .fd = vm };
	struct kvm_userspace_memory_region slot = {
		.guest_phys_addr = GUEST_ADDRESS, .memory_size = bytes, .userspace_addr = (uintptr_t)memory,
	};

	ask(vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");
	ask(ioasids, ALLOC_IOASID_KVM, &alloc, "ALLOC_IOASID_KVM");
	first = GUEST_ADDRESS;
	return alloc.out_ioasid;
}

int main(int argc, char **argv)
{
	int ioasids = open("/dev/ioasid", O_RDWR), file = memfd_create("slot", 0);
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = ioasids };
	struct authorize_ioasid authorize = { .argsz = sizeof(authorize), .flags = IOASID_PASID, .pasid = PASID };
	int is_sva = argc == 5 && strcmp(argv[2], "sva") == 0;
	char *memory;

	if (argc != 5)
		return 2;
	dma.length = strtoul(argv[3], NULL, 0);
	bytes = strtoul(argv[4], NULL, 0);
	device = open(argv[1], O_RDWR);
	ask(device, VFIO_DEVICE_BIND_IOMMUFD, &bind, "VFIO_DEVICE_BIND_IOMMUFD");
	if (ftruncate(file, (off_t)bytes) < 0)
		die("memfd");
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, is_sva ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED,
		      is_sva ? -1 : file, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	memset(memory, 1, bytes);
	authorize.ioasid = is_sva ? use_process(ioasids, memory) : use_machine(ioasids, memory);
	ask(device, AUTHORIZE_IOASID, &authorize, "AUTHORIZE_IOASID");
	dma.iova = first;
	serve_batches(store);
	return 0;
}
