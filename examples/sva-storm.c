/*
 * A device in the address space of a process that never rests. The process maps, unmaps, moves, protects, drops and forks
 * at random, and lets the device read and store all over its memory by the hundred thousand; each byte is compared with
 * what the process reads itself and with what it knows to be there. Where the process may not read or store, the device
 * may not either. All the while the parent of the process has the device read there too, until the process is killed.
 *
 *     ioasis header > ioasis.h && cc -o sva-storm sva-storm.c
 *     ioasis run --profile vtd -- ./sva-storm [transfers, 1000000 if not given]
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

#include "owners.h"

#define PASID 9
#define PAGES 1024
/* Where nothing else is, so that the parent knows it as well. */
#define ARENA ((unsigned char *)0x20000000000ul)
/* Pages of a change, pieces of a transfer, bytes of a piece. */
#define LONGEST_RUN 32
#define SEGMENTS 128
#define LONGEST 96

static int device, file;
static unsigned long transfers, refusals, changes, forks;

/* Of each page of the arena: what may be done (or that it is none), the page of the file that it began as (or none), ... */
enum { HOLE = -1, NO_FILE = -1 };
static int protection[PAGES], file_page[PAGES];
/* ... and what is in it. */
static unsigned char *known;

static unsigned pick(unsigned below)
{
	static uint32_t state = 0x2545f491;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % below;
}

/* ---- Changes of the arena, of some pages in a row ---- */

static void *at(unsigned page)
{
	return ARENA + page * PAGE;
}

static void begin_page(unsigned page, int prot, int of_file)
{
	protection[page] = prot;
	file_page[page] = of_file;
	if (of_file == NO_FILE)
		memset(known + page * PAGE, 0, PAGE);
	else
		must(pread(file, known + page * PAGE, PAGE, of_file * (off_t)PAGE) == (ssize_t)PAGE, "pread");
}

static bool is_whole(unsigned page, unsigned pages)
{
	for (unsigned i = page; i < page + pages; i++)
		if (protection[i] == HOLE)
			return false;
	return true;
}

static void grow(unsigned page, unsigned pages, bool from_file)
{
	int flags = MAP_PRIVATE | MAP_FIXED | (from_file ? 0 : MAP_ANONYMOUS);

	must(mmap(at(page), pages * PAGE, PROT_READ | PROT_WRITE, flags, from_file ? file : -1, 0) == at(page), "mmap");
	for (unsigned i = 0; i < pages; i++)
		begin_page(page + i, PROT_READ | PROT_WRITE, from_file ? (int)i : NO_FILE);
}

static void shrink(unsigned page, unsigned pages)
{
	must(munmap(at(page), pages * PAGE) == 0, "munmap");
	for (unsigned i = page; i < page + pages; i++)
		protection[i] = HOLE;
}

static void protect(unsigned page, unsigned pages)
{
	static const int choices[] = { PROT_NONE, PROT_READ, PROT_READ, PROT_READ | PROT_WRITE };
	int prot = choices[pick(4)];

	must(mprotect(at(page), pages * PAGE, prot) == 0, "mprotect");
	for (unsigned i = page; i < page + pages; i++)
		protection[i] = prot;
}

static void drop(unsigned page, unsigned pages)
{
	must(madvise(at(page), pages * PAGE, MADV_DONTNEED) == 0, "madvise");
	for (unsigned i = page; i < page + pages; i++)
		begin_page(i, protection[i], file_page[i]);
}

/* One page, since a move does not go over the border of two mappings. */
static void move(unsigned from, unsigned to)
{
	if (from == to)
		return;
	must(mremap(at(from), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(to)) == at(to), "mremap");
	memcpy(known + to * PAGE, known + from * PAGE, PAGE);
	protection[to] = protection[from];
	file_page[to] = file_page[from];
	protection[from] = HOLE;
}

static void check_arena(void)
{
	for (unsigned page = 0; page < PAGES; page++)
		if (protection[page] > 0)
			must(memcmp(at(page), known + page * PAGE, PAGE) == 0, "a page of the arena");
}

/* A child that looks, some changes and transfers later, whether it still has what was there when it was made. */
static void make_child(void)
{
	static pid_t child;
	static int go[2];
	int status;
	char byte;

	if (child != 0) {
		must(write(go[1], "", 1) == 1, "write");
		must(waitpid(child, &status, 0) == child && status == 0, "what a child has");
		close(go[0]);
		close(go[1]);
	}
	must(pipe(go) == 0, "pipe");
	child = fork();
	if (child == 0) {
		close(go[1]);
		/* Nothing to read: the process has been killed. */
		if (read(go[0], &byte, 1) == 1)
			check_arena();
		_exit(0);
	}
	must(child > 0, "fork");
	forks++;
}

static void change(void)
{
	unsigned pages = 1 + pick(LONGEST_RUN), page = pick(PAGES - pages + 1), kind = pick(16);

	changes++;
	if (kind < 4)
		grow(page, pages, kind == 0);
	else if (kind < 6)
		shrink(page, pages);
	else if (kind == 6 && changes % 8 == 0)
		make_child();
	else if (!is_whole(page, pages))
		grow(page, pages, false);
	else if (kind < 10)
		protect(page, pages);
	else if (kind < 13)
		drop(page, pages);
	else
		move(page, pick(PAGES));
}

/* ---- Transfers ---- */

