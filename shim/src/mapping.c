/*
 * Mappings of tokens. What is mapped is a memfd of the daemon's, and no descriptor tells it when a mapping is gone;
 * so they are counted here, and the daemon is told. It sees the end of a process by itself. Of registers it is also
 * known here where they are, for stores to be sent on; whoever faults may have interrupted anything, so that signals are
 * blocked while the list is changed.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "decode.h"
#include "shim.h"

#define MAPPINGS 256

struct mapping {
	uintptr_t start, last;
	uint64_t id;	/* 0: a free entry */
	uintptr_t base;	/* where its first byte would be, of which a part may be gone */
	bool registers, writable;
};

_Atomic uint32_t memory_epoch;
bool memory_is_held;

static struct mapping mappings[MAPPINGS];
static _Atomic int mapping_count;
static _Atomic int lock;

static size_t whole_pages(size_t length)
{
	return (length + 4095) & ~4095ul;
}

static unsigned long lock_mappings(void)
{
	unsigned long signals = block_signals();

	while (atomic_exchange(&lock, 1))
		sys0(SYS_sched_yield);
	return signals;
}

static void unlock_mappings(unsigned long signals)
{
	atomic_store(&lock, 0);
	restore_signals(signals);
}

static void tell(uint64_t id, bool opened)
{
	struct call call = {
		.request = { .op = IOASIS_OP_MAPPED, .cmd = opened, .arg = id, .fd = -1 },
	};

	channel_call(&call);
}

/* The pages there are other ones from now on. */
void mapping_dropped(const void *at, size_t length)
{
	struct call call = {
		.request = { .op = IOASIS_OP_CUT, .arg = (uintptr_t)at, .count = whole_pages(length), .fd = -1 },
	};

	if (memory_is_held && length)
		channel_call(&call);
}

static bool remember(struct mapping mapping)
{
	for (int i = 0; i < MAPPINGS; i++) {
		if (mappings[i].id)
			continue;
		mappings[i] = mapping;
		atomic_fetch_add(&mapping_count, 1);
		return true;
	}
	return false;
}

static void forget(struct mapping *mapping)
{
	mapping->id = 0;
	atomic_fetch_sub(&mapping_count, 1);
}

long map_token(int fd, uint64_t inode, void *at, size_t length, int prot, int flags, uint64_t offset)
{
	struct call call = {
		.request = { .op = IOASIS_OP_MMAP,
			     .cmd = (uint32_t)(prot | flags << 8),
			     .token = inode,
			     .arg = (uintptr_t)at,
			     .count = length,
			     .offset = offset,
			     .fd = fd },
	};
	struct rlimit before;
	struct mapping made;
	unsigned long signals;
	bool lifted = lift_fd_limit(&before), kept;
	long result = channel_call(&call);

	if (lifted)
		restore_fd_limit(&before);

	if (result < 0 && result > -4096)
		return result;
	if (flags & MAP_FIXED)
		mapping_cut(at, length);
	made = (struct mapping){ .start = (uintptr_t)result,
				 .last = (uintptr_t)result + whole_pages(length) - 1,
				 .id = call.count,
				 .base = (uintptr_t)result,
				 .registers = call.registers,
				 .writable = prot & PROT_WRITE };
	signals = lock_mappings();
	kept = remember(made);
	unlock_mappings(signals);
	if (!kept) {
		sys2(SYS_munmap, result, length);
		tell(call.count, false);
		return -ENOMEM;
	}
	return result;
}

/* What the daemon is to hear of mappings once the list is unlocked. */
struct news {
	int count;
	struct {
		uint64_t id;
		bool opened;
	} of[MAPPINGS + 8];
};

static void note(struct news *news, uint64_t id, bool opened)
{
	if (news->count == sizeof(news->of) / sizeof(news->of[0]))
		return;
	news->of[news->count].id = id;
	news->of[news->count++].opened = opened;
}

static void tell_all(const struct news *news)
{
	for (int i = 0; i < news->count; i++)
		tell(news->of[i].id, news->of[i].opened);
}

static void cut(uintptr_t start, uintptr_t last, struct news *news)
{
	for (int i = 0; i < MAPPINGS; i++) {
		struct mapping *m = &mappings[i];

		if (!m->id || m->last < start || m->start > last)
			continue;
		if (m->start < start && m->last > last) {
			struct mapping rest = *m;

			rest.start = last + 1;
			if (remember(rest))
				note(news, m->id, true);
			m->last = start - 1;
		} else if (m->start < start) {
			m->last = start - 1;
		} else if (m->last > last) {
			m->start = last + 1;
		} else {
			note(news, m->id, false);
			forget(m);
		}
	}
}

/* Addresses from `at` are not what they were. A mapping of which a middle part goes becomes two. */
void mapping_cut(const void *at, size_t length)
{
	uintptr_t start = (uintptr_t)at;
	struct news news = { 0 };
	unsigned long signals;

	atomic_fetch_add_explicit(&memory_epoch, 1, memory_order_relaxed);
	mapping_dropped(at, length);
	if (atomic_load_explicit(&mapping_count, memory_order_relaxed) == 0)
		return;
	signals = lock_mappings();
	cut(start, start + whole_pages(length) - 1, &news);
	unlock_mappings(signals);
	tell_all(&news);
}

/* The child has every mapping once more. */
void mapping_forked(void)
{
	atomic_store(&lock, 0);
	for (int i = 0; i < MAPPINGS; i++)
		if (mappings[i].id)
			tell(mappings[i].id, true);
}

