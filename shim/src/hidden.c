/*
 * Descriptors of our own: they are not there for the program, and lie where it seldom looks. It may want a number of theirs
 * for something else, or have lowered its limit to less than they need.
 */
#include <fcntl.h>
#include <stdatomic.h>

#include "shim.h"

/* Beyond it none of ours may be. */
#define KNOWN_FDS 65536

static _Atomic uint64_t own_fds[KNOWN_FDS / 64];
static _Atomic int own_fd_count;

void hidden_mark(int fd, bool ours)
{
	uint64_t bit = 1ull << (fd % 64);

	if (ours) {
		if (!(atomic_fetch_or(&own_fds[fd / 64], bit) & bit))
			atomic_fetch_add(&own_fd_count, 1);
	} else if (atomic_fetch_and(&own_fds[fd / 64], ~bit) & bit) {
		atomic_fetch_sub(&own_fd_count, 1);
	}
}

bool hidden_has(int fd)
{
	if (atomic_load_explicit(&own_fd_count, memory_order_relaxed) == 0 || fd < 0 || fd >= KNOWN_FDS)
		return false;
	return atomic_load(&own_fds[fd / 64]) >> (fd % 64) & 1;
}

/* The first one from `fd` on, or -1. */
int hidden_next(int fd)
{
	if (atomic_load(&own_fd_count) == 0)
		return -1;
	while (fd < KNOWN_FDS) {
		uint64_t rest = atomic_load(&own_fds[fd / 64]) >> (fd % 64);

		if (rest)
			return fd + __builtin_ctzll(rest);
		fd = (fd | 63) + 1;
	}
	return -1;
}

/* Makes `fd` free for the program; the number that stands for it now, or -1. */
int hidden_move(int fd)
{
	long other = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, fd + 1);

	if (other < 0)
		other = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
	if (other >= KNOWN_FDS) {
		sys1(SYS_close, other);
		other = -1;
	}
	hidden_mark(fd, false);
	if (other >= 0)
		hidden_mark((int)other, true);
	return other >= 0 ? (int)other : -1;
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

/* Puts a descriptor where programs seldom look: its new number, or -EMFILE. */
long hidden_high(long fd)
{
	struct rlimit limit = { 1024, 1024 };
	long high;
	int base;

	sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit);
	base = limit.rlim_cur > 1024 ? 1024 - 64 : (int)limit.rlim_cur - 64;
	high = base > (int)fd ? sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, base) : -EMFILE;
	if (high >= 0)
		sys1(SYS_close, fd);
	else
		high = fd;
	if (high < KNOWN_FDS)
		return high;
	sys1(SYS_close, high);
	return -EMFILE;
}

/* Takes a descriptor for our own use: its new number, or -1. */
int hidden_take(long fd)
{
	fd = hidden_high(fd);
	if (fd < 0)
		return -1;
	hidden_mark((int)fd, true);
	return (int)fd;
}
