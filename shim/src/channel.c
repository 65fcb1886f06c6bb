/*
 * The way to the daemon: one connection for each thread, made at its first call. Once the program has a signal
 * handler, or a thread that can be cancelled at any time, all signals are blocked while we talk: a handler that called us
 * would read the answer meant for somebody else, and a thread that went away would leave us half done. They are let in
 * about once a second, so that a daemon that hangs does not make its clients deaf.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "shim.h"

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#endif

#define SLOTS 4096
/* How often we look whether another thread's call is over, before we go without it. */
#define TURNS 100000

/* A thread's connection. `busy` is held during a call, and by whoever borrows it or moves the descriptor away. */
struct slot {
	_Atomic int fd;
	_Atomic int busy;
	_Atomic int taken;
	bool patient;		/* a receive on it ends after a second; whoever holds it decides */
	struct seat seat;
};

/* What `busy` says of who holds a slot: a call of the thread that it belongs to, or somebody else. */
enum { IDLE, OWN_CALL, BORROWED };

static struct slot slots[SLOTS];
/* As many, from the first on, have ever been taken. */
static _Atomic int slots_used;
/* One word that the kernel clears in a forked child, however the fork was made. */
static _Atomic unsigned *alive_page;
static _Atomic unsigned generations;
/* Whose image this is. A child of vfork has our memory and another pid. */
static _Atomic int image_pid;
/* What the daemon calls this image; 0 until somebody said hello. */
static _Atomic uint64_t image_cookie;
/* Held while it is asked for: two threads that ask at once would be taken for two images. */
static _Atomic int naming;
static _Atomic int key_made;
static pthread_key_t exit_key;

/* The program has, or had, a signal handler or a thread that is cancelled asynchronously. */
static _Atomic bool interruptible;

static __thread struct slot *own_slot __attribute__((tls_model("initial-exec")));
static __thread unsigned own_generation __attribute__((tls_model("initial-exec")));

/* The parent's connections are not the child's: answers would mix, and the daemon would not see the parent die. */
static void drop_inherited(void)
{
	for (int fd = hidden_next(0); fd >= 0; fd = hidden_next(fd + 1)) {
		if (door_is(fd))
			continue;
		sys1(SYS_close, fd);
		hidden_mark(fd, false);
	}
	/* A child does not need pages of its own for those that nobody used. */
	memset(slots, 0, (size_t)atomic_load(&slots_used) * sizeof(slots[0]));
	rings_forget();
	atomic_store(&image_cookie, 0);
	atomic_store(&naming, 0);
}