/* A piece of the arena; false if some of it is not for `prot`. */
static bool pick_piece(struct ioasis_dma_segment *piece, int prot)
{
	uint64_t from = pick(PAGES * PAGE - LONGEST), length = 1 + pick(LONGEST);
	unsigned first = (unsigned)(from / PAGE), last = (unsigned)((from + length - 1) / PAGE);

	*piece = (struct ioasis_dma_segment){ .iova = (uintptr_t)ARENA + from, .length = length };
	return protection[first] != HOLE && protection[last] != HOLE && (protection[first] & protection[last] & prot) == prot;
}

/* The device may not do what the process may not. */
static void be_refused(const struct ioasis_dma_segment *piece, int prot)
{
	unsigned char into[LONGEST];
	bool is_store = prot == PROT_WRITE;
	struct ioasis_dma dma = is_store ? store(device, PASID, piece->iova, piece->length, 0xee) :
					   load(device, PASID, piece->iova, piece->length, into);

	must(is_refused(dma), "a transfer that the process could not do itself");
	/* What came before the border was stored. */
	if (is_store)
		memset(known + (piece->iova - (uintptr_t)ARENA), 0xee, dma.out_bytes);
	refusals++;
}

/* Many pieces, one after the other: read from the arena to `buffer`, or stored from there. */
static void transfer_pieces(unsigned char *buffer, int prot)
{
	struct ioasis_dma_segment pieces[SEGMENTS];
	struct ioasis_dma dma = {
		.op = prot == PROT_READ ? IOASIS_DMA_OP_GATHER : IOASIS_DMA_OP_SCATTER,
		.pasid = PASID,
		.iova = (uintptr_t)buffer,
		.data_uptr = (uintptr_t)pieces,
	};

	for (unsigned tries = 0; tries < 4 * SEGMENTS && dma.nr_segments < SEGMENTS; tries++) {
		struct ioasis_dma_segment *piece = &pieces[dma.nr_segments];

		if (pick_piece(piece, prot)) {
			dma.length += piece->length;
			dma.nr_segments++;
		} else if (tries % 16 == 0) {
			be_refused(piece, prot);
		}
	}
	for (uint64_t i = 0; prot == PROT_WRITE && i < dma.length; i++)
		buffer[i] = (unsigned char)pick(256);
	if (dma.nr_segments == 0)
		return;
	must(submit(device, &dma) == 0 && is_done(dma), "transfers");
	transfers += dma.nr_segments;
	for (uint32_t i = 0; i < dma.nr_segments; buffer += pieces[i++].length) {
		unsigned char *here = (unsigned char *)(uintptr_t)pieces[i].iova, *there = known + (here - ARENA);

		if (prot == PROT_WRITE)
			memcpy(there, buffer, pieces[i].length);
		else
			must(memcmp(buffer, here, pieces[i].length) == 0 && memcmp(here, there, pieces[i].length) == 0,
			     "what the device read");
	}
	/* Only now: later pieces may have lain over earlier ones. */
	for (uint32_t i = 0; prot == PROT_WRITE && i < dma.nr_segments; i++) {
		unsigned char *here = (unsigned char *)(uintptr_t)pieces[i].iova;

		must((protection[(here - ARENA) / PAGE] & PROT_READ) == 0 ||
			     memcmp(here, known + (here - ARENA), pieces[i].length) == 0, "what the device stored");
	}
}

/* ---- The process, and its parent ---- */

static void be_under_dma(unsigned long count)
{
	unsigned char *buffer = map_pages(SEGMENTS * LONGEST / PAGE + 1, MAP_PRIVATE);

	known = map_pages(PAGES, MAP_PRIVATE);
	file = memfd_create("storm", MFD_CLOEXEC);
	for (unsigned i = 0; i < LONGEST_RUN * PAGE; i++)
		must(write(file, &(char){ (char)pick(256) }, 1) == 1, "write");
	grow(0, PAGES, false);
	while (transfers < count) {
		change();
		transfer_pieces(buffer, PROT_READ);
		transfer_pieces(buffer, PROT_WRITE);
	}
	check_arena();
	printf("%lu transfers and %lu that were refused, during %lu changes and %lu forks: no wrong byte.\n", transfers, refusals,
	       changes, forks);
	fflush(stdout);
	raise(SIGKILL);
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000000, done = 0, others = 0;
	int ioasids = open_ioasids(), ready[2], status;
	uint32_t table;
	char word[8];
	pid_t child;

	device = open_device(0);
	must(bind_device(device, ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	must(pipe(ready) == 0, "pipe");
	child = fork();
	if (child == 0) {
		table = process_table(ioasids, -1);
		must(authorize(device, table, PASID) == 0 && write(ready[1], "", 1) == 1, "AUTHORIZE_IOASID");
		be_under_dma(count);
	}
	must(read(ready[0], word, 1) == 1, "the process");
	while (waitpid(child, &status, WNOHANG) == 0) {
		struct ioasis_dma dma = load(device, PASID, (uintptr_t)at(pick(PAGES)), sizeof(word), word);

		must(is_done(dma) || is_refused(dma), "a read by the parent's device");
		done += is_done(dma);
		others++;
		usleep(200);
	}
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		return 1;
	for (unsigned page = 0; page < PAGES; page++)
		must(is_refused(store(device, PASID, (uintptr_t)at(page), 1, 1)), "a store after its end");
	printf("The parent had the device read %lu times there, %lu with success. The process was killed: nothing is left.\n",
	       others, done);
	return 0;
}
