/*
 * A machine monitor without a machine: guest memory in KVM slots, and a device that uses the machine's own page table.
 * Slots are added, moved, deleted and made read-only while a thread lets the device read all over guest-physical
 * addresses, without a pause. Whatever it reads is what a slot shows there, or has shown while the transfer was under
 * way; after each change a store reaches what is shown now, and nothing else.
 *
 * It needs a DMA test device behind an IOMMU that knows PASIDs and page requests, and a /dev/kvm, for which ioasis has a
 * stand-in where the system has none:
 *
 *     ioasis header > ioasis.h && cc -o machine machine.c -pthread
 *     ioasis run --profile vtd -- ./machine
 */
#define _GNU_SOURCE
#include <linux/kvm.h>
#include <pthread.h>

#include "owners.h"

#define PASID 4
#define GUEST_BASE 0x100000000ul
/* Blocks of the program's memory, one slot for each, and places in guest-physical addresses where they can be. */
#define BLOCKS 3
#define PLACES 5
#define BLOCK_PAGES 16
#define NOWHERE (-1)
#define CHANGES 1000

static int ioasids, device, vm;
static char *memory;

/* Where each block is, and whether it may be written; used by who changes slots. */
static int place_of[BLOCKS] = { NOWHERE, NOWHERE, NOWHERE };
static bool is_read_only[BLOCKS];

/* What a place shows, for the thread: odd while it is being changed. */
static struct {
	_Atomic unsigned version;
	_Atomic int block;
} places[PLACES];

static _Atomic bool stop;
static unsigned long sure, under_way, refused;

/* ---- Memory, and where the guest has it ---- */

static uint64_t *page_of(int block, int page)
{
	return (uint64_t *)(memory + (block * BLOCK_PAGES + page) * (int)PAGE);
}

/* What the first word of a page says. The second is for stores. */
static uint64_t name_of(int block, int page)
{
	return 0x5107000000000000ul | (uint64_t)block << 32 | (uint64_t)page;
}

static uint64_t guest_address(int place, int page)
{
	/* Next to each other, so that what lies beside a slot is another one or nothing. */
	return GUEST_BASE + (uint64_t)(place * BLOCK_PAGES + page) * PAGE;
}

static void set_slot(int block, int place, uint32_t flags)
{
	struct kvm_userspace_memory_region slot = {
		.slot = (uint32_t)block,
		.flags = flags,
		.guest_phys_addr = place == NOWHERE ? 0 : guest_address(place, 0),
		.memory_size = place == NOWHERE ? 0 : BLOCK_PAGES * PAGE,
		.userspace_addr = (uintptr_t)page_of(block, 0),
	};

	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0, "KVM_SET_USER_MEMORY_REGION");
}

/* ---- The thread: reads, and judges each by what was shown before and after ---- */

static void judge(int place, int page, unsigned before, int block, struct ioasis_dma dma, uint64_t word)
{
	bool is_sure = before % 2 == 0 && places[place].version == before;

	if (!is_sure) {
		under_way++;
		must(is_refused(dma) || (is_done(dma) && (word & ~(3ul << 32)) == name_of(0, page)), "a read under way");
	} else if (block == NOWHERE) {
		refused++;
		must(is_refused(dma), "a read where no slot is");
	} else {
		sure++;
		must(is_done(dma) && word == name_of(block, page), "a read from a slot");
	}
}

static void *keep_reading(void *unused)
{
	unsigned seed = 1;

	while (!stop) {
		int place = rand_r(&seed) % PLACES, page = rand_r(&seed) % BLOCK_PAGES;
		unsigned before = places[place].version;
		int block = places[place].block;
		uint64_t word = 0;
		struct ioasis_dma dma = load(device, PASID, guest_address(place, page), sizeof(word), &word);

		judge(place, page, before, block, dma, word);
	}
	return unused;
}

/* ---- Changes ---- */

static void show(int place, int block)
{
	if (place != NOWHERE)
		places[place].block = block;
}

/* Begins or ends a change of what one or two places show. */
static void change_versions(int old, int place)
{
	if (old != NOWHERE)
		places[old].version++;
	if (place != NOWHERE && place != old)
		places[place].version++;
}

/* Puts a block to another place, or from or to nowhere. */
static void move_block(int block, int place, bool read_only)
{
	int old = place_of[block];

	change_versions(old, place);
	/* A slot can be moved, but to make it read-only it has to be made anew. */
	if (old != NOWHERE && (place == NOWHERE || read_only != is_read_only[block]))
		set_slot(block, NOWHERE, 0);
	if (place != NOWHERE)
		set_slot(block, place, read_only ? KVM_MEM_READONLY : 0);
	show(old, NOWHERE);
	show(place, block);
	place_of[block] = place;
	is_read_only[block] = read_only;
	change_versions(old, place);
}

