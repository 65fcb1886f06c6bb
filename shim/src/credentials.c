/*
 * An ordinary user has neither the capabilities nor the locked-memory limit that these devices ask for, so the
 * daemon may lend them (the marker "lend" in its tree). What is lent is kept here: the program sees it, can give it
 * up, and hands it on to its children; the daemon is told.
 */
#define _GNU_SOURCE
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "shim.h"
#include "wrappers.h"

struct lent lent = { ~0ull, ~0ull, ~0ull, false };

void lent_start(const char *inherited)
{
	char *rest;

	if (!shim.lends || !inherited)
		return;
	lent.capabilities = strtoull(inherited, &rest, 16);
	lent.memlock = *rest == ':' ? strtoull(rest + 1, &rest, 16) : lent.memlock;
	lent.memlock_max = *rest == ':' ? strtoull(rest + 1, &rest, 16) : lent.memlock_max;
	lent.changed = true;
}

/* Tells the daemon: what the program asked for, where it lends; or only that it has to look again. */
static void tell(void)
{
	struct call call = {
		.request = { .op = IOASIS_OP_LENT, .token = lent.capabilities, .offset = lent.memlock, .fd = -1 },
	};

	lent.changed = true;
	if (channel_open())
		channel_call(&call);
}

static bool is_self(int pid)
{
	return pid == 0 || pid == (int)sys0(SYS_getpid) || pid == (int)sys0(SYS_gettid);
}

int capget(cap_user_header_t header, cap_user_data_t data);
EXPORT int capget(cap_user_header_t header, cap_user_data_t data)
{
	long result = sys2(SYS_capget, header, data);

	if (result == 0 && data && shim.lends && is_self(header->pid)) {
		int words = header->version == _LINUX_CAPABILITY_VERSION_1 ? 1 : 2;

		for (int i = 0; i < words; i++) {
			data[i].effective = (uint32_t)(lent.capabilities >> (32 * i));
			data[i].permitted = ~0u;
		}
	}
	RETURN(int, result);
}

long do_capset(void *header, const void *data)
{
	cap_user_header_t head = header;
	const struct __user_cap_data_struct *words = data;
	long result = sys2(SYS_capset, header, data);

	if (!shim.lends) {
		if (result == 0)
			tell();
		return result;
	}
	if ((result != 0 && result != -EPERM) || !is_self(head->pid))
		return result;
	lent.capabilities = words[0].effective;
	if (head->version != _LINUX_CAPABILITY_VERSION_1)
		lent.capabilities |= (uint64_t)words[1].effective << 32;
	tell();
	return 0;
}

int capset(cap_user_header_t header, const cap_user_data_t data);
EXPORT int capset(cap_user_header_t header, const cap_user_data_t data)
{
	RETURN(int, do_capset(header, data));
}

/*
 * Changing who we are changes what we may. Where nothing is lent the daemon looks again; where root was lent what
 * it lacked, it gives that up with being root, as Linux would have it.
 */
static void identity_changed(bool was_root)
{
	if (shim.lends && was_root && sys0(SYS_geteuid) != 0)
		lent.capabilities = 0;
	else if (shim.lends)
		return;
	tell();
}

#define IDENTITY(name, parameters, arguments)                                                                \
	EXPORT int name parameters                                                                           \
	{                                                                                                    \
		bool was_root = sys0(SYS_geteuid) == 0;                                                      \
		int result = NEXT(name) arguments;                                                           \
		if (result == 0)                                                                             \
			identity_changed(was_root);                                                          \
		return result;                                                                               \
	}
IDENTITY(setuid, (uid_t uid), (uid))
IDENTITY(seteuid, (uid_t uid), (uid))
IDENTITY(setreuid, (uid_t real, uid_t effective), (real, effective))
IDENTITY(setresuid, (uid_t real, uid_t effective, uid_t saved), (real, effective, saved))

long do_prlimit(int pid, int resource, const void *new, void *old)
{
	struct rlimit before;
	const struct rlimit *limit = new;
	long result;

	if (resource != RLIMIT_MEMLOCK || !shim.lends || !is_self(pid)) {
		result = sys4(SYS_prlimit64, pid, resource, new, old);
		if (result == 0 && new && resource == RLIMIT_MEMLOCK)
			tell();
		return result;
	}
	/* Where nothing was set yet the system's own limit is the answer. */
	result = sys4(SYS_prlimit64, 0, resource, NULL, &before);
	if (result < 0)
		return result;
	if (lent.memlock != ~0ull || lent.memlock_max != ~0ull)
		before = (struct rlimit){ lent.memlock, lent.memlock_max };
	if (limit && limit->rlim_cur > limit->rlim_max)
		return -EINVAL;
	if (limit) {
		lent.memlock = limit->rlim_cur;
		lent.memlock_max = limit->rlim_max;
		tell();
	}
	if (old)
		memcpy(old, &before, sizeof(before));
	return 0;
}

#undef getrlimit
#undef setrlimit
#undef prlimit
int lent_getrlimit(int resource, struct rlimit *old) __asm__("getrlimit");
int lent_setrlimit(int resource, const struct rlimit *new) __asm__("setrlimit");
int lent_prlimit(pid_t pid, int resource, const struct rlimit *new, struct rlimit *old) __asm__("prlimit");
int lent_getrlimit64(int resource, struct rlimit *old) __asm__("getrlimit64");
int lent_setrlimit64(int resource, const struct rlimit *new) __asm__("setrlimit64");
int lent_prlimit64(pid_t pid, int resource, const struct rlimit *new, struct rlimit *old) __asm__("prlimit64");

#define LIMITS(suffix)                                                                                       \
	EXPORT int lent_getrlimit##suffix(int resource, struct rlimit *old)                                  \
	{                                                                                                    \
		RETURN(int, do_prlimit(0, resource, NULL, old));                                             \
	}                                                                                                    \
	EXPORT int lent_setrlimit##suffix(int resource, const struct rlimit *new)                            \
	{                                                                                                    \
		RETURN(int, do_prlimit(0, resource, new, NULL));                                             \
	}                                                                                                    \
	EXPORT int lent_prlimit##suffix(pid_t pid, int resource, const struct rlimit *new, struct rlimit *old) \
	{                                                                                                    \
		RETURN(int, do_prlimit(pid, resource, new, old));                                            \
	}
LIMITS()
LIMITS(64)
