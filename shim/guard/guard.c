/*
 * Keeps the daemon alive when a client cuts a file short that the daemon has mapped. A load from such a page is a SIGBUS,
 * which JavaScript cannot catch: here a page of zeros is put there instead, and the range is marked. Whoever used it looks
 * at the mark afterwards and knows that what it read or wrote is void. A SIGBUS anywhere else kills, as it should.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define RANGES 4096
#define PAGE 4096ul

/* A free range has length 0. Only the owner of a range changes it, and only while nobody loads from it. */
static struct {
	atomic_ulong start;
	atomic_ulong length;
} ranges[RANGES];

/* By range: pages that were replaced since it was set. Read by JavaScript. */
static atomic_int marks[RANGES];
static struct sigaction before;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	(void)context;
	for (int i = 0; i < RANGES && info->si_code == BUS_ADRERR; i++) {
		uintptr_t start = atomic_load(&ranges[i].start);
		void *page = (void *)(at & -PAGE);

		if (at - start >= atomic_load(&ranges[i].length))
			continue;
		atomic_fetch_add(&marks[i], 1);
		if (mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
			return;
	}
	if (before.sa_flags & SA_SIGINFO && before.sa_sigaction) {
		before.sa_sigaction(number, info, context);
		return;
	}
	/* Not ours: the instruction runs again and meets its fate. */
	sigaction(SIGBUS, &before, NULL);
}

/* Where the marks lie; 0 when the handler cannot be installed. Later calls only tell. */
EXPORT int64_t guard_install(void)
{
	static atomic_int installed;
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	if (!atomic_exchange(&installed, 1) && sigaction(SIGBUS, &action, &before) < 0)
		return 0;
	return (int64_t)(intptr_t)marks;
}

/* Guards `length` bytes from `start` on; the number of the range, or -1 when there is none left. */
EXPORT int guard_add(int64_t start, int64_t length)
{
	for (int i = 0; i < RANGES; i++) {
		unsigned long none = 0;

		/* Taken by a length that matches nothing yet. */
		if (!atomic_compare_exchange_strong(&ranges[i].start, &none, UINTPTR_MAX))
			continue;
		atomic_store(&marks[i], 0);
		atomic_store(&ranges[i].length, 0);
		atomic_store(&ranges[i].start, (unsigned long)start);
		atomic_store(&ranges[i].length, (unsigned long)length);
		return i;
	}
	return -1;
}

EXPORT void guard_remove(int range)
{
	atomic_store(&ranges[range].length, 0);
	atomic_store(&ranges[range].start, 0);
}
