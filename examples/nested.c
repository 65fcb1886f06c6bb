/*
 * Two stages of translation, as a virtual machine with an IOMMU of its own has them: this program plays the guest and its
 * machine monitor at once. The second stage maps "guest physical" addresses to the program's memory and belongs to the
 * kernel; the first stage is a page table that the program writes itself, entry by entry, in that same memory.
 *
 * An ordinary Linux program. It needs two DMA test devices behind VT-d, one on PCI and one that is not:
 *
 *     ioasis header > ioasis.h && cc -o nested nested.c
 *     ioasis run -t examples/topologies/platform.yaml -- ./nested
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ioasis.h"

#define PAGE 4096ul
#define GUEST_PAGES 64
/* Where the guest sees its memory, and where its devices are told to find what. */
#define GUEST_BASE 0x40000000ul
#define FIRST_PAGE 0x7f0000000000ul
#define SECOND_PAGE (FIRST_PAGE + PAGE)

/* An entry of an x86 page table: present, writable, for user mode. */
#define ENTRY_FLAGS 7ul

static int iommufd;
static char *memory;
static unsigned next_page;

struct device {
	int fd;
	bool is_pci;
	uint32_t id;
	uint32_t parent;
	int fault_fd;
	uint32_t fault_id;
};

/* An address space that a device uses: by its requester id alone, or under a PASID. */
struct space {
	struct device *device;
	bool has_pasid;
	uint32_t pasid;
	uint64_t *root;
	uint32_t hwpt;
};

static void must(bool worked, const char *what)
{
	if (worked)
		return;
	printf("   unexpected: %s (%s)\n", what, strerror(errno));
	exit(1);
}

/* ---- The guest's memory, and the page tables that it writes ---- */

static char *new_page(void)
{
	must(next_page < GUEST_PAGES, "the guest has no page left");
	return memory + PAGE * next_page++;
}

static uint64_t guest_address(const void *at)
{
	return GUEST_BASE + (uint64_t)((const char *)at - memory);
}

static uint64_t *table_behind(uint64_t *entry)
{
	if (!*entry)
		*entry = guest_address(new_page()) | ENTRY_FLAGS;
	return (uint64_t *)(memory + (*entry & ~(PAGE - 1)) - GUEST_BASE);
}

/* Makes `page` what devices find at `address`: four levels, nine bits of the address each. */
static void set_entry(uint64_t *root, uint64_t address, const char *page)
{
	uint64_t *table = root;

	for (int shift = 39; shift > 12; shift -= 9)
		table = table_behind(&table[address >> shift & 511]);
	__atomic_store_n(&table[address >> 12 & 511], guest_address(page) | ENTRY_FLAGS, __ATOMIC_RELEASE);
}

static void invalidate(const struct space *space, uint64_t address)
{
	struct iommu_hwpt_vtd_s1_invalidate page = { .addr = address, .npages = 1 };
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd),
		.hwpt_id = space->hwpt,
		.data_uptr = (uintptr_t)&page,
		.data_type = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
		.entry_len = sizeof(page),
		.entry_num = 1,
	};

	must(ioctl(iommufd, IOMMU_HWPT_INVALIDATE, &cmd) == 0 && cmd.entry_num == 1, "IOMMU_HWPT_INVALIDATE");
}

/* ---- Devices ---- */

static void make_second_stage(struct device *device)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE,
		.user_va = (uintptr_t)memory,
		.length = GUEST_PAGES * PAGE,
		.iova = GUEST_BASE,
	};
	struct iommu_hwpt_alloc parent = {
		.size = sizeof(parent), .flags = IOMMU_HWPT_ALLOC_NEST_PARENT, .dev_id = device->id,
	};
	struct iommu_fault_alloc fault = { .size = sizeof(fault) };

	must(ioctl(iommufd, IOMMU_IOAS_ALLOC, &ioas) == 0, "IOMMU_IOAS_ALLOC");
	map.ioas_id = parent.pt_id = ioas.out_ioas_id;
	must(ioctl(iommufd, IOMMU_IOAS_MAP, &map) == 0, "IOMMU_IOAS_MAP");
	must(ioctl(iommufd, IOMMU_HWPT_ALLOC, &parent) == 0, "IOMMU_HWPT_ALLOC of the parent");
	must(ioctl(iommufd, IOMMU_FAULT_QUEUE_ALLOC, &fault) == 0, "IOMMU_FAULT_QUEUE_ALLOC");
	device->parent = parent.out_hwpt_id;
	device->fault_id = fault.out_fault_id;
	device->fault_fd = fault.out_fault_fd;
}

