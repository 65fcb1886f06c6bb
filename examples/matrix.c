/*
 * Which operation is for which kind of page table, asked of /dev/ioasid itself. There are five kinds; for each a device
 * stores through a table of it, then every operation is tried on it. Those that are not for the kind have to be refused
 * with EOPNOTSUPP and to change nothing: the device stores once more. What INFO_IOASID says has to be the same.
 *
 *     ioasis header > ioasis.h && cc -o matrix matrix.c
 *     ioasis run --profile vtd -- ./matrix
 */
#define _GNU_SOURCE
#include <linux/kvm.h>

#include "owners.h"

#define PASID 5
/* Where a device finds the page, in a table of a kind whose addresses can be chosen. */
#define ADDRESS 0x400000000000ul
#define GUEST_ADDRESS 0x100000000ul
/* Where a parent shows the levels of a nested table. */
#define LEVELS 0x200000000ul

enum operation { MAP, UNMAP, INVALIDATE, NEST, FAULT, OPERATIONS };
static const char *const names[] = { "map", "unmap", "invalidate", "nest", "fault" };

static int ioasids, device;
static uint32_t fault_id;
static char *page, *levels;

/* ---- One table of each kind that leads to the page, or errno ---- */

static int make_kernel(uint32_t flags, uint32_t *ioasid)
{
	struct alloc_ioasid cmd = { .size = sizeof(cmd), .flags = flags };

	if (ioctl(ioasids, ALLOC_IOASID, &cmd) < 0)
		return errno;
	*ioasid = cmd.out_ioasid;
	return map_memory(ioasids, *ioasid, ADDRESS, page, PAGE);
}

static int make_sva(uint32_t flags, uint32_t *ioasid)
{
	struct alloc_ioasid_sva cmd = { .size = sizeof(cmd), .flags = flags, .pidfd = -1 };
	int failed = outcome(ioctl(ioasids, ALLOC_IOASID_SVA, &cmd));

	*ioasid = cmd.out_ioasid;
	return failed;
}

static int make_kvm(uint32_t flags, uint32_t *ioasid)
{
	static int kvm, vm;
	struct kvm_userspace_memory_region slot = {
		.guest_phys_addr = GUEST_ADDRESS, .memory_size = PAGE, .userspace_addr = (uintptr_t)page,
	};
	struct alloc_ioasid_kvm cmd = { .size = sizeof(cmd), .flags = flags };
	int failed;

	if (kvm == 0) {
		kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
		vm = ioctl(kvm, KVM_CREATE_VM, 0);
		must(kvm >= 0 && vm >= 0, "KVM_CREATE_VM");
		must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0, "KVM_SET_USER_MEMORY_REGION");
	}
	cmd.fd = vm;
	failed = outcome(ioctl(ioasids, ALLOC_IOASID_KVM, &cmd));
	*ioasid = cmd.out_ioasid;
	return failed;
}

static int make_user(uint32_t flags, uint32_t *ioasid)
{
	write_table(levels, (uintptr_t)levels, ADDRESS, (uintptr_t)page);
	return user_table(ioasids, levels, flags == 0 ? 0 : fault_id, ioasid);
}

static int make_nested(uint32_t flags, uint32_t *ioasid)
{
	uint32_t parent;

	must(make_kernel(0, &parent) == 0, "a parent");
	must(map_memory(ioasids, parent, LEVELS, levels, 4 * PAGE) == 0, "MAP_IOASID");
	/* The parent shows the page at the address that the nested table has for it. */
	write_table(levels, LEVELS, ADDRESS, ADDRESS);
	return nested_table(ioasids, parent, LEVELS, flags == 0 ? 0 : fault_id, ioasid);
}

