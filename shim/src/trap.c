/*
 * Stores to registers that the program has mapped. The mapping lets loads through; a store is a fault, and what it
 * would have done is done here, the store itself as a call to the daemon, before the program's next instruction. So
 * SIGSEGV is ours as soon as there is such a mapping. The program's own handler for it is called from ours, and a
 * program that can have such mappings never really has it blocked.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "decode.h"
#include "shim.h"
#include "wrappers.h"

#define PAGE 4096

/* What the program believes its action for SIGSEGV to be: the one of the two that `current` names. */
static struct sigaction actions[2];
static _Atomic unsigned current;
static _Atomic bool installed;
static _Atomic int installing;
/* Signals during whose handlers the program believes SIGSEGV to be blocked. */
static _Atomic uint64_t blocking_handlers;
static __thread bool believes_blocked __attribute__((tls_model("initial-exec")));

static int real_sigaction(int number, const struct sigaction *now, struct sigaction *before)
{
	return NEXT(sigaction)(number, now, before);
}

#if defined(__x86_64__)

#define PAGE_FAULT 14
#define IS_WRITE 2

static void store(const struct trapped *trapped, uintptr_t at, unsigned width, uint64_t value)
{
	struct call call = {
		.request = { .op = IOASIS_OP_STORE,
			     .cmd = width,
			     .token = trapped->id,
			     .arg = at - trapped->base,
			     .count = value,
			     .fd = -1 },
	};

	channel_call(&call);
}

static void complain(const uint8_t *at)
{
	static const char digits[] = "0123456789abcdef";
	char text[128] = "ioasis: a store to registers by an instruction that is not known here:";
	size_t length = strlen(text);

	/* What is behind the page may not be there. */
	for (int i = 0; i < INSTRUCTION_MAX && (i == 0 || ((uintptr_t)at + i) % PAGE); i++) {
		text[length++] = ' ';
		text[length++] = digits[at[i] >> 4];
		text[length++] = digits[at[i] & 15];
	}
	text[length++] = '\n';
	sys3(SYS_write, STDERR_FILENO, text, length);
}

/* True: the fault was a store of ours, and is done. */
static bool carried_out(const siginfo_t *info, ucontext_t *interrupted)
{
	const greg_t *registers = interrupted->uc_mcontext.gregs;
	struct trapped trapped = { .store = store };

	if (info->si_code <= 0 || registers[REG_TRAPNO] != PAGE_FAULT || !(registers[REG_ERR] & IS_WRITE) ||
	    !mapping_trapped((uintptr_t)info->si_addr, &trapped))
		return false;
	if (emulate_store(interrupted, &trapped))
		return true;
	complain((const uint8_t *)registers[REG_RIP]);
	return false;
}

#else

static bool carried_out(const siginfo_t *info, ucontext_t *interrupted)
{
	(void)info;
	(void)interrupted;
	return false;
}

#endif

/* As without any handler: with the next fault at the same place, or with the signal that somebody has sent. */
static void end_by(int number, siginfo_t *info)
{
	static const struct sigaction none = { .sa_handler = SIG_DFL };

	real_sigaction(number, &none, NULL);
	if (info->si_code <= 0)
		sys4(SYS_rt_tgsigqueueinfo, sys0(SYS_getpid), sys0(SYS_gettid), number, info);
}

/* What the kernel would have done with a signal that is not ours. */
static void pass_on(int number, siginfo_t *info, ucontext_t *interrupted)
{
	struct sigaction action = actions[atomic_load(&current)];
	unsigned long mask;

	if (action.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN || (believes_blocked && info->si_code > 0))
		return end_by(number, info);
	if (action.sa_flags & SA_RESETHAND)
		actions[atomic_load(&current)].sa_handler = SIG_DFL;
	memcpy(&mask, &interrupted->uc_sigmask, sizeof(mask));
	mask |= *(unsigned long *)&action.sa_mask;
	if (!(action.sa_flags & SA_NODEFER))
		mask |= 1ul << (number - 1);
	restore_signals(mask);
	if (action.sa_flags & SA_SIGINFO)
		action.sa_sigaction(number, info, interrupted);
	else
		action.sa_handler(number);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	int before = errno;

	if (!carried_out(info, context))
		pass_on(number, info, context);
	errno = before;
}

/* On the stack that the program wants its own handler on. */
static int install(int its_flags)
{
	struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | (its_flags & SA_ONSTACK) };

	sigfillset(&ours.sa_mask);
	return real_sigaction(SIGSEGV, &ours, NULL);
}

bool trap_start(void)
{
#if !defined(__x86_64__)
	return false;
#endif
	while (atomic_exchange(&installing, 1))
		sys0(SYS_sched_yield);
	if (shim.traps && !atomic_load(&installed)) {
		struct sigaction *its = &actions[atomic_load(&current)];

		real_sigaction(SIGSEGV, NULL, its);
		if (install(its->sa_flags) == 0)
			atomic_store(&installed, true);
	}
	atomic_store(&installing, 0);
	return atomic_load(&installed);
}

