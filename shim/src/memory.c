/*
 * The functions of libc that change what lies at an address: a token is mapped by the daemon, and whatever takes the place
 * of something else is told to those who have to know (mapping.c).
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/mman.h>

#include "shim.h"
#include "wrappers.h"

long do_mmap(void *at, size_t length, int prot, int flags, int fd, int64_t offset)
{
	uint64_t inode;
	long result;

	if (!(flags & MAP_ANONYMOUS) && tokens_possible && is_token(fd, &inode)) {
		bool reserve = flags & MAP_FIXED_NOREPLACE;

		if (length == 0 || offset & 4095 || ((flags & MAP_FIXED) && (uintptr_t)at & 4095))
			return -EINVAL;
		/* Linux looks for the place before it asks the file. */
		if (reserve) {
			result = sys6(SYS_mmap, (long)at, (long)length, PROT_NONE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
			if (result < 0 && result > -4096)
				return result;
			flags = (flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED;
		}
		result = map_token(fd, inode, at, length, prot, flags, (uint64_t)offset);
		if (reserve && result < 0 && result > -4096)
			sys2(SYS_munmap, (long)at, (long)length);
		return result;
	}
	result = sys6(SYS_mmap, (long)at, (long)length, prot, flags, fd, offset);
	if ((flags & MAP_FIXED) && result >= 0)
		mapping_cut(at, length);
	return result;
}

EXPORT void *mmap(void *at, size_t length, int prot, int flags, int fd, off_t offset)
{
	RETURN(void *, do_mmap(at, length, prot, flags, fd, offset));
}

ALIAS("mmap") void *mmap64(void *at, size_t length, int prot, int flags, int fd, off64_t offset);

long do_munmap(void *at, size_t length)
{
	long result = sys2(SYS_munmap, at, length);

	if (result == 0)
		mapping_cut(at, length);
	return result;
}

EXPORT int munmap(void *at, size_t length)
{
	RETURN(int, do_munmap(at, length));
}

long do_mprotect(void *at, size_t length, int prot)
{
	long result = mapping_protect(at, length, prot);

	memory_epoch++;
	return result;
}

EXPORT int mprotect(void *at, size_t length, int prot)
{
	RETURN(int, do_mprotect(at, length, prot));
}

/* Pages that are thrown away are other pages when they come back. */
long do_madvise(void *at, size_t length, int advice)
{
	long result = sys3(SYS_madvise, at, length, advice);

	if (result == 0 && (advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE))
		mapping_dropped(at, length);
	return result;
}

EXPORT int madvise(void *at, size_t length, int advice)
{
	RETURN(int, do_madvise(at, length, advice));
}

long do_mremap(void *from, size_t length, size_t new_length, int flags, void *to)
{
	long result = mapping_remap(from, length, new_length, flags, to);

	memory_epoch++;
	if (result < 0 && result >= -4095)
		return result;
	if (result != (long)from) {
		mapping_dropped(from, length);
		mapping_dropped((void *)result, new_length);
	} else if (new_length < length) {
		mapping_dropped((char *)from + new_length, length - new_length);
	}
	return result;
}

EXPORT void *mremap(void *from, size_t length, size_t new_length, int flags, ...)
{
	va_list list;
	void *to;

	va_start(list, flags);
	to = va_arg(list, void *);
	va_end(list);
	RETURN(void *, do_mremap(from, length, new_length, flags, to));
}
