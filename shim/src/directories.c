/* The program's own directory, and what libc walks inside, where nobody could step in: it starts in the tree instead. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "shim.h"

static long change_directory(const char *path)
{
	struct path_hit hit;
	long result = sys1(SYS_chdir, path_find(AT_FDCWD, path, &hit) == PATH_TREE ? hit.path : path);

	tree_moved();
	return result;
}

EXPORT int chdir(const char *path)
{
	RETURN(int, change_directory(path));
}

EXPORT int fchdir(int fd)
{
	long result = sys1(SYS_fchdir, fd);

	tree_moved();
	RETURN(int, result);
}

EXPORT char *getcwd(char *buf, size_t size)
{
	char *name = NEXT(getcwd)(buf, size);

	if (name)
		tree_strip(name);
	return name;
}

char *__getcwd_chk(char *buf, size_t size, size_t room);
EXPORT char *__getcwd_chk(char *buf, size_t size, size_t room)
{
	return getcwd(buf, size < room ? size : room);
}

EXPORT char *get_current_dir_name(void)
{
	char *name = NEXT(get_current_dir_name)();

	if (name)
		tree_strip(name);
	return name;
}

EXPORT DIR *opendir(const char *path)
{
	struct path_hit hit;

	return NEXT(opendir)(path_find(AT_FDCWD, path, &hit) == PATH_TREE ? hit.path : path);
}

#define SCANDIR(name, entry)                                                                                 \
	EXPORT int name(const char *path, struct entry ***list, int (*filter)(const struct entry *),         \
			int (*compare)(const struct entry **, const struct entry **))                        \
	{                                                                                                    \
		struct path_hit hit;                                                                         \
		const char *place = path_find(AT_FDCWD, path, &hit) == PATH_TREE ? hit.path : path;          \
		return NEXT(name)(place, list, filter, compare);                                             \
	}
SCANDIR(scandir, dirent)
SCANDIR(scandir64, dirent64)

/* What is behind the tree is not what the program asks about. */
#define STATFS(name, type)                                                                                   \
	EXPORT int name(const char *path, struct type *status)                                               \
	{                                                                                                    \
		struct path_hit hit;                                                                         \
		bool ours = path_find(AT_FDCWD, path, &hit) == PATH_TREE && tree_has(hit.path);              \
		return NEXT(name)(ours ? "/sys" : path, status);                                             \
	}
#define FSTATFS(name, type)                                                                                  \
	EXPORT int name(int fd, struct type *status)                                                         \
	{                                                                                                    \
		return tree_holds(fd) ? NEXT(statfs)("/sys", (struct statfs *)status) : NEXT(name)(fd, status); \
	}
STATFS(statfs, statfs)
STATFS(statfs64, statfs64)
FSTATFS(fstatfs, statfs)
FSTATFS(fstatfs64, statfs64)

static void close_directory(void *directory)
{
	closedir(directory);
}

/* glob takes functions to look with: ours. */
static int glob_there(int (*next)(const char *, int, int (*)(const char *, int), glob_t *), const char *pattern,
		      int flags, int (*failed)(const char *, int), glob_t *found)
{
	if (!shim.shows_sys || flags & GLOB_ALTDIRFUNC)
		return next(pattern, flags, failed, found);
	found->gl_opendir = (void *(*)(const char *))opendir;
	found->gl_readdir = (struct dirent * (*)(void *)) readdir;
	found->gl_closedir = close_directory;
	found->gl_stat = stat;
	found->gl_lstat = lstat;
	return next(pattern, flags | GLOB_ALTDIRFUNC, failed, found);
}

EXPORT int glob(const char *pattern, int flags, int (*failed)(const char *, int), glob_t *found)
{
	return glob_there(NEXT(glob), pattern, flags, failed, found);
}

ALIAS("glob") int glob64(const char *pattern, int flags, int (*failed)(const char *, int), glob64_t *found);
