#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#include "shim.h"

static long open_path(int dir, const char *path, int flags, int mode)
{
	if (path && strcmp(path, "/dev/iommu") == 0) {
		struct call call = {
			.request = { .op = IOASIS_OP_OPEN, .cmd = (uint32_t)flags, .fd = -1,
				     .carried = (uint32_t)strlen(path) },
			.carry = path,
		};
		long fd = channel_call(&call);
		if (fd >= 0)
			tokens_possible = true;
		return fd;
	}
	return sys4(SYS_openat, dir, path, flags, mode);
}

EXPORT int open(const char *path, int flags, ...)
{
	va_list list;
	int mode;
	va_start(list, flags);
	mode = va_arg(list, int);
	va_end(list);
	RETURN(int, open_path(AT_FDCWD, path, flags, mode));
}
EXPORT int open64(const char *path, int flags, ...) __attribute__((alias("open")));
