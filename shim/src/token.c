/*
 * Which descriptors are the engine's. A token is a pipe end, and the pipe's inode is its name: numbers change with
 * dup, processes with fork and exec, the inode stays. What a pipe is gets asked once and is then remembered.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>

#include "shim.h"

#define REMEMBERED 256
#define KIND_KNOWN 0x80

/* (inode << 8) | KIND_KNOWN | kind, in one word so that threads never see half an entry. */
static _Atomic uint64_t remembered[REMEMBERED];

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

void token_learn(uint64_t inode, int kind)
{
	atomic_store_explicit(&remembered[inode % REMEMBERED], inode << 8 | KIND_KNOWN | (unsigned)kind,
			      memory_order_relaxed);
	if (kind != IOASIS_NOT_OURS)
		tokens_possible = true;
}

static int ask(int fd, uint64_t inode)
{
	struct call call = { .request = { .op = IOASIS_OP_IDENTIFY, .token = inode, .fd = fd } };
	long kind = channel_call(&call);

	if (kind < 0)
		return IOASIS_NOT_OURS;
	token_learn(inode, (int)kind);
	return (int)kind;
}

/* What `fd` is: IOASIS_NOT_OURS, or its kind and *inode. */
int token_kind(int fd, uint64_t *inode)
{
	struct stat status;
	uint64_t entry;

	if (fd < 0 || sys2(SYS_fstat, fd, &status) < 0 || !S_ISFIFO(status.st_mode))
		return IOASIS_NOT_OURS;
	*inode = status.st_ino;
	entry = atomic_load_explicit(&remembered[status.st_ino % REMEMBERED], memory_order_relaxed);
	if (entry >> 8 == status.st_ino && (entry & KIND_KNOWN))
		return entry & 0x7f;
	return ask(fd, status.st_ino);
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
