/*
 * The life of an address space, in every order. Two files, /dev/ioasid and a device's, are open; the steps are to
 * associate them, to make a table, to let the device use it, to take that back, to destroy the table, and to close either
 * file. Every way of up to ten steps that work is gone, and at each point all steps that cannot work are tried and have to
 * be refused. After each step the device stores through the table, which works while it may use it and not otherwise, and
 * a second device, which has nothing to do with all this, goes on. So does a thread that never stops using the first
 * device, whatever becomes of its descriptor; and while the device may use the table, one store waits for a page that
 * nobody will provide.
 *
 *     ioasis header > ioasis.h && cc -o life-cycle life-cycle.c -pthread
 *     ioasis run --profile vtd -- ./life-cycle
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "owners.h"

#define ADDRESS 0x400000000000ul
#define PASID 5
#define LONGEST 10

enum step { ASSOCIATE, ALLOCATE, AUTHORIZE, DEAUTHORIZE, DESTROY, CLOSE_DEVICE, CLOSE_IOASIDS, STEPS };
static const char *const names[] = { "associate", "allocate",	  "authorize",	  "deauthorize",
				     "destroy",	  "close device", "close ioasids" };

/* What the program knows of its files, and so what each step has to answer. */
struct state {
	bool has_device, has_ioasids, is_associated, has_table, is_authorized;
};
static const struct state begin = { .has_device = true, .has_ioasids = true };
static struct state now;
static int ioasids, fault_file;
static uint32_t table, fault_id;
/* The thread uses it as well, and counts how often. */
static _Atomic int device;
static _Atomic unsigned long turns;
static char *data, *levels;
static unsigned long ways, steps, refusals, blocked, translated, cancelled;

/* ---- The steps ---- */

/* The files; page requests will go to one that nobody reads. */
static void open_files(void)
{
	struct fault_ioasid fault = { .size = sizeof(fault) };

	now = begin;
	table = 0;
	ioasids = open_ioasids();
	device = open_device(0);
	must(ioctl(ioasids, FAULT_IOASID, &fault) == 0, "FAULT_IOASID");
	fault_id = fault.out_fault_id;
	fault_file = fault.out_fault_fd;
}

/* A call that has begun holds the file: the thread's may store until it returns. */
static int close_device(int fd)
{
	int result = outcome(close(fd));

	for (unsigned long turn = turns; turns == turn;)
		sched_yield();
	return result;
}

static int take(enum step step)
{
	int fd = device;

	switch (step) {
	case ASSOCIATE:
		return bind_device(fd, ioasids);
	case ALLOCATE:
		return user_table(ioasids, levels, fault_id, &table);
	case AUTHORIZE:
		return authorize(fd, table, PASID);
	case DEAUTHORIZE:
		return deauthorize(fd, table, PASID);
	case DESTROY:
		return destroy(ioasids, table);
	case CLOSE_DEVICE:
		device = -1;
		return close_device(fd);
	default:
		fd = ioasids;
		ioasids = -1;
		return outcome(close(fd));
	}
}

/* What `step` has to answer. A bound device keeps what its /dev/ioasid has, closed or not. */
static int predict(struct state at, enum step step)
{
	bool is_of_device = step == ASSOCIATE || step == AUTHORIZE || step == DEAUTHORIZE || step == CLOSE_DEVICE;

	if (is_of_device ? !at.has_device : !at.has_ioasids)
		return EBADF;
	switch (step) {
	case ASSOCIATE:
		return at.is_associated || !at.has_ioasids ? EINVAL : 0;
	case ALLOCATE:
		return at.is_associated ? 0 : ENODEV;
	case AUTHORIZE:
		return !at.is_associated ? EINVAL : !at.has_table ? ENOENT : at.is_authorized ? EBUSY : 0;
	case DEAUTHORIZE:
		return !at.is_associated ? EINVAL : !at.has_table ? ENOENT : at.is_authorized ? 0 : EINVAL;
	case DESTROY:
		return !at.has_table ? ENOENT : at.is_authorized ? EBUSY : 0;
	default:
		return 0;
	}
}

/* What is so after a `step` that works. */
static struct state after(struct state at, enum step step)
{
	switch (step) {
	case ASSOCIATE:
		at.is_associated = true;
		break;
	case ALLOCATE:
	case DESTROY:
		at.has_table = step == ALLOCATE;
		break;
	case AUTHORIZE:
	case DEAUTHORIZE:
		at.is_authorized = step == AUTHORIZE;
		break;
	case CLOSE_DEVICE:
		at.has_device = at.is_associated = at.is_authorized = false;
		break;
	default:
		at.has_ioasids = false;
	}
	return at;
}

/* ---- DMA ---- */

static int store_byte(int fd, uint64_t at, unsigned char value, struct ioasis_dma *dma)
{
	*dma = (struct ioasis_dma){
		.op = IOASIS_DMA_OP_FILL, .pasid = PASID, .iova = at, .length = 1, .value = value,
	};
	return submit(fd, dma);
}

/* The store that waits is over, and has stored nothing. */
static void expect_cancelled(void)
{
	struct ioasis_dma_completion over;

	must(read(device, &over, sizeof(over)) == sizeof(over), "the completion");
	must(over.state == IOASIS_DMA_FAILED && over.fault_reason == IOASIS_DMA_PAGE_INVALID, "how it ended");
	cancelled++;
}

