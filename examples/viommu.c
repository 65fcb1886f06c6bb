/*
 * A virtual IOMMU, as a machine monitor has one. The guest keeps a page table of its own, a queue of page requests and a
 * queue of commands, all in its memory. Page requests of the device come to the monitor through a ring in memory; it
 * injects them into the guest's queue and interrupts. The guest provides the page, or will not have it, and says so by a
 * command; the monitor passes that on through a second ring, and the device tries again.
 *
 * The guest's queues have the layout of VT-d: page request descriptors and page group responses.
 *
 *     ioasis header > ioasis.h && cc -o viommu viommu.c -pthread
 *     ioasis run --profile vtd -- ./viommu
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "owners.h"

#define PASID 5
/* How the guest knows the device. */
#define GUEST_RID 0x0010ul
#define GUEST_MEMORY 0x100000000ul
/* The guest's process has 2 MiB here, of which it never provides the last quarter. */
#define GUEST_VA 0x7f0000000000ul
#define VA_PAGES 512
#define ALLOWED_PAGES 384
#define TRANSFERS 400
#define AT_ONCE 8

enum page { LEVELS, PAGE_REQUESTS = 4, COMMANDS, DATA, GUEST_PAGES = DATA + ALLOWED_PAGES };
enum { DESCRIPTORS = PAGE / 32 };

struct descriptor {
	uint64_t low, high, unused[2];
};

static int ioasids, device;
static char *memory;

/* The registers of the virtual unit, and its two lines. */
static struct {
	_Atomic uint32_t request_head, request_tail, command_head, command_tail;
} unit;
static int guest_interrupt, doorbell;

static _Atomic unsigned long injected, groups, answered, refused;

static void *guest_page(int number)
{
	return memory + (uint64_t)number * PAGE;
}

/* ---- The guest ---- */

/* True: the page is there now. */
static bool provide(uint64_t address)
{
	uint64_t page = (address - GUEST_VA) / PAGE;

	if (address < GUEST_VA || page >= ALLOWED_PAGES)
		return false;
	((uint64_t *)guest_page(LEVELS + 3))[page] = (GUEST_MEMORY + (DATA + page) * PAGE) | ENTRY_FLAGS;
	return true;
}

/* A page group response: descriptor type 9. */
static void command_response(const struct descriptor *request, bool is_there)
{
	struct descriptor *command = (struct descriptor *)guest_page(COMMANDS) + unit.command_tail;
	uint64_t code = is_there ? IOMMU_PAGE_RESP_SUCCESS : IOMMU_PAGE_RESP_INVALID;

	command->low = 9 | (request->low >> 8 & 1) << 4 | code << 12 | (request->low & 0xfffff00000000ul) |
		       (request->low & 0xffff0000ul);
	command->high = request->high & 0xffc;
	unit.command_tail = (unit.command_tail + 1) % DESCRIPTORS;
	eventfd_write(doorbell, 1);
}

/* The guest's driver of the unit: its interrupt handler. */
static void *handle_page_requests(void *unused)
{
	bool is_group_there = true;
	eventfd_t count;

	while (eventfd_read(guest_interrupt, &count) == 0) {
		while (unit.request_head != unit.request_tail) {
			struct descriptor *request = (struct descriptor *)guest_page(PAGE_REQUESTS) + unit.request_head;

			is_group_there = provide(request->high & -PAGE) && is_group_there;
			/* The last one of its group. */
			if ((request->high & 4) != 0) {
				command_response(request, is_group_there);
				is_group_there = true;
			}
			unit.request_head = (unit.request_head + 1) % DESCRIPTORS;
		}
	}
	return unused;
}

/* ---- The virtual IOMMU ---- */

static struct {
	struct ioasid_fault_header *faults;
	struct ioasid_response_header *responses;
	int fault_event, response_event;
	/* The host's name of the device, learned from what it asks. */
	uint32_t dev_id;
} rings;