static bool is_free(int place)
{
	for (int block = 0; block < BLOCKS; block++)
		if (place_of[block] == place)
			return false;
	return true;
}

static void change_something(void)
{
	int block = rand() % BLOCKS, place = rand() % (PLACES + 1) - 1;

	if (place == NOWHERE ? place_of[block] != NOWHERE : is_free(place))
		move_block(block, place, place != NOWHERE && rand() % 4 == 0);
}

static void store_word(int place, int page, uint64_t value, struct ioasis_dma *dma)
{
	*dma = (struct ioasis_dma){
		.op = IOASIS_DMA_OP_WRITE,
		.pasid = PASID,
		.iova = guest_address(place, page) + sizeof(value),
		.length = sizeof(value),
		.data_uptr = (uintptr_t)&value,
	};
	must(submit(device, dma) == 0, "IOASIS_DMA");
}

/* A store to every place: it is in the block that is there, if that may be written, and in no other. */
static void expect_shown(uint64_t value)
{
	int page = rand() % BLOCK_PAGES;

	for (int place = 0; place < PLACES; place++) {
		int there = places[place].block;
		bool may = there != NOWHERE && !is_read_only[there];
		uint64_t before[BLOCKS];
		struct ioasis_dma dma;

		for (int block = 0; block < BLOCKS; block++)
			before[block] = page_of(block, page)[1];
		store_word(place, page, value + (uint64_t)place, &dma);
		must(may ? is_done(dma) : is_refused(dma), "a store after a change");
		for (int block = 0; block < BLOCKS; block++) {
			uint64_t expected = may && block == there ? value + (uint64_t)place : before[block];

			must(page_of(block, page)[1] == expected, "what a store has reached");
		}
	}
}

/* ---- The monitor ---- */

static void set_up(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	/* Issued on the machine's own file. */
	struct alloc_ioasid_kvm alloc = { .size = sizeof(alloc) };

	must(kvm >= 0, "/dev/kvm");
	must(ioctl(kvm, KVM_GET_API_VERSION, 0) == KVM_API_VERSION, "KVM_GET_API_VERSION");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	must(vm >= 0, "KVM_CREATE_VM");
	alloc.fd = ioasids = open_ioasids();
	device = open_device(0);
	must(bind_device(device, ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(vm, ALLOC_IOASID_KVM, &alloc) == 0, "ALLOC_IOASID_KVM");
	must(authorize(device, alloc.out_ioasid, PASID) == 0, "AUTHORIZE_IOASID");
	memory = map_pages(BLOCKS * BLOCK_PAGES, MAP_PRIVATE);
	for (int block = 0; block < BLOCKS; block++)
		for (int page = 0; page < BLOCK_PAGES; page++)
			page_of(block, page)[0] = name_of(block, page);
	for (int place = 0; place < PLACES; place++)
		places[place].block = NOWHERE;
}

static void show_each_change(void)
{
	printf("The machine's own table, under PASID %d.\n", PASID);
	expect_shown(100);
	printf("   No slot yet: every page request is answered INVALID.\n");
	move_block(0, 0, false);
	expect_shown(200);
	printf("   A slot at 0x%lx: the device stores into the machine's memory.\n", guest_address(0, 0));
	move_block(0, 3, false);
	expect_shown(300);
	printf("   The slot moved to 0x%lx: there, and no longer where it was.\n", guest_address(3, 0));
	move_block(0, 3, true);
	expect_shown(400);
	printf("   Read-only: it can be read, and a store is refused.\n");
	move_block(0, NOWHERE, false);
	expect_shown(500);
	printf("   Deleted: nothing is there.\n");
}

int main(void)
{
	pthread_t thread;

	set_up();
	must(pthread_create(&thread, NULL, keep_reading, NULL) == 0, "pthread_create");
	show_each_change();
	for (uint64_t change = 1; change <= CHANGES; change++) {
		change_something();
		expect_shown(change * 1000);
	}
	stop = true;
	pthread_join(thread, NULL);
	printf("%d more changes. Reads meanwhile: %lu from slots, %lu where none was, %lu across a change; ", CHANGES, sure,
	       refused, under_way);
	printf("no wrong word.\n");
	return 0;
}