static void open_device(struct device *device, const char *path)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };
	struct vfio_device_info info = { .argsz = sizeof(info) };

	device->fd = open(path, O_RDWR | O_CLOEXEC);
	must(device->fd >= 0, path);
	must(ioctl(device->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(device->fd, VFIO_DEVICE_GET_INFO, &info) == 0, "VFIO_DEVICE_GET_INFO");
	device->id = bind.out_devid;
	device->is_pci = info.flags & VFIO_DEVICE_FLAGS_PCI;
	make_second_stage(device);
	printf("\n%s, a %s device: the second stage maps the guest's memory at 0x%lx.\n", path,
	       device->is_pci ? "PCI" : "platform", GUEST_BASE);
}

/* Gives the device a first stage with a new, empty page table of the guest's. */
static struct space attach(struct device *device, bool has_pasid, uint32_t pasid)
{
	struct space space = { device, has_pasid, pasid, (uint64_t *)new_page(), 0 };
	struct iommu_hwpt_vtd_s1 table = { .pgtbl_addr = guest_address(space.root), .addr_width = 48 };
	struct iommu_hwpt_alloc nested = {
		.size = sizeof(nested),
		.flags = IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID,
		.dev_id = device->id,
		.pt_id = device->parent,
		.data_type = IOMMU_HWPT_DATA_VTD_S1,
		.data_len = sizeof(table),
		.data_uptr = (uintptr_t)&table,
		.fault_id = device->fault_id,
	};
	struct vfio_device_attach_iommufd_pt cmd = {
		.argsz = sizeof(cmd), .flags = has_pasid ? VFIO_DEVICE_ATTACH_PASID : 0, .pasid = pasid,
	};

