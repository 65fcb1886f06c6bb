/* With kvm-kernel.c in the kernel's place for a test: opens its /dev/kvm. Loaded before the shim. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>

int open(const char *path, int flags, ...)
{
	int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	va_list list;
	int mode;

	va_start(list, flags);
	mode = va_arg(list, int);
	va_end(list);
	return strcmp(path, "/dev/kvm") == 0 ? eventfd(0, EFD_CLOEXEC) : next(path, flags, mode);
}
