/*
 * Learns whether anything can step in while a call is under way: a signal handler, or the cancellation of a thread that
 * wants it at any time, which is a signal as well.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>

#include "shim.h"

typedef void (*handler)(int);

static void noted(handler now)
{
	if (now != SIG_DFL && now != SIG_IGN && now != SIG_ERR)
		channel_may_be_interrupted();
}

EXPORT int pthread_setcanceltype(int now, int *before)
{
	if (now == PTHREAD_CANCEL_ASYNCHRONOUS)
		channel_may_be_interrupted();
	return NEXT(pthread_setcanceltype)(now, before);
}

EXPORT int sigaction(int number, const struct sigaction *now, struct sigaction *before)
{
	if (now)
		noted(now->sa_handler);
	return trap_sigaction(number, now, before);
}

static handler trapped(int number, handler now, int flags)
{
	struct sigaction action = { .sa_handler = now, .sa_flags = flags }, before;

	return trap_sigaction(number, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}

#define SIGNAL(name, flags)                                                                                  \
	handler name(int number, handler now);                                                               \
	EXPORT handler name(int number, handler now)                                                         \
	{                                                                                                    \
		noted(now);                                                                                  \
		return trap_has_action(number) ? trapped(number, now, flags) : NEXT(name)(number, now);      \
	}
SIGNAL(signal, SA_RESTART)
SIGNAL(bsd_signal, SA_RESTART)
SIGNAL(ssignal, SA_RESTART)
SIGNAL(sysv_signal, SA_RESETHAND | SA_NODEFER)
SIGNAL(__sysv_signal, SA_RESETHAND | SA_NODEFER)
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
SIGNAL(sigset, 0)
