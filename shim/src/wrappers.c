/* The functions of libc that take a descriptor: a token's calls go to the daemon, all others where they went. See memory.c. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"
#include "wrappers.h"

#define IOCTL_TYPE(cmd) ((cmd) >> 8 & 0xff)
/* No address below this is ever mapped, so such an argument is a number. */
#define LOWEST_ADDRESS 4096
/* And none above this, with tables of five levels. */
#define HIGHEST_ADDRESS (1ul << 56)
#define NO_OFFSET UINT64_MAX

/* These belong to the file system layer, not to a driver, and a pipe does them as well as any file. */
static bool generic_ioctl(unsigned long cmd)
{
	return cmd == FIOCLEX || cmd == FIONCLEX || cmd == FIONBIO;
}

static bool ioctl_is_ours(int fd, unsigned long cmd, uint64_t *inode)
{
	if (IOCTL_TYPE(cmd) == ';')
		return is_token_still(fd, inode);
	return tokens_possible && !generic_ioctl(cmd) && is_token(fd, inode);
}

/* `op` is IOCTL or KVM. */
long ask_ioctl(int op, int fd, uint64_t inode, unsigned long cmd, void *arg)
{
	struct call call = {
		.request = { .op = (uint32_t)op,
			     .cmd = (uint32_t)cmd,
			     .token = inode,
			     .arg = (uintptr_t)arg,
			     .offset = memory_epoch,
			     .fd = fd,
			     .carried = (uintptr_t)arg < LOWEST_ADDRESS ? 0 : IOASIS_CARRIED },
		.carry = arg,
		.reply_at = arg,
		.reply_max = IOASIS_CHUNK,
	};

	return channel_call(&call);
}

static long token_ioctl(int fd, uint64_t inode, unsigned long cmd, void *arg)
{
	uint64_t asked = inode;
	long result = ask_ioctl(IOASIS_OP_IOCTL, fd, inode, cmd, arg);

	if (result != -ENODEV || (is_token(fd, &inode) && inode == asked))
		return result;
	/* It was closed behind our back (see is_token_still), and is something else by now. */
	tokens_closed();
	return do_ioctl(fd, cmd, arg);
}

long do_ioctl(int fd, unsigned long cmd, void *arg)
{
	uint64_t inode;
	long result;

	if (ioctl_is_ours(fd, cmd, &inode))
		return token_ioctl(fd, inode, cmd, arg);
	if (kvm_takes(fd, cmd, arg, &result))
		return result;
	result = sys3(SYS_ioctl, fd, cmd, arg);
	kvm_follow(fd, cmd, arg, result);
	return result;
}

static long token_transfer(int op, int fd, uint64_t inode, void *buf, size_t count, uint64_t offset)
{
	bool writing = op == IOASIS_OP_WRITE;
	struct call call = {
		.request = { .op = (uint32_t)op,
			     .cmd = memory_epoch,
			     .token = inode,
			     .arg = (uintptr_t)buf,
			     .count = count,
			     .offset = offset,
			     .fd = fd,
			     .carried = !writing ? 0 : count < IOASIS_CARRIED ? (uint32_t)count : IOASIS_CARRIED },
		.carry = buf,
		.reply_at = buf,
		.reply_max = writing ? 0 : count < IOASIS_CHUNK ? count : IOASIS_CHUNK,
	};

	return count > SSIZE_MAX ? -EINVAL : channel_call(&call);
}

/* Whether 8 bytes can be read there, as the kernel sees it: it copies the set before it looks at what to do with it. */
bool can_read_word(const void *at)
{
	/* No set at all is not read. */
	return at && sys4(SYS_rt_sigprocmask, ~0, at, NULL, 8) != -EFAULT;
}

