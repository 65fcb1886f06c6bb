/*
 * A program that cleans its environment before it starts another would lose us on the way; so the three variables
 * that matter are put back, as long as the program itself was started with them.
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shim.h"

extern char **environ;

#define KEPT 3
#define LENT_ROOM 80
/* Longer environments are passed on as they are: the array lies on the stack. */
#define ENV_MAX 4096

static char preload[PATH_ROOM * 2], socket_entry[SOCKET_MAX + 16];

__attribute__((constructor)) static void remember(void)
{
	const char *value = getenv("LD_PRELOAD");

	shim_start();
	if (shim.tree_length == 0 || !value || strlen(value) >= sizeof(preload) - 16)
		return;
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", value);
	snprintf(socket_entry, sizeof(socket_entry), "IOASIS_SOCKET=%s", shim.socket);
}

static bool has(char *const *env, const char *entry, size_t name_length)
{
	for (; *env; env++)
		if (strncmp(*env, entry, name_length) == 0)
			return true;
	return false;
}

static size_t count_of(char *const *env)
{
	size_t count = 0;

	while (env && env[count])
		count++;
	return count;
}

/* Fills `room` (count_of(env) + KEPT + 1 entries) with env and what it lacks. */
static char *const *complete(char *const *env, char **room, char lent_entry[LENT_ROOM])
{
	size_t count = count_of(env);

	if (!preload[0])
		return env;
	if (count)
		memcpy(room, env, count * sizeof(*room));
	room[count] = NULL;
	if (!has(room, "LD_PRELOAD=", 11))
		room[count++] = preload;
	room[count] = NULL;
	if (!has(room, "IOASIS_SOCKET=", 14))
		room[count++] = socket_entry;
	if (shim.lends && lent.changed) {
		snprintf(lent_entry, LENT_ROOM, "IOASIS_LENT=%llx:%llx:%llx", (unsigned long long)lent.capabilities,
			 (unsigned long long)lent.memlock, (unsigned long long)lent.memlock_max);
		for (size_t i = 0; i < count; i++)
			if (strncmp(room[i], "IOASIS_LENT=", 12) == 0)
				room[i] = room[--count];
		room[count++] = lent_entry;
	}
	room[count] = NULL;
	return room;
}

/* `env`, completed, for the length of the calling function. */
#define COMPLETE(env)                                                                                        \
	(count_of(env) > ENV_MAX ? (env) :                                                                   \
				   complete(env, alloca((count_of(env) + KEPT + 1) * sizeof(char *)),        \
					    alloca(LENT_ROOM)))

EXPORT int execve(const char *path, char *const argv[], char *const env[])
{
	return NEXT(execve)(path, argv, COMPLETE(env));
}

EXPORT int execv(const char *path, char *const argv[])
{
	return NEXT(execve)(path, argv, COMPLETE(environ));
}

EXPORT int execvpe(const char *file, char *const argv[], char *const env[])
{
	return NEXT(execvpe)(file, argv, COMPLETE(env));
}

EXPORT int execvp(const char *file, char *const argv[])
{
	return NEXT(execvpe)(file, argv, COMPLETE(environ));
}

EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
	return NEXT(fexecve)(fd, argv, COMPLETE(env));
}

EXPORT int execveat(int dir, const char *path, char *const argv[], char *const env[], int flags)
{
	RETURN(int, sys5(SYS_execveat, dir, path, argv, COMPLETE(env), flags));
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		       const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
	return NEXT(posix_spawn)(pid, path, actions, attributes, argv, COMPLETE(env));
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
			const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
	return NEXT(posix_spawnp)(pid, file, actions, attributes, argv, COMPLETE(env));
}

/* The arguments of an execl-like function as an array on its stack; `list` is left behind the final NULL. */
#define GATHER(argv, first, list)                                                                            \
	do {                                                                                                 \
		va_list counted;                                                                             \
		size_t gather_count = 1;                                                                     \
		va_copy(counted, list);                                                                      \
		while (va_arg(counted, char *))                                                              \
			gather_count++;                                                                      \
		va_end(counted);                                                                             \
		argv = alloca((gather_count + 1) * sizeof(char *));                                          \
		argv[0] = (char *)first;                                                                     \
		for (size_t gathered = 1; gathered <= gather_count; gathered++)                              \
			argv[gathered] = va_arg(list, char *);                                               \
	} while (0)

EXPORT int execl(const char *path, const char *first, ...)
{
	va_list list;
	char **argv;

	va_start(list, first);
	GATHER(argv, first, list);
	va_end(list);
	return execv(path, argv);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
	va_list list;
	char **argv;

	va_start(list, first);
	GATHER(argv, first, list);
	va_end(list);
	return execvp(file, argv);
}

EXPORT int execle(const char *path, const char *first, ...)
{
	va_list list;
	char **argv;
	char *const *env;

	va_start(list, first);
	GATHER(argv, first, list);
	env = va_arg(list, char *const *);
	va_end(list);
	return execve(path, argv, env);
}
