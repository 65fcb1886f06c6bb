/*
 * In the kernel's place where it has no KVM, for a test: machines are eventfds, and slots are believed. Loaded after the
 * shim, it has the calls that the shim lets through to the kernel.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#define SLOTS 32764

int ioctl(int fd, unsigned long cmd, ...)
{
	int (*next)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	const struct kvm_userspace_memory_region *region;
	va_list list;
	void *arg;

	va_start(list, cmd);
	arg = va_arg(list, void *);
	va_end(list);
	region = arg;
	switch (cmd) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_CHECK_EXTENSION:
		return 0;
	case KVM_CREATE_VM:
		return eventfd(0, EFD_CLOEXEC);
	case KVM_SET_USER_MEMORY_REGION:
		if (region->slot < SLOTS)
			return 0;
		errno = EINVAL;
		return -1;
	default:
		return next(fd, cmd, arg);
	}
}