/* Nothing is moved before all of a vector is in order (import_iovec): -errno, or 0 if it has no bytes. */
static long vector_check(const struct iovec *iov, int pieces)
{
	size_t any = 0;

	if (pieces < 0 || pieces > IOV_MAX)
		return -EINVAL;
	for (int i = 0; i < pieces; i++) {
		if (!can_read_word(&iov[i].iov_base) || !can_read_word(&iov[i].iov_len))
			return -EFAULT;
		if (iov[i].iov_len > SSIZE_MAX)
			return -EINVAL;
		if (iov[i].iov_len > HIGHEST_ADDRESS || (uintptr_t)iov[i].iov_base > HIGHEST_ADDRESS - iov[i].iov_len)
			return -EFAULT;
		any |= iov[i].iov_len;
	}
	return (long)any;
}

/* A file with plain read and write gets a vector piece by piece, until one comes up short. */
static long token_vector(int op, int fd, uint64_t inode, const struct iovec *iov, int pieces, uint64_t offset, int flags)
{
	long total = 0, any = vector_check(iov, pieces);
	bool unknown = flags & ~RWF_HIPRI;

	if (any <= 0 || unknown) {
		/* Whether there is such an operation at all is asked first. */
		long asked = token_transfer(op, fd, inode, NULL, 0, offset);

		return asked < 0 ? asked : any <= 0 ? any : -EOPNOTSUPP;
	}
	for (int i = 0; i < pieces; i++) {
		long moved = token_transfer(op, fd, inode, iov[i].iov_base, iov[i].iov_len,
					    offset == NO_OFFSET ? offset : offset + (uint64_t)total);

		if (moved < 0)
			return total ? total : moved;
		total += moved;
		if ((size_t)moved < iov[i].iov_len)
			break;
	}
	return total;
}

#define OURS(fd, inode) (tokens_possible && is_token(fd, inode))

/*
 * What is not ours goes on through the C library and not straight into the kernel: another preloaded library may
 * wait for it there, and a thread that blocks there can be cancelled.
 */
static bool ours(int fd)
{
	uint64_t inode;

	return OURS(fd, &inode);
}

long do_transfer(int op, long nr, int fd, void *buf, size_t count, int64_t offset)
{
	uint64_t inode;

	if (OURS(fd, &inode)) {
		if (nr == SYS_pread64 || nr == SYS_pwrite64)
			return offset < 0 ? -EINVAL : token_transfer(op, fd, inode, buf, count, (uint64_t)offset);
		return token_transfer(op, fd, inode, buf, count, NO_OFFSET);
	}
	return sys4(nr, fd, buf, count, offset);
}

/* For one of ours. The offset -1 is none. */
static long do_vector(int op, int fd, const struct iovec *iov, int pieces, int64_t offset, int flags)
{
	uint64_t inode;

	if (offset < -1)
		return -EINVAL;
	return is_token(fd, &inode) ? token_vector(op, fd, inode, iov, pieces, (uint64_t)offset, flags) : -EBADF;
}

EXPORT int ioctl(int fd, unsigned long cmd, ...)
{
	va_list list;
	uint64_t inode;
	long result;
	void *arg;

	va_start(list, cmd);
	arg = va_arg(list, void *);
	va_end(list);
	if (ioctl_is_ours(fd, cmd, &inode))
		RETURN(int, token_ioctl(fd, inode, cmd, arg));
	if (kvm_takes(fd, cmd, arg, &result))
		RETURN(int, result);
	result = NEXT(ioctl)(fd, cmd, arg);
	kvm_follow(fd, cmd, arg, result);
	return (int)result;
}

EXPORT ssize_t read(int fd, void *buf, size_t count)
{
	if (!ours(fd))
		return NEXT(read)(fd, buf, count);
	RETURN(ssize_t, do_transfer(IOASIS_OP_READ, SYS_read, fd, buf, count, 0));
}

EXPORT ssize_t write(int fd, const void *buf, size_t count)
{
	if (!ours(fd))
		return NEXT(write)(fd, buf, count);
	RETURN(ssize_t, do_transfer(IOASIS_OP_WRITE, SYS_write, fd, (void *)buf, count, 0));
}

EXPORT ssize_t pread(int fd, void *buf, size_t count, off_t offset)
{
	if (!ours(fd))
		return NEXT(pread)(fd, buf, count, offset);
	RETURN(ssize_t, do_transfer(IOASIS_OP_READ, SYS_pread64, fd, buf, count, offset));
}