static unsigned current_generation(void)
{
	_Atomic unsigned *page = atomic_load(&alive_page);
	unsigned seen;

	if (!page) {
		long at = sys6(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (at < 0 && at > -4096)
			return 0;
		sys3(SYS_madvise, at, 4096, MADV_WIPEONFORK);
		atomic_store((_Atomic unsigned *)at, 1 + atomic_fetch_add(&generations, 1));
		if (!atomic_compare_exchange_strong(&alive_page, &page, (_Atomic unsigned *)at))
			sys2(SYS_munmap, at, 4096);
		page = atomic_load(&alive_page);
	}
	seen = atomic_load_explicit(page, memory_order_relaxed);
	if (seen == 0) {
		drop_inherited();
		atomic_store(&image_pid, (int)sys0(SYS_getpid));
		seen = 1 + atomic_fetch_add(&generations, 1);
		atomic_store(page, seen);
	}
	return seen;
}

static void channel_forked(void)
{
	if (!atomic_load(&alive_page))
		return;
	/* Where the kernel has no MADV_WIPEONFORK. */
	atomic_store(atomic_load(&alive_page), 0);
	current_generation();
	mapping_forked();
	trap_forked();
}

static void hang_up(struct slot *slot)
{
	int fd = atomic_exchange(&slot->fd, -1);

	if (fd >= 0) {
		hidden_mark(fd, false);
		sys1(SYS_close, fd);
	}
}

static void release_slot(struct slot *slot)
{
	hang_up(slot);
	atomic_store(&slot->busy, IDLE);
	atomic_store(&slot->taken, 0);
}

/* Takes an idle slot, waiting for whoever has borrowed it. False: a call of its own thread holds it. */
static bool hold(struct slot *slot, int as)
{
	for (int seen = IDLE; !atomic_compare_exchange_weak(&slot->busy, &seen, as); seen = IDLE) {
		if (seen == OWN_CALL)
			return false;
		if (seen == BORROWED)
			sys0(SYS_sched_yield);
	}
	return true;
}

static void thread_ends(void *value)
{
	struct slot *slot = value;

	if (slot && slot == own_slot && own_generation == current_generation()) {
		/* Held by a call of ours if we were cancelled in it. */
		hold(slot, OWN_CALL);
		release_slot(slot);
	}
	own_slot = NULL;
}

/* A child of vfork has descriptors of its own and our tables. */
bool channel_in_own_process(void)
{
	return (int)sys0(SYS_getpid) == atomic_load(&image_pid);
}

void channel_move_away(int fd)
{
	if (!channel_in_own_process())
		return;
	if (door_is(fd))
		door_move();
	if (ring_bell_at(fd)) {
		ring_bell_lift();
		for (int i = 0; i < atomic_load(&slots_used); i++)
			for (int turn = 0; turn < TURNS && atomic_load(&slots[i].seat.ringing); turn++)
				sys0(SYS_sched_yield);
		ring_bell_put(hidden_move(fd));
		return;
	}
	for (int i = 0; i < atomic_load(&slots_used); i++) {
		struct slot *slot = &slots[i];

		if (!atomic_load(&slot->taken) || atomic_load(&slot->fd) != fd)
			continue;
		for (int turn = 0; turn < TURNS && !hold(slot, BORROWED); turn++)
			sys0(SYS_sched_yield);
		atomic_store(&slot->fd, hidden_move(fd));
		atomic_store(&slot->busy, IDLE);
		return;
	}
}

/* Only for calls that block signals: a timer for every receive is a tenth of what the shim costs. */
static void make_patient(struct slot *slot, int fd)
{
	struct timeval patience = { .tv_sec = 1 };

	if (slot->patient)
		return;
	sys5(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	slot->patient = true;
}

/* A stranger (see `enter`) says hello for itself alone; the image keeps its own name. */
static long say_hello(int fd, bool stranger, struct seat *seat)
{
	struct call hello = {
		.request = { .op = IOASIS_OP_HELLO,
			     .cmd = IOASIS_PROTOCOL_VERSION,
			     .arg = stranger ? 0 : atomic_load(&image_cookie),
			     .count = (uint64_t)sys0(SYS_gettid),
			     .token = lent.capabilities,
			     .offset = lent.memlock,
			     .fd = -1 },
	};
	bool first = hello.request.arg == 0 && !stranger;
	long cookie;

	while (first && atomic_exchange(&naming, 1))
		sys0(SYS_sched_yield);
	if (first)
		hello.request.arg = atomic_load(&image_cookie);
	cookie = channel_transfer(fd, &hello, false);
	/* The rings that we know are not a stranger's. */
	seat->ring = stranger || cookie <= 0 ? -1 : hello.ring;
	if (cookie > 0 && hello.request.arg != (uint64_t)cookie) {
		/* Yama lets a process be read only by an ancestor, or by whom it names. */
		sys5(SYS_prctl, PR_SET_PTRACER, hello.count, 0, 0, 0);
		if (!stranger)
			atomic_store(&image_cookie, (uint64_t)cookie);
	}
	if (first)
		atomic_store(&naming, 0);
	return cookie > 0 ? 0 : cookie == 0 ? -ENODEV : cookie;
}

static struct slot *take_slot(void)
{
	for (int i = 0; i < SLOTS; i++) {
		int free = 0;

		if (atomic_load_explicit(&slots[i].taken, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong(&slots[i].taken, &free, 1)) {
			for (int used = atomic_load(&slots_used); used <= i;)
				atomic_compare_exchange_weak(&slots_used, &used, i + 1);
			atomic_store(&slots[i].fd, -1);
			atomic_store(&slots[i].busy, OWN_CALL);
			return &slots[i];
		}
	}
	return NULL;
}

/* No descriptor or slot is left for a connection of this thread's own: any other's will do. */
static struct slot *borrow_slot(void)
{
	for (int turn = 0; turn < TURNS; turn++) {
		for (int i = 0; i < atomic_load(&slots_used); i++) {
			struct slot *slot = &slots[i];

			if (!atomic_load(&slot->taken) || atomic_load(&slot->fd) < 0 || !hold(slot, BORROWED))
				continue;
			if (atomic_load(&slot->fd) >= 0)
				return slot;
			atomic_store(&slot->busy, IDLE);
		}
		sys0(SYS_sched_yield);
	}
	return NULL;
}

/* Puts a new connection into `slot`, which we hold; 0 or -errno. */
static long fill_slot(struct slot *slot, bool stranger)
{
	unsigned long signals;
	struct rlimit limit;
	long fd, error;
	bool lifted;

	shim_start();
	if (shim.tree_length == 0)
		return -ENODEV;
	lifted = lift_fd_limit(&limit);
	fd = connect_daemon();
	if (fd >= 0 && !stranger)
		door_open();
	if (lifted)
		restore_fd_limit(&limit);
	if (fd < 0)
		return fd;
	if (!stranger)
		hidden_mark((int)fd, true);
	atomic_store(&slot->fd, (int)fd);
	slot->patient = false;
	slot->seat = (struct seat){ .ring = -1 };
	/* Nothing may step in: whoever waits for our name would wait for ever. */
	signals = block_signals();
	error = say_hello((int)fd, stranger, &slot->seat);
	if (error == 0 && slot->seat.ring >= 0)
		rings_fetch((int)fd);
	restore_signals(signals);
	return error == -EPIPE ? -ENODEV : error;
}

/*
 * This thread's slot with a live connection in it, held; or NULL and *error. A child of vfork that finds none gets
 * `passing`, for this one call: our memory is its parent's, where the number of its descriptor would mean another.
 */
static struct slot *enter(struct slot *passing, long *error)
{
	unsigned generation = current_generation();
	struct slot *slot = own_slot;

	/* A call that never came back, because a handler jumped out of it, keeps its slot for good. */
	if (slot && own_generation == generation && hold(slot, OWN_CALL)) {
		if (atomic_load_explicit(&slot->fd, memory_order_relaxed) >= 0)
			return slot;
		atomic_store(&slot->busy, IDLE);
		atomic_store(&slot->taken, 0);
	}
	own_slot = NULL;
	if (!channel_in_own_process()) {
		*error = fill_slot(passing, true);
		if (*error == 0)
			return passing;
		if (atomic_load(&passing->fd) >= 0)
			sys1(SYS_close, atomic_load(&passing->fd));
		return NULL;
	}
	slot = take_slot();
	*error = slot ? fill_slot(slot, false) : -EMFILE;
	if (*error == 0) {
		own_slot = slot;
		own_generation = generation;
		if (atomic_load(&key_made))
			pthread_setspecific(exit_key, slot);
		return slot;
	}
	if (slot)
		release_slot(slot);
	return *error == -EMFILE || *error == -ENFILE ? borrow_slot() : NULL;
}

/* Gives back what `enter` gave; `lost`: its connection is of no use any more. */
static void leave(struct slot *slot, struct slot *passing, bool lost)
{
	if (slot == passing) {
		sys1(SYS_close, atomic_load(&slot->fd));
		return;
	}
	if (slot != own_slot && atomic_load(&slot->busy) == OWN_CALL) {
		/* A handler called us meanwhile, and has a newer one. */
		release_slot(slot);
		return;
	}
	if (lost)
		hang_up(slot);
	atomic_store_explicit(&slot->busy, IDLE, memory_order_release);
}

long channel_call(struct call *call)
{
	struct slot passing = { -1, OWN_CALL, 1, false, { .ring = -1 } }, *slot;
	enum ring_outcome outcome;
	long result = -ENODEV;

	call->blocks = atomic_load_explicit(&interruptible, memory_order_relaxed);
	if (call->blocks)
		call->signals = block_signals();
	slot = enter(&passing, &result);
	if (slot) {
		int fd = atomic_load_explicit(&slot->fd, memory_order_relaxed);

		outcome = ring_call(&slot->seat, fd, call, &result);
		if (outcome != RING_DONE && call->blocks)
			make_patient(slot, fd);
		if (outcome != RING_DONE)
			result = channel_transfer(fd, call, outcome == RING_SOCKET);
		leave(slot, &passing, result == -EPIPE);
		if (result == -EPIPE)
			result = -ENODEV;
	}
	if (call->blocks)
		restore_signals(call->signals);
	return result;
}

void channel_may_be_interrupted(void)
{
	atomic_store(&interruptible, true);
}

/* True once this image has talked to the daemon. */
bool channel_open(void)
{
	return atomic_load(&image_cookie) != 0;
}

__attribute__((constructor)) static void channel_start(void)
{
	/* Before any child of vfork could be taken for the image itself. */
	atomic_store(&image_pid, (int)sys0(SYS_getpid));
	current_generation();
	if (pthread_key_create(&exit_key, thread_ends) == 0)
		atomic_store(&key_made, 1);
	pthread_atfork(NULL, NULL, channel_forked);
}