/* By this thread and the other: nothing is stored while the device may not. */
static void use_device(void)
{
	static unsigned char value;
	char before[] = { data[0], data[PAGE] };
	struct ioasis_dma dma;
	int failed = store_byte(device, ADDRESS, ++value, &dma);

	if (now.is_authorized) {
		must(failed == 0 && is_done(dma) && (unsigned char)data[0] == value, "a store that may");
		translated++;
		return;
	}
	must(failed == (!now.has_device ? EBADF : !now.is_associated ? EINVAL : 0), "a device that may not");
	must(failed != 0 || is_refused(dma), "a store that may not");
	must(data[0] == before[0] && data[PAGE] == before[1], "what it may not store to");
	blocked++;
}

/* Uses the first device's descriptor, whatever it is at that moment. */
static void *never_stop(void *stop)
{
	struct ioasis_dma dma;

	for (; !__atomic_load_n((bool *)stop, __ATOMIC_RELAXED); turns++)
		store_byte(device, ADDRESS + PAGE, (unsigned char)turns, &dma);
	return NULL;
}

/* ---- A second device, with files of its own ---- */

static int neighbour, neighbours_ioasids;
static char *garden;

static void settle(void)
{
	neighbours_ioasids = open_ioasids();
	neighbour = open_device(1);
	garden = map_pages(1, MAP_PRIVATE);
	must(bind_device(neighbour, neighbours_ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	must(authorize(neighbour, process_table(neighbours_ioasids, -1), PASID) == 0, "AUTHORIZE_IOASID");
}

static void use_neighbour(void)
{
	static unsigned char value;

	must(is_done(store(neighbour, PASID, (uintptr_t)garden, PAGE, ++value)), "the second device");
	must((unsigned char)garden[0] == value && (unsigned char)garden[PAGE - 1] == value, "what it stored");
}

/* ---- Ways ---- */

/* Everything that cannot work now: it is refused, and changes nothing. */
static void try_the_rest(void)
{
	for (enum step step = 0; step < STEPS; step++) {
		int expected = predict(now, step);

		/* A second table is no mistake, only not part of this. */
		if (expected == 0 || step >= CLOSE_DEVICE)
			continue;
		must(take(step) == expected, names[step]);
		refusals++;
	}
	use_device();
	use_neighbour();
}

static void go(enum step step)
{
	struct ioasis_dma waits;
	bool could = now.is_authorized;

	must(take(step) == 0, names[step]);
	now = after(now, step);
	if (could && step == DEAUTHORIZE)
		expect_cancelled();
	if (step == AUTHORIZE)
		must(store_byte(device, ADDRESS + 2 * PAGE, 1, &waits) == 0 && waits.out_state == IOASIS_DMA_PENDING,
		     "a store that waits");
	use_device();
	use_neighbour();
	steps++;
}

static void go_all(const enum step *way, int length)
{
	open_files();
	for (int i = 0; i < length; i++) {
		try_the_rest();
		go(way[i]);
	}
	try_the_rest();
	if (now.has_device)
		go(CLOSE_DEVICE);
	if (now.has_ioasids)
		go(CLOSE_IOASIDS);
	close(fault_file);
	ways++;
}

/* Every way that begins with the `length` steps of `way`, which lead to `at`. */
static void explore(enum step *way, int length, struct state at)
{
	if (length == LONGEST || (!at.has_device && !at.has_ioasids)) {
		go_all(way, length);
		return;
	}
	for (enum step step = 0; step < STEPS; step++) {
		if (predict(at, step) != 0 || (step == ALLOCATE && at.has_table))
			continue;
		way[length] = step;
		explore(way, length + 1, after(at, step));
	}
}

/* Everything is closed: the machine has no context of anybody's any more, and no PASID in its tables. */
static void expect_nothing_left(void)
{
	static char dump[1 << 16];
	FILE *file = fopen("/sys/kernel/debug/ioasis/dump", "r");

	must(file != NULL && fread(dump, 1, sizeof(dump) - 1, file) > 0, "the machine's dump");
	fclose(file);
	must(strstr(dump, "\"contexts\":[],\"devices\"") != NULL && strstr(dump, "\"pasids\":[{") == NULL, "what is left");
}

int main(void)
{
	enum step way[LONGEST];
	bool stop = false;
	pthread_t thread;

	data = map_pages(3, MAP_PRIVATE);
	levels = map_pages(4, MAP_PRIVATE);
	memset(data, 0, 3 * PAGE);
	write_table(levels, (uintptr_t)levels, ADDRESS, (uintptr_t)data)[(ADDRESS >> 12 & 511) + 1] =
		(uintptr_t)(data + PAGE) | ENTRY_FLAGS;
	settle();
	must(pthread_create(&thread, NULL, never_stop, &stop) == 0, "pthread_create");
	explore(way, 0, begin);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	must(data[2 * PAGE] == 0, "a page that nobody has provided");
	printf("%lu ways, %lu steps; %lu others were tried on the way, and refused.\n", ways, steps, refusals);
	printf("The device stored %lu times and was blocked %lu times; ", translated, blocked);
	printf("%lu stores that waited were ended by what was taken back.\n", cancelled);
	close(neighbour);
	close(neighbours_ioasids);
	expect_nothing_left();
	printf("Nothing is left of it in the machine.\n");
	return 0;
}
