/*
 * A machine monitor without a machine: guest memory in KVM slots, a device that uses the machine's own page table, and
 * another address space of the same device whose table the "guest" writes, with faults through memory: a ring, an
 * eventfd, and a loop that does what a virtual IOMMU does with them.
 *
 * It needs a DMA test device behind an IOMMU that can nest and knows PASIDs and page requests, and a /dev/kvm, for which
 * ioasis has a stand-in where the system has none:
 *
 *     ioasis header > ioasis.h && cc -o machine machine.c
 *     ioasis run --profile vtd -- ./machine
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ioasis.h"

#define PAGE 4096ul
#define GUEST_PAGES 16
#define GUEST_BASE 0x100000000ul
#define MOVED_BASE 0x200000000ul
#define HOST_PASID 4
#define GUEST_PASID 5
#define GUEST_VA 0x7f0000000000ul
#define ENTRY_FLAGS 7ul

static int ioasids, device, vm;
static char *memory;

static void must(bool worked, const char *what)
{
	if (worked)
		return;
	printf("   unexpected: %s (%s)\n", what, strerror(errno));
	exit(1);
}

static struct ioasis_dma store(uint64_t address, uint32_t pasid, unsigned char value)
{
	struct ioasis_dma dma = {
		.size = sizeof(dma),
		.op = IOASIS_DMA_OP_FILL,
		.flags = IOASIS_DMA_PASID | IOASIS_DMA_ATS | IOASIS_DMA_PRI,
		.pasid = pasid,
		.iova = address,
		.length = 8,
		.value = value,
	};

	must(ioctl(device, IOASIS_DMA, &dma) == 0, "IOASIS_DMA");
	return dma;
}

static void authorize(uint32_t ioasid, uint32_t pasid)
{
	struct authorize_ioasid cmd = {
		.argsz = sizeof(cmd), .flags = IOASID_PASID, .ioasid = ioasid, .pasid = pasid,
	};

	must(ioctl(device, AUTHORIZE_IOASID, &cmd) == 0, "AUTHORIZE_IOASID");
}

static void set_slot(uint64_t guest_address, uint64_t size)
{
	struct kvm_userspace_memory_region slot = {
		.slot = 0,
		.guest_phys_addr = guest_address,
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory,
	};

	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0, "KVM_SET_USER_MEMORY_REGION");
}

static void set_up(void)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	ioasids = open("/dev/ioasid", O_RDWR | O_CLOEXEC);
	device = open("/dev/vfio/devices/vfio0", O_RDWR | O_CLOEXEC);
	must(kvm >= 0 && ioasids >= 0 && device >= 0, "open");
	must(ioctl(kvm, KVM_GET_API_VERSION, 0) == KVM_API_VERSION, "KVM_GET_API_VERSION");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	must(vm >= 0, "KVM_CREATE_VM");
	bind.iommufd = ioasids;
	must(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	memory = mmap(NULL, GUEST_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED, "mmap");
}

static void use_slots(void)
{
	/* Issued on the machine's own file. */
	struct alloc_ioasid_kvm alloc = { .size = sizeof(alloc), .fd = ioasids };

	must(ioctl(vm, ALLOC_IOASID_KVM, &alloc) == 0, "ALLOC_IOASID_KVM");
	authorize(alloc.out_ioasid, HOST_PASID);
	printf("\nThe machine's own table, under PASID %d.\n", HOST_PASID);
	must(store(GUEST_BASE, HOST_PASID, 1).out_fault_reason == IOASIS_DMA_PAGE_INVALID, "no slot");
	printf("   No slot yet: the page request was answered INVALID.\n");
	set_slot(GUEST_BASE, GUEST_PAGES * PAGE);
	must(store(GUEST_BASE + PAGE, HOST_PASID, 2).out_state == IOASIS_DMA_DONE && memory[PAGE] == 2, "a slot");
	printf("   A slot at 0x%lx: the device stores into the machine's memory.\n", GUEST_BASE);
	set_slot(MOVED_BASE, GUEST_PAGES * PAGE);
	must(store(GUEST_BASE + PAGE, HOST_PASID, 3).out_fault_reason == IOASIS_DMA_PAGE_INVALID, "where it was");
	must(store(MOVED_BASE + PAGE, HOST_PASID, 4).out_state == IOASIS_DMA_DONE && memory[PAGE] == 4, "moved");
	printf("   The slot moved to 0x%lx: there, and no longer where it was.\n", MOVED_BASE);
}

/* ---- A table that the guest writes, at addresses of the space that its monitor maps ---- */