static const struct kind {
	const char *name;
	int (*make)(uint32_t flags, uint32_t *ioasid);
	/* 0: the page's own. */
	uint64_t address;
} kinds[] = {
	{ "kernel", make_kernel, ADDRESS }, { "sva", make_sva, 0 },	       { "kvm", make_kvm, GUEST_ADDRESS },
	{ "user", make_user, ADDRESS },	    { "nested", make_nested, ADDRESS },
};

/* ---- The operations ---- */

static int unmap(uint32_t ioasid, uint64_t at)
{
	struct unmap_ioasid cmd = { .size = sizeof(cmd), .ioasid = ioasid, .iova = at, .length = PAGE };

	return outcome(ioctl(ioasids, UNMAP_IOASID, &cmd));
}

static int invalidate(uint32_t ioasid, uint64_t at)
{
	struct iommu_hwpt_vtd_s1_invalidate entry = { .addr = at & -PAGE, .npages = 1 };
	struct invalidate_ioasid cmd = {
		.size = sizeof(cmd),
		.ioasid = ioasid,
		.data_uptr = (uintptr_t)&entry,
		.data_type = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
		.entry_len = sizeof(entry),
		.entry_num = 1,
	};

	return outcome(ioctl(ioasids, INVALIDATE_IOASID, &cmd));
}

static int try(enum operation operation, const struct kind *kind, uint32_t ioasid, uint64_t address)
{
	uint32_t other;

	switch (operation) {
	case MAP:
		return map_memory(ioasids, ioasid, ADDRESS + PAGE, page, PAGE);
	case UNMAP:
		return unmap(ioasid, address);
	case INVALIDATE:
		return invalidate(ioasid, address);
	case NEST:
		return nested_table(ioasids, ioasid, LEVELS, 0, &other);
	default:
		return kind->make(IOASID_FAULT, &other);
	}
}

/* ---- The cells ---- */

static bool reaches(uint64_t address)
{
	static unsigned char value;
	struct ioasis_dma done = store(device, PASID, address, 1, ++value);

	return is_done(done) && (unsigned char)page[0] == value;
}

static bool cell(const struct kind *kind, enum operation operation)
{
	uint64_t address = kind->address == 0 ? (uintptr_t)page : kind->address;
	struct info_ioasid info = { .size = sizeof(info) };
	uint32_t ioasid;
	int failed;

	must(kind->make(0, &ioasid) == 0, kind->name);
	must(authorize(device, ioasid, PASID) == 0, "AUTHORIZE_IOASID");
	must(reaches(address), "a store through the table");
	failed = try(operation, kind, ioasid, address);
	must(failed == 0 || failed == EOPNOTSUPP, names[operation]);
	must(reaches(address) == (failed != 0 || operation != UNMAP), "the table afterwards");
	info.ioasid = ioasid;
	must(ioctl(ioasids, INFO_IOASID, &info) == 0, "INFO_IOASID");
	must((info.operations >> operation & 1) == (failed == 0), "what INFO_IOASID says");
	must(deauthorize(device, ioasid, PASID) == 0, "DEAUTHORIZE_IOASID");
	return failed == 0;
}

int main(void)
{
	struct fault_ioasid fault = { .size = sizeof(fault) };

	ioasids = open_ioasids();
	device = open_device(0);
	must(bind_device(device, ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(ioasids, FAULT_IOASID, &fault) == 0, "FAULT_IOASID");
	fault_id = fault.out_fault_id;
	page = map_pages(1, MAP_PRIVATE);
	levels = map_pages(4, MAP_PRIVATE);
	/* What is in memory already needs no page request. */
	memset(page, 0, PAGE);
	printf("| kind |");
	for (enum operation operation = 0; operation < OPERATIONS; operation++)
		printf(" %s |", names[operation]);
	printf("\n");
	for (unsigned kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		printf("| %s |", kinds[kind].name);
		for (enum operation operation = 0; operation < OPERATIONS; operation++)
			printf(cell(&kinds[kind], operation) ? " yes |" : " |");
		printf("\n");
	}
	return 0;
}
