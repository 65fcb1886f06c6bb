/* The parts of the shim, as they see each other. Nothing here is visible outside of the library. */
#ifndef IOASIS_SHIM_H
#define IOASIS_SHIM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "protocol.h"
#include "sys.h"

#define EXPORT __attribute__((visibility("default")))
/* Turns a raw result into what a libc function returns. */
#define RETURN(type, raw)                                                                                    \
	do {                                                                                                 \
		long raw_result = (raw);                                                                     \
		if (raw_result < 0 && raw_result >= -4095) {                                                 \
			errno = (int)-raw_result;                                                            \
			return (type)-1;                                                                     \
		}                                                                                            \
		return (type)raw_result;                                                                     \
	} while (0)

/* A call under way: what is asked, and where its answer goes. */
struct call {
	struct ioasis_request request;
	const void *carry;	/* request.carried bytes of it travel, as many of them as can be read */
	void *reply_at;		/* reply bytes land here; a bad address makes the call EFAULT */
	size_t reply_max;
	uint64_t count;		/* out: the count of the final answer */
	unsigned long signals;	/* the mask to come back to */
};

/* channel.c: returns the result or -errno; -ENODEV when the daemon is gone. */
long channel_call(struct call *call);
bool channel_owns(int fd);
/* Makes way for a dup2 or similar onto one of our descriptors. */
void channel_move_away(int fd);
/* The lowest of our own descriptors at or above `fd`, or -1. */
int channel_next(int fd);
void channel_forked(void);

/* token.c */
extern bool tokens_possible;
int token_kind(int fd, uint64_t *inode);
void token_learn(uint64_t inode, int kind);
long token_name(int fd, uint64_t inode, char *buf, size_t size);

#endif
