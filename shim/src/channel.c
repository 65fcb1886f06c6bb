/*
 * The way to the daemon: one connection for each thread, made at its first call. Once the program has a signal
 * handler, or a thread that can be cancelled at any time, all signals are blocked while we talk: a handler that called us
 * would read the answer meant for somebody else, and a thread that went away would leave us half done. They are let in
 * about once a second, so that a daemon that hangs does not make its clients deaf.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim.h"

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#endif

#define SLOTS 4096
#define KNOWN_FDS 65536
/* How often we look whether another thread's call is over, before we go without it. */
#define TURNS 100000
#define NOT_RECEIVED 0xffffffffu

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
static _Atomic uint64_t own_fds[KNOWN_FDS / 64];
static _Atomic int own_fd_count;
/* One word that the kernel clears in a forked child, however the fork was made. */
static _Atomic unsigned *alive_page;
static _Atomic unsigned generations;
/* Whose image this is. A child of vfork has our memory and another pid. */
static _Atomic int image_pid;
/*
 * A connection that children inherit: where the socket cannot be reached any more (after chroot, after setuid) a new
 * connection is one end of a pair that is handed over through it. Nothing is answered on it, so all may share it.
 */
static _Atomic int door = -1;
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

static void mark_fd(int fd, bool ours)
{
	uint64_t bit = 1ull << (fd % 64);

	if (ours) {
		if (!(atomic_fetch_or(&own_fds[fd / 64], bit) & bit))
			atomic_fetch_add(&own_fd_count, 1);
	} else if (atomic_fetch_and(&own_fds[fd / 64], ~bit) & bit) {
		atomic_fetch_sub(&own_fd_count, 1);
	}
}

bool channel_owns(int fd)
{
	if (atomic_load_explicit(&own_fd_count, memory_order_relaxed) == 0 || fd < 0 || fd >= KNOWN_FDS)
		return false;
	return atomic_load(&own_fds[fd / 64]) >> (fd % 64) & 1;
}

int channel_next(int fd)
{
	if (atomic_load(&own_fd_count) == 0)
		return -1;
	for (; fd < KNOWN_FDS; fd++)
		if (channel_owns(fd))
			return fd;
	return -1;
}

/* The parent's connections are not the child's: answers would mix, and the daemon would not see the parent die. */
static void drop_inherited(void)
{
	for (int fd = channel_next(0); fd >= 0; fd = channel_next(fd + 1)) {
		if (fd == atomic_load(&door))
			continue;
		sys1(SYS_close, fd);
		mark_fd(fd, false);
	}
	memset(slots, 0, sizeof(slots));
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
		mark_fd(fd, false);
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

/* Makes `fd` free for the program; the number that stands for it now, or -1. */
static int moved_away(int fd)
{
	long other = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, fd + 1);

	if (other < 0)
		other = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
	if (other >= KNOWN_FDS) {
		sys1(SYS_close, other);
		other = -1;
	}
	mark_fd(fd, false);
	if (other >= 0)
		mark_fd((int)other, true);
	return other >= 0 ? (int)other : -1;
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
	if (atomic_load(&door) == fd)
		atomic_store(&door, moved_away(fd));
	if (ring_bell_at(fd)) {
		ring_bell_lift();
		for (int i = 0; i < SLOTS; i++)
			for (int turn = 0; turn < TURNS && atomic_load(&slots[i].seat.ringing); turn++)
				sys0(SYS_sched_yield);
		ring_bell_put(moved_away(fd));
		return;
	}
	for (int i = 0; i < SLOTS; i++) {
		struct slot *slot = &slots[i];

		if (!atomic_load(&slot->taken) || atomic_load(&slot->fd) != fd)
			continue;
		for (int turn = 0; turn < TURNS && !hold(slot, BORROWED); turn++)
			sys0(SYS_sched_yield);
		atomic_store(&slot->fd, moved_away(fd));
		atomic_store(&slot->busy, IDLE);
		return;
	}
}