EXPORT ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset)
{
	if (!ours(fd))
		return NEXT(pwrite)(fd, buf, count, offset);
	RETURN(ssize_t, do_transfer(IOASIS_OP_WRITE, SYS_pwrite64, fd, (void *)buf, count, offset));
}

ALIAS("pread") ssize_t pread64(int fd, void *buf, size_t count, off64_t offset);
ALIAS("pwrite") ssize_t pwrite64(int fd, const void *buf, size_t count, off64_t offset);

/* The fortified ones have checked nothing that we would not: more than the buffer holds is refused. */
ssize_t __read_chk(int fd, void *buf, size_t count, size_t room);
EXPORT ssize_t __read_chk(int fd, void *buf, size_t count, size_t room)
{
	if (count > room)
		return NEXT(__read_chk)(fd, buf, count, room);
	return read(fd, buf, count);
}

ssize_t __pread_chk(int fd, void *buf, size_t count, off_t offset, size_t room);
EXPORT ssize_t __pread_chk(int fd, void *buf, size_t count, off_t offset, size_t room)
{
	if (count > room)
		return NEXT(__pread_chk)(fd, buf, count, offset, room);
	return pread(fd, buf, count, offset);
}

ALIAS("__pread_chk") ssize_t __pread64_chk(int fd, void *buf, size_t count, off_t offset, size_t room);

EXPORT ssize_t readv(int fd, const struct iovec *iov, int pieces)
{
	if (!ours(fd))
		return NEXT(readv)(fd, iov, pieces);
	RETURN(ssize_t, do_vector(IOASIS_OP_READ, fd, iov, pieces, -1, 0));
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int pieces)
{
	if (!ours(fd))
		return NEXT(writev)(fd, iov, pieces);
	RETURN(ssize_t, do_vector(IOASIS_OP_WRITE, fd, iov, pieces, -1, 0));
}

EXPORT ssize_t preadv(int fd, const struct iovec *iov, int pieces, off_t offset)
{
	if (!ours(fd))
		return NEXT(preadv)(fd, iov, pieces, offset);
	RETURN(ssize_t, offset < 0 ? -EINVAL : do_vector(IOASIS_OP_READ, fd, iov, pieces, offset, 0));
}

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int pieces, off_t offset)
{
	if (!ours(fd))
		return NEXT(pwritev)(fd, iov, pieces, offset);
	RETURN(ssize_t, offset < 0 ? -EINVAL : do_vector(IOASIS_OP_WRITE, fd, iov, pieces, offset, 0));
}

EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int pieces, off_t offset, int flags)
{
	if (!ours(fd))
		return NEXT(preadv2)(fd, iov, pieces, offset, flags);
	RETURN(ssize_t, do_vector(IOASIS_OP_READ, fd, iov, pieces, offset, flags));
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int pieces, off_t offset, int flags)
{
	if (!ours(fd))
		return NEXT(pwritev2)(fd, iov, pieces, offset, flags);
	RETURN(ssize_t, do_vector(IOASIS_OP_WRITE, fd, iov, pieces, offset, flags));
}

ALIAS("preadv") ssize_t preadv64(int fd, const struct iovec *iov, int pieces, off64_t offset);
ALIAS("pwritev") ssize_t pwritev64(int fd, const struct iovec *iov, int pieces, off64_t offset);
ALIAS("preadv2") ssize_t preadv64v2(int fd, const struct iovec *iov, int pieces, off64_t offset, int flags);
ALIAS("pwritev2") ssize_t pwritev64v2(int fd, const struct iovec *iov, int pieces, off64_t offset, int flags);

/* Moving bytes inside the kernel would move the byte that only says "readable": -errno, or 0 if none of them is ours. */
static long unmovable(int in, int out, size_t count)
{
	if (count == 0 || !(ours(in) || ours(out)))
		return 0;
	return do_fcntl(in, F_GETFD, 0) < 0 || do_fcntl(out, F_GETFD, 0) < 0 ? -EBADF : -EINVAL;
}

