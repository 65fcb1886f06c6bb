/* syscall(2) itself: programs that go around libc meet the same wrappers. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"
#include "wrappers.h"

/* Where a path may lead is the kernel's business as soon as it is restricted. */
static long do_openat2(int dir, const char *path, const struct open_how *how, size_t size)
{
	if (size != sizeof(*how) || !can_read_word(&how->flags) || !can_read_word(&how->mode) ||
	    !can_read_word(&how->resolve) || how->resolve || how->flags > INT_MAX || how->mode > 07777)
		return sys4(SYS_openat2, dir, path, how, size);
	return open_at(dir, path, (int)how->flags, (unsigned)how->mode);
}

EXPORT long syscall(long nr, ...)
{
	long a, b, c, d, e, f;
	va_list list;

	va_start(list, nr);
	a = va_arg(list, long);
	b = va_arg(list, long);
	c = va_arg(list, long);
	d = va_arg(list, long);
	e = va_arg(list, long);
	f = va_arg(list, long);
	va_end(list);
	switch (nr) {
#ifdef SYS_open
	case SYS_open:
		RETURN(long, open_at(AT_FDCWD, (const char *)a, (int)b, (unsigned)c));
	case SYS_dup2:
		return dup2((int)a, (int)b);
#endif
	case SYS_openat:
		RETURN(long, open_at((int)a, (const char *)b, (int)c, (unsigned)d));
	/* Through these Node asks. */
	case SYS_statx:
		return statx((int)a, (const char *)b, (int)c, (unsigned)d, (void *)e);
	case SYS_newfstatat:
		return fstatat((int)a, (const char *)b, (struct stat *)c, (int)d);
	case SYS_fstat:
		return fstat((int)a, (struct stat *)b);
	case SYS_openat2:
		RETURN(long, do_openat2((int)a, (const char *)b, (const struct open_how *)c, (size_t)d));
	case SYS_ioctl:
		RETURN(long, do_ioctl((int)a, (unsigned long)b, (void *)c));
	case SYS_read:
		RETURN(long, do_transfer(IOASIS_OP_READ, nr, (int)a, (void *)b, (size_t)c, 0));
	case SYS_write:
		RETURN(long, do_transfer(IOASIS_OP_WRITE, nr, (int)a, (void *)b, (size_t)c, 0));
	case SYS_pread64:
		RETURN(long, do_transfer(IOASIS_OP_READ, nr, (int)a, (void *)b, (size_t)c, d));
	case SYS_pwrite64:
		RETURN(long, do_transfer(IOASIS_OP_WRITE, nr, (int)a, (void *)b, (size_t)c, d));
	case SYS_readv:
		return readv((int)a, (const struct iovec *)b, (int)c);
	case SYS_writev:
		return writev((int)a, (const struct iovec *)b, (int)c);
	case SYS_preadv:
		return preadv((int)a, (const struct iovec *)b, (int)c, d);
	case SYS_pwritev:
		return pwritev((int)a, (const struct iovec *)b, (int)c, d);
	/* The second half of a position, e, is only used where words are short. */
	case SYS_preadv2:
		return preadv2((int)a, (const struct iovec *)b, (int)c, d, (int)f);
	case SYS_pwritev2:
		return pwritev2((int)a, (const struct iovec *)b, (int)c, d, (int)f);
	case SYS_splice:
		return splice((int)a, (void *)b, (int)c, (void *)d, (size_t)e, (unsigned)f);
	case SYS_tee:
		return tee((int)a, (int)b, (size_t)c, (unsigned)d);
	case SYS_vmsplice:
		return vmsplice((int)a, (const struct iovec *)b, (size_t)c, (unsigned)d);
	case SYS_sendfile:
		return sendfile((int)a, (int)b, (void *)c, (size_t)d);
	case SYS_fallocate:
		return fallocate((int)a, (int)b, c, d);
	case SYS_epoll_ctl:
		return epoll_ctl((int)a, (int)b, (int)c, (void *)d);
	case SYS_lseek:
		RETURN(long, do_lseek((int)a, b, (int)c));
	case SYS_mmap:
		RETURN(long, do_mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f));
	case SYS_munmap:
		RETURN(long, do_munmap((void *)a, (size_t)b));
	case SYS_mprotect:
		RETURN(long, do_mprotect((void *)a, (size_t)b, (int)c));
	case SYS_madvise:
		RETURN(long, do_madvise((void *)a, (size_t)b, (int)c));
	case SYS_mremap:
		RETURN(long, do_mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e));
	case SYS_fcntl:
		RETURN(long, do_fcntl((int)a, (int)b, c));
	case SYS_dup:
		return dup((int)a);
	case SYS_close:
		RETURN(long, do_close((int)a));
	case SYS_dup3:
		RETURN(long, do_dup3((int)a, (int)b, (int)c));
	case SYS_close_range:
		RETURN(long, do_close_range((unsigned)a, (unsigned)b, (unsigned)c));
	case SYS_rt_sigaction:
		channel_may_be_interrupted();
		if (trap_has_action((int)a))
			RETURN(long, trap_raw_action((const void *)b, (void *)c));
		break;
	case SYS_rt_sigprocmask:
		if (shim.traps && d == 8)
			RETURN(long, trap_raw_mask((int)a, (const void *)b, (void *)c));
		break;
	case SYS_capset:
		RETURN(long, do_capset((void *)a, (const void *)b));
	case SYS_prlimit64:
		RETURN(long, do_prlimit((int)a, (int)b, (const void *)c, (void *)d));
	case SYS_pidfd_getfd:
	case SYS_recvmsg:
	case SYS_recvmmsg:
		tokens_possible = shim.tree_length > 0;
		break;
	default:
		break;
	}
	RETURN(long, sys6(nr, a, b, c, d, e, f));
}