static void inject(const struct iommu_fault_prm *fault)
{
	struct descriptor *request = (struct descriptor *)guest_page(PAGE_REQUESTS) + unit.request_tail;
	bool has_pasid = (fault->flags & IOMMU_FAULT_PAGE_REQUEST_PASID_VALID) != 0;
	bool is_last = (fault->flags & IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE) != 0;

	request->low = 1 | (uint64_t)has_pasid << 8 | GUEST_RID << 16 | (uint64_t)fault->pasid << 32;
	request->high = (fault->perm & 3) | (uint64_t)is_last << 2 | (uint64_t)fault->grpid << 3 | (fault->addr & -PAGE);
	unit.request_tail = (unit.request_tail + 1) % DESCRIPTORS;
	injected++;
	groups += is_last;
}

static void take_faults(void)
{
	struct ioasid_fault_header *faults = rings.faults;
	uint32_t tail = faults->tail;

	while (tail != __atomic_load_n(&faults->head, __ATOMIC_ACQUIRE)) {
		struct iommu_fault_prm *fault = (void *)((char *)faults + faults->offset + tail * faults->entry_size);

		must(fault->type == IOMMU_FAULT_PAGE_REQ, "a page request");
		rings.dev_id = fault->dev_id;
		inject(fault);
		tail = (tail + 1) % faults->nb_entries;
		__atomic_store_n(&faults->tail, tail, __ATOMIC_RELEASE);
	}
	eventfd_write(guest_interrupt, 1);
}

static void respond(const struct descriptor *command)
{
	struct ioasid_response_header *responses = rings.responses;
	uint32_t head = responses->head, code = command->low >> 12 & 0xf;
	struct ioasid_page_response *response =
		(void *)((char *)responses + responses->offset + head * responses->entry_size);

	must((command->low & 0xf) == 9 && (command->low >> 16 & 0xffff) == GUEST_RID, "a command of the guest's");
	*response = (struct ioasid_page_response){
		.argsz = sizeof(*response),
		.version = IOMMU_PAGE_RESP_VERSION_1,
		.flags = (command->low >> 4 & 1) != 0 ? IOMMU_PAGE_RESP_PASID_VALID : 0,
		.pasid = command->low >> 32 & 0xfffff,
		.grpid = command->high >> 3 & 0x1ff,
		.code = code,
		.dev_id = rings.dev_id,
	};
	__atomic_store_n(&responses->head, (head + 1) % responses->nb_entries, __ATOMIC_RELEASE);
	answered++;
	refused += code != IOMMU_PAGE_RESP_SUCCESS;
}

static void take_commands(void)
{
	while (unit.command_head != unit.command_tail) {
		respond((struct descriptor *)guest_page(COMMANDS) + unit.command_head);
		unit.command_head = (unit.command_head + 1) % DESCRIPTORS;
	}
	eventfd_write(rings.response_event, 1);
}

static void *run_unit(void *unused)
{
	struct pollfd files[] = { { .fd = rings.fault_event, .events = POLLIN }, { .fd = doorbell, .events = POLLIN } };
	eventfd_t count;

	while (poll(files, 2, -1) > 0) {
		if (files[0].revents != 0 && eventfd_read(files[0].fd, &count) == 0)
			take_faults();
		if (files[1].revents != 0 && eventfd_read(files[1].fd, &count) == 0)
			take_commands();
	}
	return unused;
}

/* ---- The monitor ---- */

static uint32_t make_rings(void)
{
	struct fault_ioasid fault = { .size = sizeof(fault), .flags = IOASID_FAULT_RING };

	fault.fault_eventfd = rings.fault_event = eventfd(0, EFD_CLOEXEC);
	fault.response_eventfd = rings.response_event = eventfd(0, EFD_CLOEXEC);
	must(ioctl(ioasids, FAULT_IOASID, &fault) == 0, "FAULT_IOASID");
	rings.faults = mmap(NULL, fault.out_length, PROT_READ | PROT_WRITE, MAP_SHARED, fault.out_fault_fd, 0);
	must(rings.faults != MAP_FAILED, "mmap of the rings");
	rings.responses = (void *)((char *)rings.faults + PAGE + rings.faults->nb_entries * rings.faults->entry_size);
	return fault.out_fault_id;
}

