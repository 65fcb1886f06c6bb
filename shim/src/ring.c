/*
 * Short calls without the socket: request and answer lie in memory that we share with the daemon (protocol.h). What
 * the kernel checks when it copies for a socket is checked here before bytes are copied: a bad address is EFAULT.
 * Whatever does not fit or cannot be had goes over the socket; the ring may always be missing.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"
#include "wrappers.h"

/* How long an answer is waited for without sleeping: about the price of a wake-up between CPUs. */
#define PATIENCE_NS 50000
#define LOOKS_PER_CLOCK 32
/* After a wait in vain the next are left out, twice as many each time, up to this many doublings. */
#define DOUBLINGS 6
/* A stack is looked for at most this far up. */
#define STACK_REACH (1 << 20)
/* `awake` when the daemon will never look again; a state of our own: the daemon is gone. */
#define GONE 2
#define LOST ~0u

static struct ioasis_rings *_Atomic shared;
static _Atomic int bell = -1;
static _Atomic int fetched;
static __thread char in_thread __attribute__((tls_model("initial-exec")));
static const char *first_thread;
static uintptr_t first_stack_top;

/* In a forked child: the memory is not there, and the descriptor closed. */
void rings_forget(void)
{
	atomic_store(&shared, NULL);
	atomic_store(&bell, -1);
	atomic_store(&fetched, 0);
}

static void *map_rings(long fd)
{
	long at = sys6(SYS_mmap, 0, sizeof(struct ioasis_rings), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at < 0 && at > -4096)
		return NULL;
	if (sys3(SYS_madvise, at, sizeof(struct ioasis_rings), MADV_DONTFORK) == 0)
		return (void *)at;
	sys2(SYS_munmap, at, sizeof(struct ioasis_rings));
	return NULL;
}

/* The first thread of an image asks for what all of them use, over its own connection; once, whatever comes of it. */
void rings_fetch(int fd)
{
	struct call ask = { .request = { .op = IOASIS_OP_RINGS, .fd = -1 } };
	struct rlimit limit;
	void *at = NULL;
	long memory, ringer = -1;
	bool lifted;

	if (atomic_exchange(&fetched, 1))
		return;
	lifted = lift_fd_limit(&limit);
	memory = channel_transfer(fd, &ask, false);
	if (memory >= 0) {
		at = map_rings(memory);
		sys1(SYS_close, memory);
	}
	ask.request.cmd = 1;
	if (at)
		ringer = channel_transfer(fd, &ask, false);
	if (ringer >= 0)
		ringer = hidden_take(ringer);
	if (lifted)
		restore_fd_limit(&limit);
	if (ringer < 0) {
		if (at)
			sys2(SYS_munmap, at, sizeof(struct ioasis_rings));
		return;
	}
	atomic_store(&bell, (int)ringer);
	atomic_store_explicit(&shared, at, memory_order_release);
}

bool ring_bell_at(int fd)
{
	return atomic_load(&bell) == fd;
}

/* From now on nobody begins to use the bell. */
void ring_bell_lift(void)
{
	atomic_store(&bell, -1);
}

void ring_bell_put(int fd)
{
	atomic_store(&bell, fd);
}

__attribute__((constructor)) static void first_thread_is_this(void)
{
	first_thread = &in_thread;
	first_stack_top = getauxval(AT_RANDOM);
}

/*
 * The part of this thread's stack that is in use is there, and needs no question to the kernel: from here up to what
 * libc keeps at a thread's end of it, or the kernel at that of the first one.
 */
static bool on_stack(const void *at, size_t size)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0), from = (uintptr_t)at;
	uintptr_t top = first_thread == &in_thread ? first_stack_top : (uintptr_t)&in_thread;

	return top > here && top - here <= STACK_REACH && from >= here && from < top && size <= top - from;
}

static bool can_read(const void *at, size_t size)
{
	const char *bytes = at;

	if (size == 0 || on_stack(at, size))
		return true;
	return can_read_word(bytes) && (size <= 8 || can_read_word(bytes + size - 8));
}

/* An atomic addition of nothing by the kernel, to the word that holds the byte. */
static bool can_write_byte(const char *at)
{
	uint32_t none = 0;
	long word = (long)((uintptr_t)at & ~3ul);

	return sys6(SYS_futex, (long)&none, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0, word,
		    FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0)) >= 0;
}

