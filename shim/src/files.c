/* Opening by name: a path of the engine's becomes a token, a path of the tree is opened there. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "shim.h"

/* The checks that Linux makes before a driver's open, in its order; then the daemon decides. */
static long open_ours(const struct path_hit *hit, int flags)
{
	const char *name = hit->kind == PATH_TREE ? hit->path + shim.tree_length : hit->path;
	struct call call = {
		.request = { .op = IOASIS_OP_OPEN,
			     .cmd = (uint32_t)flags,
			     .fd = -1,
			     .carried = (uint32_t)strlen(name) },
		.carry = name,
	};
	long fd;

	if (hit->kind == PATH_DEVICE) {
		if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL) && !hit->below)
			return -EEXIST;
		if (hit->trailing_slash || (flags & O_DIRECTORY))
			return -ENOTDIR;
		if (flags & O_DIRECT)
			return -EINVAL;
	}
	fd = channel_call(&call);
	if (fd >= 0)
		tokens_possible = true;
	return fd;
}

/* An O_PATH descriptor of a device has no open file behind it; that of its marker serves as well. */
static long open_marker(const struct path_hit *hit, int flags)
{
	char where[PATH_ROOM];

	if (!tree_place(hit->path, where))
		return -ENAMETOOLONG;
	return sys4(SYS_openat, AT_FDCWD, where, flags | O_NOFOLLOW, 0);
}

/* Nothing is made in a tree, and a file without a reader or a writer is not opened for one, whoever asks. */
static long open_in_tree(const struct path_hit *hit, int flags, unsigned mode)
{
	bool reads = (flags & O_ACCMODE) != O_WRONLY, writes = (flags & O_ACCMODE) != O_RDONLY;
	struct stat status;
	long error;

	if (!tree_has(hit->path) || (flags & O_PATH))
		return sys4(SYS_openat, AT_FDCWD, hit->path, flags, mode);
	error = sys4(SYS_newfstatat, AT_FDCWD, hit->path, &status, 0);
	if (error == -ENOENT && (flags & O_CREAT))
		return -EACCES;
	if (error < 0 || !S_ISREG(status.st_mode))
		return error < 0 ? error : sys4(SYS_openat, AT_FDCWD, hit->path, flags & ~O_CREAT, 0);
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return -EEXIST;
	if (flags & O_DIRECTORY)
		return -ENOTDIR;
	if ((reads && !(status.st_mode & 0444)) || (writes && !(status.st_mode & 0222)))
		return -EACCES;
	return hit->live ? open_ours(hit, flags) : sys4(SYS_openat, AT_FDCWD, hit->path, flags & ~O_CREAT, 0);
}

/* Opens what `hit` found; `path` is for a file that turns out not to be special. */
static long open_hit(const struct path_hit *hit, int dir, const char *path, int flags, unsigned mode)
{
	long fd;

	if (hit->kind == PATH_TREE)
		return open_in_tree(hit, flags, mode);
	if (flags & O_PATH)
		return hit->kind == PATH_DEVICE ? open_marker(hit, flags) : sys4(SYS_openat, dir, path, flags, mode);
	fd = open_ours(hit, flags);
	if (fd == -IOASIS_NOT_SPECIAL)
		fd = sys4(SYS_openat, dir, path, flags, mode);
	return fd;
}

/* A device was opened by a name that we did not recognise: the system's own must not be used in place of ours. */
__attribute__((noinline)) static long replace_if_ours(long fd, int flags)
{
	char name[PATH_ROOM];
	struct path_hit hit;

	if (!name_of((int)fd, name) || path_find(AT_FDCWD, name, &hit) != PATH_DEVICE)
		return fd;
	sys1(SYS_close, fd);
	return open_ours(&hit, flags);
}

/* The same for a path for which the system had this error. */
__attribute__((noinline)) long open_slowly(int dir, const char *path, int flags, unsigned mode, long error)
{
	struct path_hit hit;

	if (path_find_slowly(dir, path, &hit) == PATH_PLAIN)
		return error;
	if (hit.kind == PATH_DEVICE && (flags & O_NOFOLLOW) && error == -ELOOP)
		return error;
	return open_hit(&hit, dir, path, flags, mode);
}

/* False: it is the system's, as far as its name says. */
__attribute__((noinline)) bool open_by_name(int dir, const char *path, int flags, unsigned mode, long *fd)
{
	struct path_hit hit;

	if (path_find(dir, path, &hit) == PATH_PLAIN)
		return false;
	*fd = open_hit(&hit, dir, path, flags, mode);
	return true;
}

/* `fd` is what the system made of the path (a descriptor or -errno); the result is what the program gets. */
static long opened(long fd, int dir, const char *path, int flags, unsigned mode)
{
	struct stat status;

	if (fd < 0)
		return path_may_be_ours(fd) ? open_slowly(dir, path, flags, mode, fd) : fd;
	if (shim.tree_length > 0 && !(flags & O_PATH) && sys2(SYS_fstat, fd, &status) == 0 &&
	    S_ISCHR(status.st_mode))
		return replace_if_ours(fd, flags);
	return fd;
}

