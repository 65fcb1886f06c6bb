/* Learns whether the program has signal handlers: without any, nothing can step in while a call is under way. */
#define _GNU_SOURCE
#include <signal.h>

#include "shim.h"

typedef void (*handler)(int);

static void noted(handler now)
{
	if (now != SIG_DFL && now != SIG_IGN && now != SIG_ERR)
		channel_handler_set();
}

EXPORT int sigaction(int number, const struct sigaction *now, struct sigaction *before)
{
	if (now)
		noted(now->sa_handler);
	return NEXT(sigaction)(number, now, before);
}

#define SIGNAL(name)                                                                                         \
	handler name(int number, handler now);                                                               \
	EXPORT handler name(int number, handler now)                                                         \
	{                                                                                                    \
		noted(now);                                                                                  \
		return NEXT(name)(number, now);                                                              \
	}
SIGNAL(signal)
SIGNAL(bsd_signal)
SIGNAL(sysv_signal)
SIGNAL(__sysv_signal)
SIGNAL(ssignal)
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
SIGNAL(sigset)