static struct mapping *mapping_at(uintptr_t at)
{
	for (int i = 0; i < MAPPINGS; i++) {
		struct mapping *m = &mappings[i];

		if (m->id && m->start <= at && at <= m->last)
			return m;
	}
	return NULL;
}

static struct mapping *registers_at(uintptr_t at)
{
	struct mapping *found = mapping_at(at);

	return found && found->registers ? found : NULL;
}

/* Whether stores at `at` are to be sent on, and where they go. */
bool mapping_trapped(uintptr_t at, struct trapped *trapped)
{
	unsigned long signals;
	struct mapping *found;

	if (atomic_load_explicit(&mapping_count, memory_order_relaxed) == 0)
		return false;
	signals = lock_mappings();
	found = registers_at(at);
	if (found && found->writable) {
		trapped->start = found->start;
		trapped->last = found->last;
		trapped->id = found->id;
		trapped->base = found->base;
	} else {
		found = NULL;
	}
	unlock_mappings(signals);
	return found != NULL;
}

/* The lowest mapping of registers that reaches into start..last. */
static struct mapping *first_registers(uintptr_t start, uintptr_t last)
{
	struct mapping *first = NULL;

	for (int i = 0; i < MAPPINGS; i++) {
		struct mapping *m = &mappings[i];

		if (m->id && m->registers && m->start <= last && m->last >= start && (!first || m->start < first->start))
			first = m;
	}
	return first;
}

/* Makes `whole`, a mapping or none, two if it goes across `border`, the second from there on; 0 or -ENOMEM. */
static long split_at(struct mapping *whole, uintptr_t border, struct news *news)
{
	struct mapping rest;

	if (!whole || whole->start == border)
		return 0;
	rest = *whole;
	rest.start = border;
	if (!remember(rest))
		return -ENOMEM;
	whole->last = border - 1;
	note(news, whole->id, true);
	return 0;
}

/* mprotect, piece by piece from below as the kernel does it: nobody but us writes registers, whatever the program may. */
static long protect(uintptr_t start, uintptr_t last, int prot)
{
	long result;

	do {
		struct mapping *next = first_registers(start, last);
		bool registers = next && next->start <= start;
		uintptr_t end = !next ? last : registers ? next->last : next->start - 1;

		if (end > last)
			end = last;
		result = sys3(SYS_mprotect, start, end - start + 1,
			      registers && prot & PROT_WRITE ? (prot & ~PROT_WRITE) | PROT_READ : prot);
		if (registers && result == 0)
			next->writable = prot & PROT_WRITE;
		start = end + 1;
	} while (result == 0 && start - 1 < last);
	return result;
}

/* mprotect(2), or -errno. */
long mapping_protect(void *at, size_t length, int prot)
{
	uintptr_t start = (uintptr_t)at, last = start + whole_pages(length) - 1;
	struct news news = { 0 };
	unsigned long signals;
	long result;

	if (atomic_load_explicit(&mapping_count, memory_order_relaxed) == 0 || start & 4095 ||
	    whole_pages(length) == 0 || last < start)
		return sys3(SYS_mprotect, at, length, prot);
	signals = lock_mappings();
	result = split_at(registers_at(start), start, &news);
	if (result == 0)
		result = split_at(registers_at(last + 1), last + 1, &news);
	if (result == 0)
		result = protect(start, last, prot);
	unlock_mappings(signals);
	tell_all(&news);
	return result;
}

/* What a device hands out stays as long as it is and leaves nothing behind (VM_DONTEXPAND): -errno, or 0. */
static long remap_refused(uintptr_t from, size_t length, size_t new_length, int flags)
{
	if (!mapping_at(from) || new_length == 0)
		return 0;
	if (flags & MREMAP_DONTUNMAP)
		return -EINVAL;
	return whole_pages(new_length) > whole_pages(length) ? -EFAULT : 0;
}

/* Mappings, whole ones, go along with what was moved. */
static void move(uintptr_t from, size_t length, uintptr_t to)
{
	for (int i = 0; i < MAPPINGS; i++) {
		struct mapping *m = &mappings[i];

		if (!m->id || m->start < from || m->start - from >= length)
			continue;
		m->start += to - from;
		m->last += to - from;
		m->base += to - from;
	}
}

/* mremap(2), or -errno. Nobody looks for a mapping while it is neither here nor there. */
long mapping_remap(void *at, size_t length, size_t new_length, int flags, void *to)
{
	uintptr_t from = (uintptr_t)at;
	size_t old = whole_pages(length), new = whole_pages(new_length);
	struct news news = { 0 };
	unsigned long signals;
	long result;

	if (atomic_load_explicit(&mapping_count, memory_order_relaxed) == 0 || from & 4095 || from + old < from)
		return sys5(SYS_mremap, at, length, new_length, flags, to);
	signals = lock_mappings();
	result = remap_refused(from, length, new_length, flags);
	if (result == 0)
		result = split_at(mapping_at(from), from, &news);
	if (result == 0)
		result = split_at(mapping_at(from + old), from + old, &news);
	if (result == 0)
		result = sys5(SYS_mremap, at, length, new_length, flags, to);
	if (result >= 0 || result < -4095) {
		if (new < old)
			cut(from + new, from + old - 1, &news);
		/* What lay there is gone. */
		if ((uintptr_t)result != from)
			cut((uintptr_t)result, (uintptr_t)result + new - 1, &news);
		move(from, old, (uintptr_t)result);
	}
	unlock_mappings(signals);
	tell_all(&news);
	return result;
}