long open_at(int dir, const char *path, int flags, unsigned mode)
{
	long fd;

	if (open_by_name(dir, path, flags, mode, &fd))
		return fd;
	return opened(sys4(SYS_openat, dir, path, flags, mode), dir, path, flags, mode);
}

static unsigned mode_argument(int flags, va_list list)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, unsigned) : 0;
}

#define OPEN(name)                                                                                           \
	EXPORT int name(const char *path, int flags, ...)                                                    \
	{                                                                                                    \
		va_list list;                                                                                \
		unsigned mode;                                                                               \
		long fd;                                                                                     \
		va_start(list, flags);                                                                       \
		mode = mode_argument(flags, list);                                                           \
		va_end(list);                                                                                \
		if (!open_by_name(AT_FDCWD, path, flags, mode, &fd)) {                                       \
			fd = NEXT(name)(path, flags, mode);                                                  \
			fd = opened(fd < 0 ? -errno : fd, AT_FDCWD, path, flags, mode);                      \
		}                                                                                            \
		RETURN(int, fd);                                                                             \
	}
#define OPENAT(name)                                                                                         \
	EXPORT int name(int dir, const char *path, int flags, ...)                                           \
	{                                                                                                    \
		va_list list;                                                                                \
		unsigned mode;                                                                               \
		long fd;                                                                                     \
		va_start(list, flags);                                                                       \
		mode = mode_argument(flags, list);                                                           \
		va_end(list);                                                                                \
		if (!open_by_name(dir, path, flags, mode, &fd)) {                                            \
			fd = NEXT(name)(dir, path, flags, mode);                                             \
			fd = opened(fd < 0 ? -errno : fd, dir, path, flags, mode);                           \
		}                                                                                            \
		RETURN(int, fd);                                                                             \
	}

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

EXPORT int __open_2(const char *path, int flags)
{
	RETURN(int, open_at(AT_FDCWD, path, flags, 0));
}

EXPORT int __openat_2(int dir, const char *path, int flags)
{
	RETURN(int, open_at(dir, path, flags, 0));
}

ALIAS("__open_2") int __open64_2(const char *path, int flags);
ALIAS("__openat_2") int __openat64_2(int dir, const char *path, int flags);

EXPORT int creat(const char *path, mode_t mode)
{
	RETURN(int, open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode));
}

ALIAS("creat") int creat64(const char *path, mode_t mode);

static long access_at(int dir, const char *path, int mode, int flags)
{
	struct path_hit hit;
	enum path_kind kind = path_find(dir, path, &hit);
	long result;

	if (mode & ~(R_OK | W_OK | X_OK))
		return -EINVAL;
	if (kind == PATH_TREE)
		return sys3(SYS_faccessat, AT_FDCWD, hit.path, mode);
	if (kind != PATH_DEVICE) {
#ifdef SYS_faccessat2
		result = flags ? sys4(SYS_faccessat2, dir, path, mode, flags) : sys3(SYS_faccessat, dir, path, mode);
#else
		result = sys3(SYS_faccessat, dir, path, mode);
#endif
		if (kind == PATH_ASK && result == -ENOENT)
			return mode & X_OK ? -EACCES : 0;
		if (!path_may_be_ours(result) || path_find_slowly(dir, path, &hit) != PATH_DEVICE)
			return result;
	}
	if (hit.trailing_slash)
		return -ENOTDIR;
	return mode & X_OK ? -EACCES : 0;
}

EXPORT int access(const char *path, int mode)
{
	RETURN(int, access_at(AT_FDCWD, path, mode, 0));
}

EXPORT int faccessat(int dir, const char *path, int mode, int flags)
{
	RETURN(int, access_at(dir, path, mode, flags));
}

EXPORT int euidaccess(const char *path, int mode)
{
	RETURN(int, access_at(AT_FDCWD, path, mode, AT_EACCESS));
}

ALIAS("euidaccess") int eaccess(const char *path, int mode);

/* A name of ours is taken. */
#define TAKEN(name, parameters, arguments)                                                                   \
	EXPORT int name parameters                                                                           \
	{                                                                                                    \
		struct path_hit hit;                                                                         \
		if (path_find(AT_FDCWD, path, &hit) != PATH_DEVICE)                                          \
			return NEXT(name) arguments;                                                         \
		RETURN(int, hit.below ? -ENOTDIR : -EEXIST);                                                 \
	}
TAKEN(mkdir, (const char *path, mode_t mode), (path, mode))
TAKEN(mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode))
TAKEN(mkfifo, (const char *path, mode_t mode), (path, mode))
TAKEN(mkfifoat, (int dir, const char *path, mode_t mode), (dir, path, mode))
TAKEN(mknod, (const char *path, mode_t mode, dev_t device), (path, mode, device))
TAKEN(mknodat, (int dir, const char *path, mode_t mode, dev_t device), (dir, path, mode, device))
TAKEN(symlink, (const char *target, const char *path), (target, path))
TAKEN(symlinkat, (const char *target, int dir, const char *path), (target, dir, path))

