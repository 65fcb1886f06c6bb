/*
 * Mappings of tokens. What is mapped is a memfd of the daemon's, and no descriptor tells it when a mapping is gone;
 * so they are counted here, and the daemon is told. It sees the end of a process by itself.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/mman.h>

#include "shim.h"

#define MAPPINGS 64

struct mapping {
	uintptr_t start, last;
	uint64_t id;	/* 0: a free entry */
};

_Atomic uint32_t memory_epoch;
bool memory_is_held;

static struct mapping mappings[MAPPINGS];
static _Atomic int mapping_count;
static _Atomic int lock;

static void lock_mappings(void)
{
	while (atomic_exchange(&lock, 1))
		sys0(SYS_sched_yield);
}

static void unlock_mappings(void)
{
	atomic_store(&lock, 0);
}

static void tell(uint64_t id, bool opened)
{
	struct call call = {
		.request = { .op = IOASIS_OP_MAPPED, .cmd = opened, .arg = id, .fd = -1 },
	};

	channel_call(&call);
}

static void tell_cut(const void *at, size_t length)
{
	struct call call = {
		.request = { .op = IOASIS_OP_CUT, .arg = (uintptr_t)at, .count = (length + 4095) & ~4095ul, .fd = -1 },
	};

	if (memory_is_held && length)
		channel_call(&call);
}

void mapping_dropped(const void *at, size_t length)
{
	tell_cut(at, length);
}

static bool remember(uintptr_t start, uintptr_t last, uint64_t id)
{
	for (int i = 0; i < MAPPINGS; i++) {
		if (mappings[i].id)
			continue;
		mappings[i] = (struct mapping){ start, last, id };
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
	bool lifted = lift_fd_limit(&before), kept;
	long result = channel_call(&call);

	if (lifted)
		restore_fd_limit(&before);

	if (result < 0 && result > -4096)
		return result;
	if (flags & MAP_FIXED)
		mapping_cut(at, length);
	lock_mappings();
	kept = remember((uintptr_t)result, (uintptr_t)result + ((length + 4095) & ~4095ul) - 1, call.count);
	unlock_mappings();
	if (!kept) {
		sys2(SYS_munmap, result, length);
		tell(call.count, false);
		return -ENOMEM;
	}
	return result;
}

/* Addresses from `at` are not what they were. A mapping of which a middle part goes becomes two. */
void mapping_cut(const void *at, size_t length)
{
	uintptr_t start = (uintptr_t)at, last = start + ((length + 4095) & ~4095ul) - 1;
	uint64_t news[MAPPINGS];
	bool opened[MAPPINGS];
	int count = 0;

	atomic_fetch_add_explicit(&memory_epoch, 1, memory_order_relaxed);
	tell_cut(at, length);
	if (atomic_load_explicit(&mapping_count, memory_order_relaxed) == 0)
		return;
	lock_mappings();
	for (int i = 0; i < MAPPINGS && count < MAPPINGS; i++) {
		struct mapping *m = &mappings[i];

		if (!m->id || m->last < start || m->start > last)
			continue;
		if (m->start < start && m->last > last) {
			if (remember(last + 1, m->last, m->id)) {
				news[count] = m->id;
				opened[count++] = true;
			}
			m->last = start - 1;
		} else if (m->start < start) {
			m->last = start - 1;
		} else if (m->last > last) {
			m->start = last + 1;
		} else {
			news[count] = m->id;
			opened[count++] = false;
			forget(m);
		}
	}
	unlock_mappings();
	for (int i = 0; i < count; i++)
		tell(news[i], opened[i]);
}

void mapping_moved(const void *from, size_t length, const void *to, size_t new_length)
{
	atomic_fetch_add_explicit(&memory_epoch, 1, memory_order_relaxed);
	tell_cut(from, length);
	if (atomic_load_explicit(&mapping_count, memory_order_relaxed) == 0)
		return;
	lock_mappings();
	for (int i = 0; i < MAPPINGS; i++) {
		struct mapping *m = &mappings[i];

		if (m->id && m->start == (uintptr_t)from && length) {
			m->start = (uintptr_t)to;
			m->last = (uintptr_t)to + ((new_length + 4095) & ~4095ul) - 1;
		}
	}
	unlock_mappings();
}

/* The child has every mapping once more. */
void mapping_forked(void)
{
	atomic_store(&lock, 0);
	for (int i = 0; i < MAPPINGS; i++)
		if (mappings[i].id)
			tell(mappings[i].id, true);
}
