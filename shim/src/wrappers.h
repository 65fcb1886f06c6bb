/* What wrappers do, with raw results, for syscall() to do the same. */
#ifndef IOASIS_WRAPPERS_H
#define IOASIS_WRAPPERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool can_read_word(const void *at);
long do_ioctl(int fd, unsigned long cmd, void *arg);
long ask_ioctl(int op, int fd, uint64_t inode, unsigned long cmd, void *arg);

/* kvm.c: an ioctl of a descriptor that is not ours, before it goes to the kernel and after. */
bool kvm_takes(int fd, unsigned long cmd, void *arg, long *result);
void kvm_follow(int fd, unsigned long cmd, void *arg, long result);

long do_transfer(int op, long nr, int fd, void *buf, size_t count, int64_t offset);
long do_fcntl(int fd, int cmd, long arg);
long do_lseek(int fd, int64_t offset, int whence);
long do_close(int fd);
long do_dup3(int from, int to, int flags);
long do_close_range(unsigned first, unsigned last, unsigned flags);
long do_mmap(void *at, size_t length, int prot, int flags, int fd, int64_t offset);
long do_mprotect(void *at, size_t length, int prot);
long do_munmap(void *at, size_t length);
long do_madvise(void *at, size_t length, int advice);
long do_mremap(void *from, size_t length, size_t new_length, int flags, void *to);
long do_capset(void *header, const void *data);
long do_prlimit(int pid, int resource, const void *limit, void *old);

#endif