EXPORT ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t count, unsigned flags)
{
	long refused = unmovable(in, out, count);

	if (refused)
		RETURN(ssize_t, refused);
	return NEXT(splice)(in, in_at, out, out_at, count, flags);
}

EXPORT ssize_t tee(int in, int out, size_t count, unsigned flags)
{
	long refused = unmovable(in, out, count);

	if (refused)
		RETURN(ssize_t, refused);
	return NEXT(tee)(in, out, count, flags);
}

EXPORT ssize_t vmsplice(int fd, const struct iovec *iov, size_t pieces, unsigned flags)
{
	if (ours(fd))
		RETURN(ssize_t, -EBADF);
	return NEXT(vmsplice)(fd, iov, pieces, flags);
}

EXPORT ssize_t sendfile(int out, int in, off_t *at, size_t count)
{
	long refused = unmovable(in, out, count);

	if (refused)
		RETURN(ssize_t, refused);
	return NEXT(sendfile)(out, in, at, count);
}

ALIAS("sendfile") ssize_t sendfile64(int out, int in, off64_t *at, size_t count);

/* Only the daemon knows positions. */
long do_lseek(int fd, int64_t offset, int whence)
{
	struct call call = { .request = { .op = IOASIS_OP_SEEK, .cmd = (uint32_t)whence, .fd = fd } };

	if (!OURS(fd, &call.request.token))
		return sys3(SYS_lseek, fd, offset, whence);
	if (whence < SEEK_SET || whence > SEEK_HOLE)
		return -EINVAL;
	call.request.offset = (uint64_t)offset;
	return channel_call(&call);
}

EXPORT off_t lseek(int fd, off_t offset, int whence)
{
	if (!ours(fd))
		return NEXT(lseek)(fd, offset, whence);
	RETURN(off_t, do_lseek(fd, offset, whence));
}

ALIAS("lseek") off64_t lseek64(int fd, off64_t offset, int whence);

/* For one of ours: of a pipe this is refused for a reason of its own. */
static long do_fallocate(int fd, int mode, int64_t offset, int64_t length)
{
	long result = sys4(SYS_fallocate, fd, mode, offset, length);

	return result == -ESPIPE ? -ENODEV : result;
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t length)
{
	if (!ours(fd))
		return NEXT(fallocate)(fd, mode, offset, length);
	RETURN(int, do_fallocate(fd, mode, offset, length));
}

EXPORT int posix_fallocate(int fd, off_t offset, off_t length)
{
	return ours(fd) ? (int)-do_fallocate(fd, 0, offset, length) : NEXT(posix_fallocate)(fd, offset, length);
}

ALIAS("fallocate") int fallocate64(int fd, int mode, off64_t offset, off64_t length);
ALIAS("posix_fallocate") int posix_fallocate64(int fd, off64_t offset, off64_t length);

/* A file without a poll operation cannot be watched. */
EXPORT int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	uint64_t inode;

	if (tokens_possible && (token_kind(fd, &inode) & 15) == IOASIS_POLL_NONE)
		RETURN(int, -EPERM);
	RETURN(int, sys4(SYS_epoll_ctl, epoll, op, fd, event));
}

long do_fcntl(int fd, int cmd, long arg)
{
	long result;
	uint64_t inode;

	if (hidden_has(fd) || ((cmd == F_GETPIPE_SZ || cmd == F_SETPIPE_SZ) && ours(fd)))
		return -EBADF;
	/* What a token has and a device has not: packets, and signals for what is ready. */
	if (cmd == F_SETFL && (arg & O_DIRECT) && ours(fd))
		return -EINVAL;
	if (cmd == F_SETFL && (arg & O_ASYNC) && ours(fd))
		arg &= ~O_ASYNC;
	result = sys3(SYS_fcntl, fd, cmd, arg);
	/* What stands for the file may be opened otherwise than it. */
	if (cmd == F_GETFL && result >= 0 && OURS(fd, &inode))
		result = (result & ~(O_ACCMODE | O_CLOEXEC)) | (token_kind(fd, &inode) >> 4 & O_ACCMODE);
	return result;
}

