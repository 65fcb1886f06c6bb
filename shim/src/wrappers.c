/* The functions of libc that take a descriptor: a token's calls go to the daemon, all others where they went. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>

#include "shim.h"

#define IOCTL_TYPE(cmd) ((cmd) >> 8 & 0xff)

EXPORT int ioctl(int fd, unsigned long cmd, ...)
{
	uint64_t inode;
	va_list list;
	void *arg;

	va_start(list, cmd);
	arg = va_arg(list, void *);
	va_end(list);
	if ((tokens_possible || IOCTL_TYPE(cmd) == ';') && token_kind(fd, &inode) != IOASIS_NOT_OURS) {
		struct call call = {
			.request = { .op = IOASIS_OP_IOCTL,
				     .cmd = (uint32_t)cmd,
				     .token = inode,
				     .arg = (uintptr_t)arg,
				     .fd = fd,
				     .carried = IOASIS_CARRIED },
			.carry = arg,
			.reply_at = arg,
			.reply_max = IOASIS_CHUNK,
		};
		RETURN(int, channel_call(&call));
	}
	RETURN(int, sys3(SYS_ioctl, fd, cmd, arg));
}