/* The token that "/proc/self/fd/N" leads to, or -1. */
int token_of_path(const char *path, uint64_t *inode)
{
	static const char *const prefixes[] = { "/proc/self/fd/", "/dev/fd/" };

	for (size_t i = 0; tokens_possible && path && i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		size_t length = strlen(prefixes[i]);
		char *end;
		long fd;

		if (strncmp(path, prefixes[i], length) != 0)
			continue;
		fd = strtol(path + length, &end, 10);
		return *end || end == path + length || !is_token((int)fd, inode) ? -1 : (int)fd;
	}
	return -1;
}

/* "/proc/self/fd/N" shows the name of the file behind a token. */
static long token_link(const char *path, char *buf, size_t size)
{
	uint64_t inode, device;
	int fd = token_of_path(path, &inode);

	return fd < 0 ? -ENOENT : token_name(fd, inode, buf, size, &device);
}

static long readlink_at(int dir, const char *path, char *buf, size_t size)
{
	struct path_hit hit;
	enum path_kind kind;
	long got = token_link(path, buf, size);

	if (got >= 0)
		return got;
	kind = path_find(dir, path, &hit);
	if (kind == PATH_DEVICE)
		return hit.trailing_slash ? -ENOTDIR : -EINVAL;
	if (kind == PATH_TREE)
		return sys4(SYS_readlinkat, AT_FDCWD, hit.path, buf, size);
	got = sys4(SYS_readlinkat, dir, path, buf, size);
	return shim.shows_sys ? tree_strip_link(buf, got) : got;
}

EXPORT ssize_t readlink(const char *path, char *buf, size_t size)
{
	RETURN(ssize_t, readlink_at(AT_FDCWD, path, buf, size));
}

EXPORT ssize_t readlinkat(int dir, const char *path, char *buf, size_t size)
{
	RETURN(ssize_t, readlink_at(dir, path, buf, size));
}

ssize_t __readlink_chk(const char *path, char *buf, size_t size, size_t room);
EXPORT ssize_t __readlink_chk(const char *path, char *buf, size_t size, size_t room)
{
	RETURN(ssize_t, readlink_at(AT_FDCWD, path, buf, size < room ? size : room));
}

ssize_t __readlinkat_chk(int dir, const char *path, char *buf, size_t size, size_t room);
EXPORT ssize_t __readlinkat_chk(int dir, const char *path, char *buf, size_t size, size_t room)
{
	RETURN(ssize_t, readlink_at(dir, path, buf, size < room ? size : room));
}

/* The name without the tree in front of it, in a buffer as realpath hands out. */
static char *without_tree(char *resolved)
{
	if (resolved)
		tree_strip(resolved);
	return resolved;
}

EXPORT char *realpath(const char *path, char *resolved)
{
	struct path_hit hit;
	enum path_kind kind = path_find(AT_FDCWD, path, &hit);
	char *found;

	if (kind == PATH_TREE)
		return without_tree(NEXT(realpath)(hit.path, resolved));
	if (kind != PATH_DEVICE) {
		found = NEXT(realpath)(path, resolved);
		if (found || !path_may_be_ours(-errno) || path_find_slowly(AT_FDCWD, path, &hit) != PATH_DEVICE)
			return found;
	}
	if (hit.trailing_slash) {
		errno = ENOTDIR;
		return NULL;
	}
	return resolved ? strcpy(resolved, hit.path) : strdup(hit.path);
}

EXPORT char *canonicalize_file_name(const char *path)
{
	return realpath(path, NULL);
}

char *__realpath_chk(const char *path, char *resolved, size_t room);
EXPORT char *__realpath_chk(const char *path, char *resolved, size_t room)
{
	(void)room;
	return realpath(path, resolved);
}

/* A device of ours has no extended attributes; ls asks for them. */
#define ATTRIBUTES(name, parameters, arguments, answer)                                                      \
	EXPORT ssize_t name parameters                                                                       \
	{                                                                                                    \
		struct path_hit hit;                                                                         \
		enum path_kind kind = path_find(AT_FDCWD, path, &hit);                                       \
		if (kind == PATH_DEVICE)                                                                     \
			RETURN(ssize_t, answer);                                                             \
		if (kind == PATH_TREE)                                                                       \
			path = hit.path;                                                                     \
		return NEXT(name) arguments;                                                                 \
	}
#define GETXATTR_PARAMETERS (const char *path, const char *attribute, void *value, size_t size)
#define LISTXATTR_PARAMETERS (const char *path, char *list, size_t size)
ATTRIBUTES(getxattr, GETXATTR_PARAMETERS, (path, attribute, value, size), -ENODATA)
ATTRIBUTES(lgetxattr, GETXATTR_PARAMETERS, (path, attribute, value, size), -ENODATA)
ATTRIBUTES(listxattr, LISTXATTR_PARAMETERS, (path, list, size), 0)
ATTRIBUTES(llistxattr, LISTXATTR_PARAMETERS, (path, list, size), 0)