/*
 * A program that has lowered its limit of descriptors would see ours among its own, or leave no room for them. The
 * limit is lifted for as long as we make one; programs cannot tell, as theirs still come from below.
 */
bool lift_fd_limit(struct rlimit *before)
{
	struct rlimit lifted;

	if (sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, before) != 0 || before->rlim_cur >= before->rlim_max ||
	    before->rlim_cur >= 1024)
		return false;
	lifted = (struct rlimit){ before->rlim_max < 1024 ? before->rlim_max : 1024, before->rlim_max };
	return sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, &lifted, 0) == 0;
}

void restore_fd_limit(const struct rlimit *before)
{
	sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, before, 0);
}

/* Puts a descriptor where programs seldom look. Returns the new number. */
static long move_high(long fd)
{
	struct rlimit limit = { 1024, 1024 };
	long high;
	int base;

	sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit);
	base = limit.rlim_cur > 1024 ? 1024 - 64 : (int)limit.rlim_cur - 64;
	high = base > (int)fd ? sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, base) : -EMFILE;
	if (high < 0)
		return fd;
	sys1(SYS_close, fd);
	return high;
}

/* Takes a descriptor for our own use: its new number, or -1. */
int channel_hide(long fd)
{
	fd = move_high(fd);
	if (fd >= KNOWN_FDS) {
		sys1(SYS_close, fd);
		return -1;
	}
	mark_fd((int)fd, true);
	return (int)fd;
}

static long connect_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	long fd, result;

	memcpy(address.sun_path, shim.socket, sizeof(shim.socket));
	fd = sys3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	do
		result = sys3(SYS_connect, fd, &address, sizeof(address));
	while (result == -EINTR);
	if (result < 0)
		sys1(SYS_close, fd);
	return result < 0 ? result : fd;
}

static long send_all(int fd, const void *head, size_t head_size, const void *tail, size_t tail_size, int pass_fd);

