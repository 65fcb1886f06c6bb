/*
 * The daemon's tree of /sys and /dev, and the directories in it that a program has opened or works in. What stat, readdir
 * and readlink say of it the kernel answers; here is only decided which of two places a name belongs to: the tree, or
 * the system. Modes of its directories say whose the names in them are (see protocol.h).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>

#include "shim.h"

#define MODE_BITS 01777

/* Whether the program's own directory is one that relative names have to be looked at in. */
static _Atomic bool cwd_matters;

bool tree_has(const char *path)
{
	return strncmp(path, shim.tree, shim.tree_length) == 0 &&
	       (path[shim.tree_length] == '/' || path[shim.tree_length] == 0);
}

/* Where `name` is in the tree; false if that is too long, with a slash more. */
bool tree_place(const char *name, char where[PATH_ROOM])
{
	size_t length = strlen(name);

	if (shim.tree_length + length + 2 > PATH_ROOM)
		return false;
	memcpy(where, shim.tree, shim.tree_length);
	memcpy(where + shim.tree_length, name, length + 1);
	return true;
}

/* Removes the tree from the front of a name. */
void tree_strip(char *name)
{
	if (!tree_has(name))
		return;
	if (name[shim.tree_length] == 0)
		memcpy(name, "/", 2);
	else
		memmove(name, name + shim.tree_length, strlen(name + shim.tree_length) + 1);
}

/* The same of a link that was read, `got` bytes without a zero; what is cut short stays as it is. */
long tree_strip_link(char *buf, long got)
{
	long more = got - (long)shim.tree_length;

	if (more < 0 || strncmp(buf, shim.tree, shim.tree_length) != 0 || (more > 0 && buf[shim.tree_length] != '/'))
		return got;
	if (more == 0)
		buf[more++] = '/';
	else
		memmove(buf, buf + shim.tree_length, (size_t)more);
	return more;
}

/* The name that the kernel has for a descriptor, or for the program's directory; false for one too long. */
bool name_of(int dir, char to[PATH_ROOM])
{
	char link[32] = "/proc/self/fd/";
	size_t at = 14;
	long got;

	if (dir == AT_FDCWD) {
		memcpy(link, "/proc/self/cwd", 15);
	} else {
		for (long scale = 1000000000; scale > 0; scale /= 10)
			if (dir >= scale || scale == 1)
				link[at++] = (char)('0' + dir / scale % 10);
		link[at] = 0;
	}
	got = sys4(SYS_readlinkat, AT_FDCWD, link, to, PATH_ROOM - 1);
	if (got <= 0 || got == PATH_ROOM - 1)
		return false;
	to[got] = 0;
	return true;
}

/* Whether a descriptor is of a file or directory in the tree. */
bool tree_holds(int fd)
{
	char name[PATH_ROOM];

	return shim.shows_sys && fd >= 0 && name_of(fd, name) && tree_has(name);
}

static bool is_near(const char *name)
{
	return tree_has(name) || strcmp(name, "/") == 0 || strcmp(name, "/sys") == 0 || starts_with(name, "/sys/");
}

/* After the program's directory has changed, and at its start. */
void tree_moved(void)
{
	char name[PATH_ROOM];

	if (shim.shows_sys)
		cwd_matters = name_of(AT_FDCWD, name) && is_near(name);
}

/*
 * The absolute name of `path`, relative to `dir`, if it may be one of the tree's; *inside: `dir` is in the tree, so the
 * kernel would look for it there.
 */
bool tree_absolute(int dir, const char *path, char to[PATH_ROOM], bool *inside)
{
	size_t length, more;

	if (!shim.shows_sys || (dir == AT_FDCWD ? !cwd_matters : dir < 0) || *path == 0)
		return false;
	more = strlen(path);
	if (!name_of(dir, to) || !is_near(to))
		return false;
	*inside = tree_has(to);
	tree_strip(to);
	length = strlen(to);
	if (length + more + 2 > PATH_ROOM)
		return false;
	to[length] = '/';
	memcpy(to + length + 1, path, more + 1);
	return true;
}

/* Waits until the tree has all of /sys: the daemon answers nobody before. True: it had not. */
bool tree_complete(void)
{
	struct call call = { .request = { .op = IOASIS_OP_IDENTIFY, .fd = -1 } };

	if (!shim.sys_pending)
		return false;
	channel_call(&call);
	shim.sys_pending = false;
	return true;
}

/* Before "..": if the directory is in the tree, its name becomes that of where it is, whatever links led there. */
bool tree_settle(char *path, size_t *length)
{
	char where[PATH_ROOM], name[PATH_ROOM];
	bool found = false;
	long fd;

	path[*length] = 0;
	if (!shim.shows_sys || !(starts_with(path, "/sys/") || starts_with(path, "/dev/")) || !tree_place(path, where))
		return false;
	tree_complete();
	fd = sys4(SYS_openat, AT_FDCWD, where, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	if (name_of((int)fd, name) && tree_has(name)) {
		found = true;
		tree_strip(name);
		*length = strlen(name);
		memcpy(path, name, *length + 1);
	}
	sys1(SYS_close, fd);
	return found;
}

static bool is_system(const struct stat *status)
{
	if (S_ISDIR(status->st_mode))
		return (status->st_mode & MODE_BITS) == IOASIS_TREE_SYSTEM;
	return S_ISREG(status->st_mode) && (status->st_mode & MODE_BITS) == 0;
}

/* Whose a name is that is not in the tree: the nearest directory above it that is there says so. */
static enum path_kind find_missing(const struct path_hit *hit, char *where)
{
	size_t end = shim.tree_length + hit->length;
	struct stat status;

	do {
		while (where[--end] != '/')
			;
		where[end] = 0;
		if (end == shim.tree_length)
			return PATH_PLAIN;
	} while (sys4(SYS_newfstatat, AT_FDCWD, where, &status, 0) < 0);
	if (S_ISDIR(status.st_mode) && (status.st_mode & MODE_BITS) != IOASIS_TREE_OURS)
		return PATH_PLAIN;
	return is_system(&status) ? PATH_PLAIN : PATH_TREE;
}

/*
 * Looks for hit->path, which no marker stands for; `link` is what reading it as a link has said: -EINVAL for what is there
 * and none. For PATH_TREE it becomes the name of what is to be used instead.
 */
enum path_kind tree_find(struct path_hit *hit, long link)
{
	char where[PATH_ROOM], up[PATH_ROOM];
	struct stat status;
	bool found = link >= 0;

	if (!tree_place(hit->path, where))
		return PATH_PLAIN;
	if (link == -EINVAL && sys4(SYS_newfstatat, AT_FDCWD, where, &status, AT_SYMLINK_NOFOLLOW) == 0) {
		if (is_system(&status))
			return PATH_PLAIN;
		found = true;
		hit->live = S_ISREG(status.st_mode) && status.st_mtim.tv_nsec == IOASIS_LIVE_NSEC;
	}
	memcpy(up, where, strlen(where) + 1);
	if (!found && find_missing(hit, up) == PATH_PLAIN)
		return PATH_PLAIN;
	if (hit->trailing_slash)
		strcat(where, "/");
	memcpy(hit->path, where, strlen(where) + 1);
	return PATH_TREE;
}
