/* What the shim is told at its start: where the daemon is, and what the parent image had set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

struct shim_setup shim;

struct entry {
	uint64_t inode;
	int64_t next;
	uint16_t length;
	uint8_t type;
	char name[];
};

static bool may_be_token(int fd)
{
	struct stat status;

	return sys2(SYS_fstat, fd, &status) == 0 && token_named(&status) != 0;
}

/* Every descriptor that this image was started with may be a token. */
static bool inherited_token(void)
{
	union {
		struct entry first;
		char bytes[1024];
	} list;
	long dir = sys4(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), got = -1;
	bool found = false;

	while (!found && dir >= 0 && (got = sys3(SYS_getdents64, dir, &list, sizeof(list))) > 0) {
		for (long at = 0; at < got && !found;) {
			const struct entry *entry = (const struct entry *)(list.bytes + at);

			found = entry->name[0] != '.' && may_be_token(atoi(entry->name));
			at += entry->length;
		}
	}
	if (dir >= 0)
		sys1(SYS_close, dir);
	/* Without /proc nobody knows. */
	return found || got < 0;
}

static bool is_in_tree(const char *name)
{
	char where[PATH_ROOM];

	return tree_place(name, where) && sys3(SYS_faccessat, AT_FDCWD, where, 0) == 0;
}

void shim_start(void)
{
	static _Atomic int started;
	const char *path = getenv("IOASIS_SOCKET");
	size_t length = path ? strlen(path) : 0;

	if (atomic_exchange(&started, 1))
		return;
	if (length == 0 || length >= SOCKET_MAX)
		return;
	memcpy(shim.socket, path, length + 1);
	shim.tree_length = length + sizeof(IOASIS_TREE_SUFFIX) - 1;
	memcpy(shim.tree, path, length);
	memcpy(shim.tree + length, IOASIS_TREE_SUFFIX, sizeof(IOASIS_TREE_SUFFIX));
	shim.lends = is_in_tree("/lend");
	shim.traps = is_in_tree("/traps");
	shim.sys_pending = is_in_tree("/" IOASIS_SYS_PENDING);
	shim.shows_sys = shim.sys_pending || is_in_tree("/sys/bus");
	tree_moved();
	lent_start(getenv("IOASIS_LENT"));
	tokens_possible = inherited_token();
	for (int fd = 0; tokens_possible && fd < 3; fd++)
		stream_follow(fd);
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
