/*
 * Shared virtual addresses: a device that uses the page table of this very process. It reads and writes at the program's
 * own addresses, finds what the program has there at that moment and nothing else, and asks the process for pages that
 * are not there yet, as a load of the program's own would. Nobody has to tell it what changes, not even while it reads.
 *
 * It needs a DMA test device behind an IOMMU that knows PASIDs and page requests:
 *
 *     ioasis header > ioasis.h && cc -o sva sva.c -pthread
 *     ioasis run --profile vtd -- ./sva
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>

#include "owners.h"

#define PASID 7
/* Of the area that never rests. */
#define PAGES 8
#define READS 5000

static int device;

static void stores(void *at, uint64_t length, unsigned char value, const char *what)
{
	must(is_done(store(device, PASID, (uintptr_t)at, length, value)), what);
	for (uint64_t i = 0; i < length; i++)
		must(((unsigned char *)at)[i] == value, what);
	printf("   %s: the device stored %lu bytes, and the program reads them.\n", what, (unsigned long)length);
}

static void refuses(void *at, const char *what)
{
	must(is_refused(store(device, PASID, (uintptr_t)at, 1, 1)), what);
	printf("   %s: the page request was answered INVALID.\n", what);
}

static void share(void)
{
	int ioasids = open_ioasids();

	device = open_device(0);
	must(bind_device(device, ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	must(authorize(device, process_table(ioasids, -1), PASID) == 0, "AUTHORIZE_IOASID");
	printf("PASID %d of the device is this process, %d.\n", PASID, getpid());
}

/* After fork(2) pages belong to both, until one stores: the device's store must not reach the child. */
static void fork_under_dma(char *at)
{
	int go[2], status;
	char byte;
	pid_t child;

	memset(at, 1, PAGE);
	must(pipe(go) == 0, "pipe");
	child = fork();
	if (child == 0) {
		must(read(go[0], &byte, 1) == 1, "read");
		_exit(at[0] == 1 && at[PAGE - 1] == 1 ? 0 : 1);
	}
	stores(at, PAGE, 2, "a page shared with a child");
	must(write(go[1], "", 1) == 1, "write");
	must(waitpid(child, &status, 0) == child && status == 0, "the child still has its own bytes");
	printf("   the child still has its own bytes.\n");
}

/* ---- Pages that change while the device reads them ---- */

/* Odd while the page is being changed; what is in it; 0: it is not there. */
static struct {
	_Atomic uint64_t version, shown;
} restless[PAGES];
static char *area;
static _Atomic bool stop;

static void change(uint64_t count)
{
	unsigned page = (unsigned)(count * 7 % PAGES);
	uint64_t *here = (uint64_t *)(area + page * PAGE);

	restless[page].version++;
	if (count % 3 == 0) {
		must(munmap(here, PAGE) == 0, "munmap");
		restless[page].shown = 0;
	} else {
		must(mmap(here, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == here, "mmap");
		here[0] = restless[page].shown = count;
		must(mprotect(here, PAGE, PROT_READ) == 0, "mprotect");
	}
	restless[page].version++;
}

static void *never_rest(void *unused)
{
	for (uint64_t count = PAGES + 1; !stop; count++)
		change(count);
	return unused;
}

/* True: the page was changed meanwhile. What the device read is what was there, or is there now. */
static bool read_restless(unsigned page)
{
	uint64_t version = restless[page].version, shown = restless[page].shown, word = 0;
	struct ioasis_dma dma = load(device, PASID, (uintptr_t)(area + page * PAGE), sizeof(word), &word);

	if (version % 2 == 0 && restless[page].version == version) {
		must(shown == 0 ? is_refused(dma) : is_done(dma) && word == shown, "a restless page");
		return false;
	}
	/* Gone; just made; or an older or a later one. */
	must(is_refused(dma) || (is_done(dma) && (word == 0 || (word * 7 % PAGES == page && word >= shown))),
	     "a restless page that was changed meanwhile");
	return true;
}

static void read_while_it_changes(void)
{
	unsigned across = 0;
	pthread_t thread;

	area = map_pages(PAGES, MAP_PRIVATE);
	for (uint64_t count = 1; count <= PAGES; count++)
		change(count);
	must(pthread_create(&thread, NULL, never_rest, NULL) == 0, "pthread_create");
	for (unsigned read = 0; read < READS; read++)
		across += read_restless((unsigned)rand() % PAGES);
	stop = true;
	pthread_join(thread, NULL);
	printf("   %d reads while a thread maps and unmaps, %u of them across a change: no wrong word.\n", READS, across);
}

int main(void)
{
	static char global[PAGE];
	char *fresh, *changing, on_stack[64];

	share();
	stores(global, sizeof(global), 3, "a variable");
	stores(on_stack, sizeof(on_stack), 4, "the stack");
	fresh = map_pages(16, MAP_PRIVATE);
	stores(fresh, 16 * PAGE, 5, "pages that nobody has touched");
	fork_under_dma(fresh);

	changing = map_pages(1, MAP_PRIVATE);
	stores(changing, PAGE, 6, "a page");
	must(mprotect(changing, PAGE, PROT_READ) == 0, "mprotect");
	refuses(changing, "the page made read-only");
	must(mprotect(changing, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	stores(changing, PAGE, 7, "the page made writable again");
	must(munmap(changing, PAGE) == 0, "munmap");
	refuses(changing, "the page unmapped");
	must(mmap(changing, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == changing,
	     "mmap");
	stores(changing, PAGE, 8, "another page at the same address");
	refuses((void *)main, "the program's code");
	read_while_it_changes();
	printf("Nothing was mapped, pinned or invalidated.\n");
	return 0;
}
