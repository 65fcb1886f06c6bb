/* What the shim is told at its start: where the daemon is, and what the parent image had set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

struct shim_setup shim;

/* Every descriptor that this image was started with may be a token. */
static bool inherited_pipe(void)
{
	struct stat status;

	for (int fd = 0; fd < 64; fd++)
		if (sys2(SYS_fstat, fd, &status) == 0 && S_ISFIFO(status.st_mode))
			return true;
	return false;
}

void shim_start(void)
{
	static _Atomic int started;
	const char *path = getenv("IOASIS_SOCKET");
	size_t length = path ? strlen(path) : 0;
	char marker[SOCKET_MAX + 32];

	if (atomic_exchange(&started, 1))
		return;
	if (length == 0 || length >= SOCKET_MAX)
		return;
	memcpy(shim.socket, path, length + 1);
	shim.tree_length = length + sizeof(IOASIS_TREE_SUFFIX) - 1;
	memcpy(shim.tree, path, length);
	memcpy(shim.tree + length, IOASIS_TREE_SUFFIX, sizeof(IOASIS_TREE_SUFFIX));
	memcpy(marker, shim.tree, shim.tree_length);
	memcpy(marker + shim.tree_length, "/lend", sizeof("/lend"));
	shim.lends = sys3(SYS_faccessat, -100, marker, 0) == 0;
	lent_start(getenv("IOASIS_LENT"));
	tokens_possible = inherited_pipe();
}

void *next_function(void **cached, const char *name)
{
	void *found = __atomic_load_n(cached, __ATOMIC_RELAXED);

	if (!found) {
		found = dlsym(RTLD_NEXT, name);
		__atomic_store_n(cached, found, __ATOMIC_RELAXED);
	}
	return found;
}

__attribute__((constructor)) static void load(void)
{
	shim_start();
}