/* In a child of fork: whoever held it is not there. */
void trap_forked(void)
{
	atomic_store(&installing, 0);
}

/* The program's action for SIGSEGV; `now` is not there yet for the kernel. */
static int set_action(const struct sigaction *now, struct sigaction *before)
{
	unsigned old = atomic_load(&current);
	struct sigaction was = actions[old];

	if (now) {
		actions[!old] = *now;
		atomic_store(&current, !old);
		if (install(now->sa_flags) != 0)
			return -1;
	}
	if (before)
		*before = was;
	return 0;
}

/* sigaction(2) of a program whose stores we have to see. */
int trap_sigaction(int number, const struct sigaction *now, struct sigaction *before)
{
	uint64_t bit = number > 0 && number <= 64 ? 1ull << (number - 1) : 0;
	bool blocked_before = atomic_load(&blocking_handlers) & bit;
	struct sigaction open;
	int result;

	if (number == SIGSEGV && atomic_load(&installed))
		return set_action(now, before);
	if (!shim.traps || !now) {
		result = real_sigaction(number, now, before);
	} else {
		open = *now;
		sigdelset(&open.sa_mask, SIGSEGV);
		result = real_sigaction(number, &open, before);
		if (result == 0 && sigismember(&now->sa_mask, SIGSEGV) == 1)
			atomic_fetch_or(&blocking_handlers, bit);
		else if (result == 0)
			atomic_fetch_and(&blocking_handlers, ~bit);
	}
	if (result == 0 && before && blocked_before)
		sigaddset(&before->sa_mask, SIGSEGV);
	return result;
}

/* The kernel's own struct for it. */
struct raw_action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

/* The same for SIGSEGV, asked of the kernel itself; 0 or -errno. */
long trap_raw_action(const struct raw_action *now, struct raw_action *before)
{
	struct sigaction action = { 0 }, was;

	if ((now && (!can_read_word(&now->handler) || !can_read_word(&now->mask))) ||
	    (before && (!can_read_word(&before->handler) || !can_read_word(&before->mask))))
		return -EFAULT;
	if (now) {
		action.sa_handler = now->handler;
		action.sa_flags = (int)now->flags;
		memcpy(&action.sa_mask, &now->mask, sizeof(now->mask));
	}
	if (set_action(now ? &action : NULL, &was) != 0)
		return -EINVAL;
	if (before) {
		*before = (struct raw_action){ .handler = was.sa_handler, .flags = (unsigned)was.sa_flags };
		memcpy(&before->mask, &was.sa_mask, sizeof(before->mask));
	}
	return 0;
}

bool trap_has_action(int number)
{
	return number == SIGSEGV && atomic_load_explicit(&installed, memory_order_relaxed);
}

/* A mask without SIGSEGV is set in place of `now`; what the program believes of it is remembered. */
static int set_mask(int (*next)(int, const sigset_t *, sigset_t *), int how, const sigset_t *now, sigset_t *before)
{
	bool believed = believes_blocked, named = now && sigismember(now, SIGSEGV) == 1;
	sigset_t open;
	int result;

	if (!shim.traps)
		return next(how, now, before);
	if (now) {
		open = *now;
		if (how != SIG_UNBLOCK)
			sigdelset(&open, SIGSEGV);
	}
	result = next(how, now ? &open : NULL, before);
	if (result != 0)
		return result;
	if (now && how == SIG_SETMASK)
		believes_blocked = named;
	else if (named)
		believes_blocked = how == SIG_BLOCK;
	if (before && believed)
		sigaddset(before, SIGSEGV);
	return 0;
}

long trap_raw_mask(int how, const unsigned long *now, unsigned long *before)
{
	static const unsigned long fault = 1ul << (SIGSEGV - 1);
	long result = sys4(SYS_rt_sigprocmask, how, now, before, SIGSET_BYTES);
	bool believed = believes_blocked;

	if (result != 0)
		return result;
	if (now && how == SIG_SETMASK)
		believes_blocked = *now & fault;
	else if (now && *now & fault)
		believes_blocked = how == SIG_BLOCK;
	if (now)
		sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &fault, NULL, SIGSET_BYTES);
	if (before && believed)
		*before |= fault;
	return 0;
}

EXPORT int sigprocmask(int how, const sigset_t *now, sigset_t *before)
{
	return set_mask(NEXT(sigprocmask), how, now, before);
}

EXPORT int pthread_sigmask(int how, const sigset_t *now, sigset_t *before)
{
	return set_mask(NEXT(pthread_sigmask), how, now, before);
}