static long connect_through_door(void)
{
	struct ioasis_request request = { .op = IOASIS_OP_DOOR, .fd = -1 };
	int ends[2];
	long sent = -ENODEV;

	if (atomic_load(&door) < 0)
		return sent;
	sent = sys4(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
	if (sent < 0)
		return sent;
	sent = send_all(atomic_load(&door), &request, sizeof(request), NULL, 0, ends[1]);
	sys1(SYS_close, ends[1]);
	if (sent < 0)
		sys1(SYS_close, ends[0]);
	return sent < 0 ? sent : ends[0];
}

static void open_door(void)
{
	struct ioasis_request request = { .op = IOASIS_OP_DOOR, .fd = -1 };
	int none = -1;
	long fd = connect_socket();

	if (fd >= 0)
		fd = move_high(fd);
	if (fd < 0)
		return;
	if (fd < KNOWN_FDS && send_all((int)fd, &request, sizeof(request), NULL, 0, -1) >= 0 &&
	    atomic_compare_exchange_strong(&door, &none, (int)fd))
		mark_fd((int)fd, true);
	else
		sys1(SYS_close, fd);
}

/* A new connection where programs seldom look for it, or -errno. */
static long connect_daemon(void)
{
	long fd = connect_socket();

	if (fd < 0 && fd != -EMFILE && fd != -ENFILE)
		fd = connect_through_door();
	if (fd >= 0)
		fd = move_high(fd);
	if (fd >= KNOWN_FDS) {
		sys1(SYS_close, fd);
		return -EMFILE;
	}
	return fd < 0 && fd != -EMFILE && fd != -ENFILE ? -ENODEV : fd;
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
		for (int i = 0; i < SLOTS; i++) {
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
	if (fd >= 0 && !stranger && atomic_load(&door) < 0)
		open_door();
	if (lifted)
		restore_fd_limit(&limit);
	if (fd < 0)
		return fd;
	if (!stranger)
		mark_fd((int)fd, true);
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

static long send_all(int fd, const void *head, size_t head_size, const void *tail, size_t tail_size, int pass_fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov[2] = { { (void *)head, head_size }, { (void *)tail, tail_size } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = tail_size ? 2 : 1 };
	long sent;

	if (pass_fd >= 0) {
		struct cmsghdr *header;

		memset(&control, 0, sizeof(control));
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &pass_fd, sizeof(int));
	}
	do
		sent = sys3(SYS_sendmsg, fd, &message, MSG_NOSIGNAL);
	while (sent == -EINTR);
	return sent;
}

static long send_request(int fd, struct call *call)
{
	struct ioasis_request *request = &call->request;
	uint64_t to_page_end = 4096 - ((uintptr_t)call->carry & 4095);
	long sent;

	for (;;) {
		sent = send_all(fd, request, sizeof(*request), call->carry, request->carried, -1);
		if (sent != -EFAULT || request->carried == 0)
			return sent;
		/* The argument ends before a hole, or is no address at all. */
		request->carried = request->carried > to_page_end ? (uint32_t)to_page_end : 0;
	}
}

static long answer(int fd, long error, int64_t value, const void *bytes, size_t count, int pass_fd)
{
	struct ioasis_request reply = {
		.op = IOASIS_OP_ANSWER,
		.cmd = error < 0 ? (uint32_t)-error : 0,
		.arg = (uint64_t)value,
		.carried = (uint32_t)count,
		.fd = -1,
	};

	return send_all(fd, &reply, sizeof(reply), bytes, count, pass_fd);
}

struct received {
	struct ioasis_answer head;
	int fd;		/* came with it, or -1 */
	bool cut;	/* there were more bytes than room for them */
};

static long receive(int fd, struct received *in, void *tail, size_t tail_max)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov[2] = { { &in->head, sizeof(in->head) }, { tail, tail_max } };
	struct msghdr message = {
		.msg_iov = iov,
		.msg_iovlen = tail_max ? 2 : 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *header;
	long got = sys3(SYS_recvmsg, fd, &message, MSG_CMSG_CLOEXEC);

	in->fd = -1;
	in->cut = got >= 0 && (message.msg_flags & MSG_TRUNC);
	header = got >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&in->fd, CMSG_DATA(header), sizeof(int));
	return got;
}

/* The bytes of a WRITE come as a message of their own, so that the kernel puts them where they belong. */
static long serve_write(int fd, const struct ioasis_answer *verb)
{
	struct iovec iov = { (void *)(uintptr_t)verb->value, verb->count };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	long got;

	do
		got = sys3(SYS_recvmsg, fd, &message, 0);
	while (got == -EINTR || got == -EAGAIN);
	if (got < 0 && got != -EFAULT)
		return got;
	return answer(fd, got, 0, NULL, 0, -1);
}

static long serve_read(int fd, const struct ioasis_answer *verb)
{
	long sent = answer(fd, 0, 0, (const void *)(uintptr_t)verb->value, verb->count, -1);

	return sent == -EFAULT ? answer(fd, sent, 0, NULL, 0, -1) : sent;
}

static long serve_take(int fd, const struct ioasis_answer *verb)
{
	long sent = channel_owns(verb->fd) || verb->fd < 0 ? -EBADF : answer(fd, 0, 0, NULL, 0, verb->fd);

	return sent == -EBADF ? answer(fd, sent, 0, NULL, 0, -1) : sent;
}

static long serve_map(int fd, struct call *call, const struct received *in)
{
	const struct ioasis_request *request = &call->request;
	long prot = request->cmd & 0xff, at = -ENFILE;

	call->registers = in->head.flags & IOASIS_REGISTERS;
	if (call->registers && prot & PROT_WRITE)
		prot = (prot & ~PROT_WRITE) | PROT_READ;
	if (call->registers && !trap_start())
		at = -ENODEV;
	else if (in->fd >= 0)
		at = sys6(SYS_mmap, (long)request->arg, (long)request->count, prot, (long)(request->cmd >> 8), in->fd,
			  (long)in->head.value);
	if (in->fd >= 0)
		sys1(SYS_close, in->fd);
	return answer(fd, at < 0 && at > -4096 ? at : 0, at, NULL, 0, -1);
}

static long serve_hold(int fd, const struct ioasis_answer *verb)
{
	struct iovec pages = { (void *)(uintptr_t)verb->value, verb->count };
	struct io_uring_params params = { 0 };
	long ring = sys2(SYS_io_uring_setup, 1, &params);
	long done = ring < 0 ? ring : sys4(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &pages, 1);

	if (ring >= 0 && done < 0)
		sys1(SYS_close, ring);
	memory_is_held = true;
	return answer(fd, done, ring, NULL, 0, -1);
}

static int accept_fd(const struct received *in)
{
	struct stat status;

	if (in->fd >= 0 && !(in->head.flags & IOASIS_CLOEXEC))
		sys3(SYS_fcntl, in->fd, F_SETFD, 0);
	/* It is known from the start, so that it stays ours even if the daemon is never heard of again. */
	if (in->fd >= 0 && in->head.count != IOASIS_NOT_OURS && sys2(SYS_fstat, in->fd, &status) == 0)
		token_learn(&status, (int)in->head.count);
	return in->fd;
}

static long serve(int fd, struct call *call, const struct received *in)
{
	switch (in->head.verb) {
	case IOASIS_VERB_READ:
		return serve_read(fd, &in->head);
	case IOASIS_VERB_WRITE:
		return serve_write(fd, &in->head);
	case IOASIS_VERB_TAKE:
		return serve_take(fd, &in->head);
	case IOASIS_VERB_GIVE:
		return answer(fd, in->fd < 0 ? -EMFILE : 0, accept_fd(in), NULL, 0, -1);
	case IOASIS_VERB_CLOSE:
		if (!channel_owns(in->head.fd))
			sys1(SYS_close, in->head.fd);
		return answer(fd, 0, 0, NULL, 0, -1);
	case IOASIS_VERB_MAP:
		return serve_map(fd, call, in);
	case IOASIS_VERB_HOLD:
		return serve_hold(fd, &in->head);
	default:
		return -EPROTO;
	}
}

void let_signals_in(const struct call *call)
{
	if (!call->blocks)
		return;
	restore_signals(call->signals);
	block_signals();
}

/*
 * Sends the request, unless it was `asked` already, and serves until it is done. -EPIPE stands for every way to lose
 * the daemon.
 */
long channel_transfer(int fd, struct call *call, bool asked)
{
	struct received in;
	size_t room = call->reply_max;
	bool reset = false;
	long got = asked ? 0 : send_request(fd, call);

	/* Before it hung up the daemon may have said why. */
	if (got == -EPIPE)
		got = 0;

	while (got >= 0 || got == -EAGAIN || got == -EINTR) {
		in.head.verb = NOT_RECEIVED;
		got = receive(fd, &in, call->reply_at, room);
		if (got == -EFAULT && in.head.verb != NOT_RECEIVED)
			return -EFAULT;
		if (got == -EFAULT) {
			/* No user address at all: the kernel did not even take the message. */
			room = 0;
			got = 0;
			continue;
		}
		if (got == -EAGAIN)
			let_signals_in(call);
		if (got == -EAGAIN || got == -EINTR)
			continue;
		if (got == -ECONNRESET && !reset) {
			reset = true;
			got = 0;
			continue;
		}
		if (got < (long)sizeof(in.head))
			break;
		if (in.head.verb == IOASIS_VERB_DONE) {
			call->count = in.head.count;
			call->ring = in.head.fd;
			if (in.head.error)
				return -in.head.error;
			if (in.cut)
				return -EFAULT;
			if (in.head.flags & IOASIS_HAS_FD)
				return in.fd < 0 ? -EMFILE : accept_fd(&in);
			return (long)in.head.value;
		}
		got = serve(fd, call, &in);
	}
	return -EPIPE;
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