static bool can_write(const void *at, size_t size)
{
	const char *bytes = at;

	if (size == 0 || on_stack(at, size))
		return true;
	return can_write_byte(bytes) && can_write_byte(bytes + size - 1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("yield");
#endif
}

/* Whether it pays to wait without sleeping: only if the daemon runs on another CPU, and if it did so lately. */
static bool may_linger(struct seat *seat, struct ioasis_rings *all, uint32_t cpu)
{
	uint32_t theirs = atomic_load_explicit(&all->cpu, memory_order_relaxed);

	if (theirs == cpu || (int32_t)theirs < 0 || (int32_t)cpu < 0)
		return false;
	if (seat->leave_out == 0)
		return true;
	seat->leave_out--;
	return false;
}

static void linger(struct seat *seat, struct ioasis_ring *ring)
{
	uint64_t end = now_ns() + PATIENCE_NS;
	uint32_t posted = IOASIS_RING_POSTED;

	do {
		for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
			if (atomic_load_explicit(&ring->state, memory_order_acquire) != IOASIS_RING_POSTED) {
				seat->vain = 0;
				return;
			}
			relax();
		}
	} while (now_ns() < end);
	if (seat->vain < DOUBLINGS)
		seat->vain++;
	seat->leave_out = (unsigned char)((1 << seat->vain) - 1);
	atomic_compare_exchange_strong(&ring->state, &posted, IOASIS_RING_SLEEPING);
}

/* Writes the request and makes it known; false if nobody looks. */
static bool post(struct seat *seat, struct ioasis_rings *all, const struct call *call)
{
	static const uint64_t one = 1;
	struct ioasis_ring *ring = &all->ring[seat->ring];
	uint32_t cpu = (uint32_t)sched_getcpu(), awake = GONE;
	bool lingers = may_linger(seat, all, cpu);
	int ringer;

	/* Before the bell's number is read: whoever moves the bell waits for us. */
	atomic_store(&seat->ringing, 1);
	ringer = atomic_load(&bell);
	if (ringer >= 0) {
		ring->request = call->request;
		memcpy(ring->carried, call->carry, call->request.carried);
		ring->cpu = cpu;
		atomic_store(&ring->state, lingers ? IOASIS_RING_POSTED : IOASIS_RING_SLEEPING);
		atomic_fetch_or(&all->pending[seat->ring / 32], 1u << seat->ring % 32);
		awake = atomic_load(&all->awake);
		if (awake == 0)
			sys3(SYS_write, ringer, &one, sizeof(one));
	}
	atomic_store_explicit(&seat->ringing, 0, memory_order_release);
	if (lingers && awake != GONE)
		linger(seat, ring);
	return awake != GONE;
}

/* Looks at the socket, on which nothing has to come, for its end. */
static bool hung_up(int fd)
{
	char byte;
	long got = sys6(SYS_recvfrom, fd, (long)&byte, 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);

	return got <= 0 && got != -EAGAIN && got != -EINTR;
}

/* What the daemon has made of the request. A daemon that was killed wakes nobody. */
static uint32_t await(struct ioasis_ring *ring, int fd, const struct call *call)
{
	struct timespec patience = { .tv_sec = 1 };
	uint32_t state;

	for (;;) {
		long slept;

		state = atomic_load_explicit(&ring->state, memory_order_acquire);
		if (state != IOASIS_RING_SLEEPING)
			return state;
		slept = sys4(SYS_futex, &ring->state, FUTEX_WAIT, IOASIS_RING_SLEEPING, &patience);
		if (slept != -ETIMEDOUT)
			continue;
		let_signals_in(call);
		if (hung_up(fd) && atomic_load(&ring->state) == IOASIS_RING_SLEEPING)
			return LOST;
	}
}

static long take_answer(const struct ioasis_ring *ring, struct call *call)
{
	uint32_t replied = ring->replied;

	call->count = ring->answer.count;
	if (ring->answer.error)
		return -ring->answer.error;
	if (replied > call->reply_max || replied > IOASIS_RING_REPLY || !can_write(call->reply_at, replied))
		return -EFAULT;
	memcpy(call->reply_at, ring->reply, replied);
	return (long)ring->answer.value;
}

enum ring_outcome ring_call(struct seat *seat, int fd, struct call *call, long *result)
{
	struct ioasis_rings *all = atomic_load_explicit(&shared, memory_order_acquire);
	uint32_t op = call->request.op;

	/* Others seldom end without a descriptor. */
	if (op != IOASIS_OP_IOCTL && op != IOASIS_OP_READ && op != IOASIS_OP_WRITE && op != IOASIS_OP_STORE)
		return RING_UNUSED;
	if (!all || seat->ring < 0 || !can_read(call->carry, call->request.carried) || !post(seat, all, call))
		return RING_UNUSED;
	switch (await(&all->ring[seat->ring], fd, call)) {
	case IOASIS_RING_DONE:
		*result = take_answer(&all->ring[seat->ring], call);
		return RING_DONE;
	case IOASIS_RING_SOCKET:
		return RING_SOCKET;
	case IOASIS_RING_AGAIN:
		return RING_UNUSED;
	default:
		*result = -EPIPE;
		return RING_DONE;
	}
}