static uint64_t guest_table(void)
{
	struct alloc_ioasid parent = { .size = sizeof(parent) };
	struct map_ioasid map = {
		.size = sizeof(map),
		.flags = IOASID_READ | IOASID_WRITE,
		.user_va = (uintptr_t)memory,
		.length = GUEST_PAGES * PAGE,
		.iova = GUEST_BASE,
	};

	must(ioctl(ioasids, ALLOC_IOASID, &parent) == 0, "ALLOC_IOASID");
	map.ioasid = parent.out_ioasid;
	must(ioctl(ioasids, MAP_IOASID, &map) == 0, "MAP_IOASID");
	/* Pages 4 to 7 are the levels of the table, page 8 is the data; the last level is empty. */
	for (int level = 0; level < 3; level++) {
		uint64_t *table = (uint64_t *)(memory + (4 + level) * PAGE);

		table[GUEST_VA >> (39 - 9 * level) & 511] = (GUEST_BASE + (5 + level) * PAGE) | ENTRY_FLAGS;
	}
	return parent.out_ioasid;
}

static void answer(char *rings, int response_eventfd)
{
	struct ioasid_fault_header *faults = (void *)rings;
	struct ioasid_response_header *responses = (void *)(rings + PAGE + 512 * 64);
	uint32_t tail = faults->tail, head = responses->head;

	while (tail != __atomic_load_n(&faults->head, __ATOMIC_ACQUIRE)) {
		struct iommu_fault_prm *fault = (void *)(rings + faults->offset + tail * faults->entry_size);
		struct ioasid_page_response *response =
			(void *)((char *)responses + responses->offset + head * responses->entry_size);

		printf("   The ring has a page request: PASID %u, address 0x%lx. The guest maps the page.\n", fault->pasid,
		       (unsigned long)fault->addr);
		((uint64_t *)(memory + 7 * PAGE))[fault->addr >> 12 & 511] = (GUEST_BASE + 8 * PAGE) | ENTRY_FLAGS;
		*response = (struct ioasid_page_response){
			.argsz = sizeof(*response),
			.version = IOMMU_PAGE_RESP_VERSION_1,
			.flags = IOMMU_PAGE_RESP_PASID_VALID,
			.pasid = fault->pasid,
			.grpid = fault->grpid,
			.code = IOMMU_PAGE_RESP_SUCCESS,
			.dev_id = fault->dev_id,
		};
		tail = (tail + 1) % faults->nb_entries;
		head = (head + 1) % responses->nb_entries;
	}
	faults->tail = tail;
	__atomic_store_n(&responses->head, head, __ATOMIC_RELEASE);
	must(eventfd_write(response_eventfd, 1) == 0, "the eventfd of responses");
}

static void use_ring(void)
{
	struct fault_ioasid fault = {
		.size = sizeof(fault),
		.flags = IOASID_FAULT_RING,
		.fault_eventfd = eventfd(0, EFD_CLOEXEC),
		.response_eventfd = eventfd(0, EFD_CLOEXEC),
	};
	struct iommu_hwpt_vtd_s1 table = { .pgtbl_addr = GUEST_BASE + 4 * PAGE, .addr_width = 48 };
	struct alloc_ioasid_nested_page_table nested = {
		.size = sizeof(nested),
		.flags = IOASID_FAULT,
		.format = IOMMU_HWPT_DATA_VTD_S1,
		.data_len = sizeof(table),
		.data_uptr = (uintptr_t)&table,
	};
	struct ioasis_dma_completion done;
	eventfd_t count;
	char *rings;

	printf("\nA table that the guest writes, under PASID %d.\n", GUEST_PASID);
	must(ioctl(ioasids, FAULT_IOASID, &fault) == 0, "FAULT_IOASID");
	rings = mmap(NULL, fault.out_length, PROT_READ | PROT_WRITE, MAP_SHARED, fault.out_fault_fd, 0);
	must(rings != MAP_FAILED, "mmap of the rings");
	nested.parent = guest_table();
	nested.fault_id = fault.out_fault_id;
	must(ioctl(ioasids, ALLOC_IOASID_NESTED_PAGE_TABLE, &nested) == 0, "ALLOC_IOASID_NESTED_PAGE_TABLE");
	authorize(nested.out_ioasid, GUEST_PASID);
	must(store(GUEST_VA, GUEST_PASID, 9).out_state == IOASIS_DMA_PENDING, "a store that waits");
	must(eventfd_read(fault.fault_eventfd, &count) == 0, "the eventfd of faults");
	answer(rings, fault.response_eventfd);
	must(poll(&(struct pollfd){ .fd = device, .events = POLLIN }, 1, -1) == 1, "poll");
	must(read(device, &done, sizeof(done)) == sizeof(done), "the completion");
	must(done.state == IOASIS_DMA_DONE && memory[8 * PAGE] == 9, "the store");
	printf("   After the response the device tried again, and its store is there.\n");
}

int main(void)
{
	set_up();
	use_slots();
	use_ring();
	return 0;
}
