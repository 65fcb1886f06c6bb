/*
 * Which descriptors are the engine's. A token is a pipe end and named by the pipe's inode, or a terminal and named by
 * what the daemon wrote into the inode: numbers change with dup, processes with fork and exec, the inode stays. What a
 * name stands for gets asked once and is then remembered.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/sysmacros.h>

#include "shim.h"

#define REMEMBERED 256
/* How many places a name can have in what is remembered. */
#define PLACES 8
/* Major numbers of the terminals that a pseudo-terminal's owner hands out. */
#define SLAVES_FIRST 136
#define SLAVES_LAST 143

/* (name << 8) | kind, in one word so that threads never see half an entry. */
static _Atomic uint64_t remembered[REMEMBERED];

/* Pipes are all of one file system, and a FIFO of another may have the inode of one. 0: no pipe was ours yet. */
static _Atomic uint64_t pipes;

bool tokens_possible;

/* Counts what may have made a number mean another file. */
static _Atomic unsigned closings;
/*
 * What this thread's last ioctl found, and when. A thread, because it can have a table of descriptors of its own; and
 * not in a child of vfork, which always has one, in memory that is its parent's.
 */
static __thread struct {
	int fd;
	unsigned closings, seen;
	uint64_t inode;
} last __attribute__((tls_model("initial-exec"))) = { .fd = -1 };

static bool is_terminal(const struct stat *status)
{
	return S_ISCHR(status->st_mode) && major(status->st_rdev) >= SLAVES_FIRST && major(status->st_rdev) <= SLAVES_LAST;
}

/* What a token with this status is named by; 0: it is none. */
uint64_t token_named(const struct stat *status)
{
	if (S_ISFIFO(status->st_mode))
		return pipes == 0 || pipes == status->st_dev ? status->st_ino : 0;
	return is_terminal(status) && status->st_mtime >= IOASIS_FIRST_TERMINAL ? (uint64_t)status->st_mtime : 0;
}

/* Where a name is remembered, or NULL. */
static _Atomic uint64_t *place_of(uint64_t name)
{
	for (unsigned i = 0; i < PLACES; i++) {
		_Atomic uint64_t *place = &remembered[(name + i) % REMEMBERED];

		if (atomic_load_explicit(place, memory_order_relaxed) >> 8 == name)
			return place;
	}
	return NULL;
}

/* A token drives out another only where there is no room: once the daemon is gone nobody can be asked again. */
static _Atomic uint64_t *new_place(uint64_t name)
{
	for (unsigned i = 0; i < PLACES; i++) {
		_Atomic uint64_t *place = &remembered[(name + i) % REMEMBERED];

		if ((atomic_load_explicit(place, memory_order_relaxed) & 0x7f) == IOASIS_NOT_OURS)
			return place;
	}
	return &remembered[name % REMEMBERED];
}

void token_learn(const struct stat *status, int kind)
{
	uint64_t name = token_named(status);
	_Atomic uint64_t *place = place_of(name);

	if (name == 0)
		return;
	atomic_store_explicit(place ? place : new_place(name), name << 8 | (unsigned)kind,
			      memory_order_relaxed);
	if (kind == IOASIS_NOT_OURS)
		return;
	tokens_possible = true;
	if (S_ISFIFO(status->st_mode))
		pipes = status->st_dev;
}

static int ask(int fd, uint64_t inode, const struct stat *status)
{
	struct call call = { .request = { .op = IOASIS_OP_IDENTIFY, .token = inode, .fd = fd } };
	long kind = channel_call(&call);

	if (kind < 0)
		return IOASIS_NOT_OURS;
	token_learn(status, (int)kind);
	return (int)kind;
}

/* What `fd` is: IOASIS_NOT_OURS, or its kind and *inode. */
int token_kind(int fd, uint64_t *inode)
{
	struct stat status;
	_Atomic uint64_t *place;

	if (fd < 0 || sys2(SYS_fstat, fd, &status) < 0 || (*inode = token_named(&status)) == 0)
		return IOASIS_NOT_OURS;
	place = place_of(*inode);
	if (place) {
		uint64_t entry = atomic_load_explicit(place, memory_order_relaxed);

		/* Another thread may have put something else there meanwhile. */
		if (entry >> 8 == *inode)
			return entry & 0x7f;
	}
	return ask(fd, *inode, &status);
}

bool is_token(int fd, uint64_t *inode)
{
	return token_kind(fd, inode) != IOASIS_NOT_OURS;
}

void tokens_closed(void)
{
	atomic_fetch_add(&closings, 1);
}

/*
 * The same as is_token, without asking the kernel if nothing was closed since it was asked. libc closes descriptors
 * behind our back; so an answer of ENODEV is not to be believed before is_token was asked.
 */
bool is_token_still(int fd, uint64_t *inode)
{
	unsigned now = atomic_load_explicit(&closings, memory_order_relaxed);

	if (fd == last.fd && now == last.closings) {
		*inode = last.inode;
		return true;
	}
	if (!is_token(fd, inode))
		return false;
	/* A program that closes something between any two calls has no use for this. */
	if (now == last.seen && channel_in_own_process()) {
		last.fd = fd;
		last.closings = now;
		last.inode = *inode;
	}
	last.seen = now;
	return true;
}

/*
 * The name that /proc/self/fd shows for it, without a final zero; the length or -errno. *device becomes major, minor
 * and mode of a device as NAME answers them, or 0.
 */
long token_name(int fd, uint64_t inode, char *buf, size_t size, uint64_t *device)
{
	struct call call = {
		.request = { .op = IOASIS_OP_NAME, .token = inode, .fd = fd },
		.reply_at = buf,
		.reply_max = size,
	};
	long length = channel_call(&call);

	*device = call.count;
	return length;
}