	must(ioctl(iommufd, IOMMU_HWPT_ALLOC, &nested) == 0, "IOMMU_HWPT_ALLOC of the nested table");
	space.hwpt = cmd.pt_id = nested.out_hwpt_id;
	must(ioctl(device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd) == 0, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	return space;
}

/* Makes the device read or write `data`; returns the state, and the number of the job for one that waits. */
static uint32_t dma(const struct space *space, uint32_t op, uint64_t address, char data[64], uint32_t flags, uint32_t *job)
{
	struct ioasis_dma cmd = {
		.size = sizeof(cmd),
		.op = op,
		.flags = flags | (space->has_pasid ? IOASIS_DMA_PASID : 0),
		.pasid = space->pasid,
		.iova = address,
		.length = 64,
		.data_uptr = (uintptr_t)data,
	};

	must(ioctl(space->device->fd, IOASIS_DMA, &cmd) == 0, "IOASIS_DMA");
	if (job)
		*job = cmd.out_job;
	return cmd.out_state;
}

static void device_reads(const struct space *space, const char *expected)
{
	char found[64] = "";

	must(dma(space, IOASIS_DMA_OP_READ, FIRST_PAGE, found, 0, NULL) == IOASIS_DMA_DONE, "the device's read");
	printf("   The device reads \"%s\".\n", found);
	must(strcmp(found, expected) == 0, expected);
}

/* ---- What this is about ---- */

static void show_stages(const struct space *space)
{
	char *old = new_page(), *new = new_page();
	char greeting[64] = "written through two stages";

	printf("1. The guest puts a page into its table; the device writes there.\n");
	set_entry(space->root, FIRST_PAGE, old);
	must(dma(space, IOASIS_DMA_OP_WRITE, FIRST_PAGE, greeting, 0, NULL) == IOASIS_DMA_DONE, "the device's write");
	must(strcmp(old, greeting) == 0, "what the guest finds");
	printf("   The guest finds \"%s\".\n", old);

	printf("2. It changes the entry to another page, and forgets to say so. The old translation is cached.\n");
	strcpy(old, "the old page");
	strcpy(new, "the new page");
	set_entry(space->root, FIRST_PAGE, new);
	device_reads(space, "the old page");
	printf("3. The invalidation that was missing.\n");
	invalidate(space, FIRST_PAGE);
	device_reads(space, "the new page");
}

/* Waits until `fd` is readable, and reads one record. */
static void read_record(int fd, void *record, size_t size, const char *what)
{
	struct pollfd waits = { .fd = fd, .events = POLLIN };

	must(poll(&waits, 1, 5000) == 1 && read(fd, record, size) == (ssize_t)size, what);
}

/* The device wants a page that is not there in each of `count` address spaces, all at the same time. */
static void show_page_requests(const struct space *spaces, unsigned count)
{
	char found[2][64] = { "", "" };
	uint32_t jobs[2];

	for (unsigned i = 0; i < count; i++) {
		uint32_t state = dma(&spaces[i], IOASIS_DMA_OP_READ, SECOND_PAGE, found[i],
				     IOASIS_DMA_ATS | IOASIS_DMA_PRI, &jobs[i]);

		must(state == IOASIS_DMA_PENDING, "a read that waits");
	}
	for (unsigned i = 0; i < count; i++) {
		struct iommu_hwpt_pgfault request;
		struct iommu_hwpt_page_response response = { .code = IOMMUFD_PAGE_RESP_SUCCESS };
		const struct space *space = spaces;
		char *page = new_page();

		read_record(spaces->device->fault_fd, &request, sizeof(request), "the page request");
		must(request.addr == SECOND_PAGE && request.dev_id == spaces->device->id, "what is asked for");
		if (request.flags & IOMMU_PGFAULT_FLAGS_PASID_VALID)
			while (space->pasid != request.pasid)
				space++;
		printf("   A page request: 0x%llx is missing", (unsigned long long)request.addr);
		if (space->has_pasid)
			printf(" for PASID %u", space->pasid);
		printf(". The guest provides it and answers.\n");
		strcpy(page, "a page that came in time");
		page[63] = (char)space->pasid;
		set_entry(space->root, SECOND_PAGE, page);
		response.cookie = request.cookie;
		must(write(spaces->device->fault_fd, &response, sizeof(response)) == sizeof(response), "the answer");
	}
	for (unsigned i = 0; i < count; i++) {
		struct ioasis_dma_completion over;

		read_record(spaces->device->fd, &over, sizeof(over), "the completion");
		for (unsigned j = 0; j < count; j++) {
			if (jobs[j] != over.job)
				continue;
			must(over.state == IOASIS_DMA_DONE && over.bytes == 64, "the read that was tried again");
			must(found[j][63] == (char)spaces[j].pasid, "whose page it is");
			printf("   The read is done: \"%s\"", found[j]);
			printf(spaces[j].has_pasid ? ", on PASID %u.\n" : ".\n", spaces[j].pasid);
		}
	}
}

static void show_device(const char *path)
{
	struct device device;
	struct space spaces[2];

	open_device(&device, path);
	printf("By its requester id alone:\n");
	spaces[0] = attach(&device, false, 0);
	show_stages(&spaces[0]);
	printf("4. The device reads where the guest's table has nothing.\n");
	show_page_requests(spaces, 1);
	/* Linux' vfio-platform attaches no PASIDs. */
	if (device.is_pci) {
		for (unsigned i = 0; i < 2; i++) {
			printf("Under PASID %u:\n", 17 + i);
			spaces[i] = attach(&device, true, 17 + i);
			show_stages(&spaces[i]);
		}
		printf("4. The device reads on both PASIDs at once where neither table has anything.\n");
		show_page_requests(spaces, 2);
	}
	close(device.fd);
	close(device.fault_fd);
}

int main(void)
{
	int file = memfd_create("guest", MFD_CLOEXEC);

	setvbuf(stdout, NULL, _IOLBF, 0);
	must(file >= 0 && ftruncate(file, GUEST_PAGES * PAGE) == 0, "the guest's memory");
	memory = mmap(NULL, GUEST_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	must(memory != MAP_FAILED, "mmap");
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	must(iommufd >= 0, "/dev/iommu");
	show_device("/dev/vfio/devices/vfio0");
	show_device("/dev/vfio/devices/vfio1");
	close(iommufd);
	return 0;
}