static void set_up(void)
{
	uint32_t fault_id, parent, table = 0;

	ioasids = open_ioasids();
	device = open_device(0);
	must(bind_device(device, ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	fault_id = make_rings();
	memory = map_pages(GUEST_PAGES, MAP_PRIVATE);
	parent = kernel_table(ioasids);
	must(map_memory(ioasids, parent, GUEST_MEMORY, memory, GUEST_PAGES * PAGE) == 0, "MAP_IOASID");
	/* The guest's table: all of its last level is empty. */
	write_table(guest_page(LEVELS), GUEST_MEMORY + LEVELS * PAGE, GUEST_VA, 0)[0] = 0;
	must(nested_table(ioasids, parent, GUEST_MEMORY + LEVELS * PAGE, fault_id, &table) == 0, "a nested table");
	must(authorize(device, table, PASID) == 0, "AUTHORIZE_IOASID");
	guest_interrupt = eventfd(0, EFD_CLOEXEC);
	doorbell = eventfd(0, EFD_CLOEXEC);
}

/* ---- The guest's process: transfers, several at once ---- */

struct transfer {
	uint32_t job;
	int page, pages;
	unsigned char value;
};

static unsigned long at_once, retried, failed;

static void check(const struct transfer *transfer, uint32_t state, uint32_t reason)
{
	bool may = transfer->page + transfer->pages <= ALLOWED_PAGES;

	if (!may) {
		must(state == IOASIS_DMA_FAILED && reason == IOASIS_DMA_PAGE_INVALID, "a transfer that may not");
		failed++;
		return;
	}
	must(state == IOASIS_DMA_DONE, "a transfer");
	for (int page = transfer->page; page < transfer->page + transfer->pages; page++)
		must(((unsigned char *)guest_page(DATA + page))[PAGE - 1] == transfer->value, "what it stored");
}

static void collect(const struct transfer *waiting, int count)
{
	struct ioasis_dma_completion over;

	for (int left = count; left > 0; left--) {
		must(poll(&(struct pollfd){ .fd = device, .events = POLLIN }, 1, 10000) == 1, "a completion in time");
		must(read(device, &over, sizeof(over)) == sizeof(over), "the completion");
		for (int i = 0; i < count; i++)
			if (waiting[i].job == over.job)
				check(&waiting[i], over.state, over.fault_reason);
		retried++;
	}
}

/* AT_ONCE transfers of one to three pages in different parts of the process's 2 MiB. */
static void transfer_some(unsigned char value)
{
	struct transfer waiting[AT_ONCE];
	int count = 0;

	for (int part = 0; part < AT_ONCE; part++) {
		int first = part * (VA_PAGES / AT_ONCE) + rand() % (VA_PAGES / AT_ONCE - 3);
		struct transfer next = { .page = first, .pages = 1 + rand() % 3, .value = value };
		struct ioasis_dma dma =
			store(device, PASID, GUEST_VA + (uint64_t)first * PAGE, (uint64_t)next.pages * PAGE, value);

		next.job = dma.out_job;
		if (dma.out_state == IOASIS_DMA_PENDING) {
			waiting[count++] = next;
		} else {
			check(&next, dma.out_state, dma.out_fault_reason);
			at_once++;
		}
	}
	collect(waiting, count);
}

int main(void)
{
	pthread_t threads[2];

	set_up();
	must(pthread_create(&threads[0], NULL, handle_page_requests, NULL) == 0, "pthread_create");
	must(pthread_create(&threads[1], NULL, run_unit, NULL) == 0, "pthread_create");
	for (int done = 0; done < TRANSFERS; done += AT_ONCE)
		transfer_some((unsigned char)(1 + done / AT_ONCE));
	must(answered == groups && rings.faults->lost == 0 && rings.responses->refused == 0, "the counts");
	printf("%d transfers: %lu found all their pages, %lu waited for some, of which the guest refused %lu.\n", TRANSFERS,
	       at_once, retried, failed);
	printf("%lu page requests in %lu groups were injected; %lu responses came back, %lu of them INVALID.\n", injected,
	       groups, answered, refused);
	printf("None was lost, none was answered twice.\n");
	return 0;
}
