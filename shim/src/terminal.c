/* Some tokens are terminals, where the program has no such thing: what libc asks a terminal without going through ioctl. */
#define _GNU_SOURCE
#include <termios.h>
#include <unistd.h>

#include "shim.h"

/* Without a token the next library's answer; for one of ours `otherwise`, with errno as Linux leaves it. */
#define NO_TERMINAL(type, name, parameters, arguments, otherwise)                                            \
	EXPORT type name parameters                                                                          \
	{                                                                                                    \
		uint64_t inode;                                                                              \
		if (!tokens_possible || !is_token(fd, &inode))                                               \
			return NEXT(name) arguments;                                                         \
		errno = ENOTTY;                                                                              \
		return otherwise;                                                                            \
	}

NO_TERMINAL(int, isatty, (int fd), (fd), 0)
NO_TERMINAL(char *, ttyname, (int fd), (fd), NULL)
NO_TERMINAL(int, ttyname_r, (int fd, char *buf, size_t size), (fd, buf, size), ENOTTY)
NO_TERMINAL(int, tcgetattr, (int fd, struct termios *state), (fd, state), -1)
NO_TERMINAL(int, tcsetattr, (int fd, int when, const struct termios *state), (fd, when, state), -1)
NO_TERMINAL(int, tcflush, (int fd, int queue), (fd, queue), -1)
NO_TERMINAL(int, tcflow, (int fd, int action), (fd, action), -1)
NO_TERMINAL(int, tcdrain, (int fd), (fd), -1)
NO_TERMINAL(int, tcsendbreak, (int fd, int duration), (fd, duration), -1)
NO_TERMINAL(pid_t, tcgetpgrp, (int fd), (fd), -1)
NO_TERMINAL(int, tcsetpgrp, (int fd, pid_t group), (fd, group), -1)
NO_TERMINAL(pid_t, tcgetsid, (int fd), (fd), -1)