#define FCNTL(name)                                                                                          \
	EXPORT int name(int fd, int cmd, ...)                                                                \
	{                                                                                                    \
		va_list list;                                                                                \
		long arg;                                                                                    \
		va_start(list, cmd);                                                                         \
		arg = va_arg(list, long);                                                                    \
		va_end(list);                                                                                \
		if (!hidden_has(fd) && cmd != F_GETFL && cmd != F_SETFL && cmd != F_GETPIPE_SZ &&          \
		    cmd != F_SETPIPE_SZ)                                                                     \
			return NEXT(name)(fd, cmd, arg);                                                     \
		RETURN(int, do_fcntl(fd, cmd, arg));                                                         \
	}
FCNTL(fcntl)
FCNTL(fcntl64)

/* Descriptors of our own are not there for the program. */
long do_close(int fd)
{
	long result = hidden_has(fd) ? -EBADF : sys1(SYS_close, fd);

	tokens_closed();
	return result;
}

long do_dup3(int from, int to, int flags)
{
	bool was_ours;
	long result;

	if (hidden_has(from))
		return -EBADF;
	was_ours = from != to && hidden_has(to);
	if (was_ours)
		channel_move_away(to);
	result = sys3(SYS_dup3, from, to, flags);
	/* Nothing came in its place. */
	if (was_ours && result < 0)
		sys1(SYS_close, to);
	tokens_closed();
	/* A child of vfork has our streams, and descriptors of its own. */
	if (to <= 2 && channel_in_own_process())
		stream_follow(to);
	return result;
}

long do_close_range(unsigned first, unsigned last, unsigned flags)
{
	long result = 0;
	int own;

	if (first > last || first > INT_MAX)
		return sys3(SYS_close_range, first, last, flags);
	for (own = hidden_next((int)first); own >= 0 && (unsigned)own <= last && result == 0; own = hidden_next(own + 1)) {
		if ((unsigned)own > first)
			result = sys3(SYS_close_range, first, own - 1, flags);
		first = (unsigned)own + 1;
	}
	if (result == 0 && first <= last)
		result = sys3(SYS_close_range, first, last, flags);
	tokens_closed();
	return result;
}

EXPORT int close(int fd)
{
	int result;

	if (hidden_has(fd))
		RETURN(int, -EBADF);
	/* Before it too: a thread that is cancelled in it does not come back. */
	tokens_closed();
	result = NEXT(close)(fd);
	tokens_closed();
	return result;
}

EXPORT int dup(int fd)
{
	RETURN(int, hidden_has(fd) ? -EBADF : sys1(SYS_dup, fd));
}

EXPORT int dup2(int from, int to)
{
	if (from == to)
		RETURN(int, do_fcntl(from, F_GETFD, 0) < 0 ? -EBADF : to);
	RETURN(int, do_dup3(from, to, 0));
}

EXPORT int dup3(int from, int to, int flags)
{
	RETURN(int, do_dup3(from, to, flags));
}

int close_range(unsigned first, unsigned last, int flags);
EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	RETURN(int, do_close_range(first, last, (unsigned)flags));
}

void closefrom(int first);
EXPORT void closefrom(int first)
{
	if (do_close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0) == -ENOSYS)
		for (int fd = first < 0 ? 0 : first; fd < (int)sysconf(_SC_OPEN_MAX); fd++)
			do_close(fd);
}

/* A descriptor that comes from another process may be a token. */
EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t got = NEXT(recvmsg)(fd, message, flags);

	if (got >= 0 && message->msg_controllen > 0)
		tokens_possible = shim.tree_length > 0;
	return got;
}

EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	int got = NEXT(recvmmsg)(fd, messages, count, flags, timeout);

	for (int i = 0; i < got; i++)
		if (messages[i].msg_hdr.msg_controllen > 0)
			tokens_possible = shim.tree_length > 0;
	return got;
}

int pidfd_getfd(int process, int fd, unsigned flags);
EXPORT int pidfd_getfd(int process, int fd, unsigned flags)
{
	tokens_possible = shim.tree_length > 0;
	RETURN(int, sys3(SYS_pidfd_getfd, process, fd, flags));
}
