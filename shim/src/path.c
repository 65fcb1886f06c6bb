/*
 * Which paths are the engine's. The daemon keeps a tree of markers (see protocol.h), so nothing here knows a name:
 * a path below /dev, /sys or /proc is looked up in the tree first; any other only if the system does not find it,
 * because it may be a link, or relative to a directory, and still end at a device of ours.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "shim.h"

#define LINKS_MAX 40
#define MARK_ROOM 64

/*
 * Writes the absolute `path` without empty, "." and ".." parts. False when it does not fit. A part that is a link to a
 * directory is looked at only below /sys and before "..": elsewhere nobody goes up through one.
 */
static bool normalise(const char *path, struct path_hit *hit)
{
	char *out = hit->path;
	size_t used = 0;

	hit->length = 1;
	hit->trailing_slash = hit->from_tree = false;
	while (*path) {
		size_t part = strcspn(path + 1, "/");

		hit->trailing_slash = part == 0 || (part == 1 && path[1] == '.');
		if (part == 2 && path[1] == '.' && path[2] == '.') {
			hit->from_tree |= tree_settle(out, &used);
			while (used > 0 && out[--used] != '/')
				;
			hit->trailing_slash = true;
		} else if (!hit->trailing_slash) {
			if (used + part + 2 > PATH_ROOM)
				return false;
			memcpy(out + used, path, part + 1);
			used += part + 1;
		}
		path += part + 1;
	}
	out[used] = 0;
	hit->length = used;
	return used > 0;
}

static unsigned number(const char **text, unsigned base)
{
	unsigned value = 0;

	for (; **text >= '0' && **text < (char)('0' + base); ++*text)
		value = value * base + (unsigned)(**text - '0');
	if (**text == ':')
		++*text;
	return value;
}

/* Reads the marker at `name` in the tree: its length, or -errno, -EINVAL for what is there and no link. */
static long read_marker(const char *name, char mark[MARK_ROOM])
{
	char where[PATH_ROOM];
	long got;

	if (!tree_place(name, where))
		return -ENAMETOOLONG;
	got = sys4(SYS_readlinkat, AT_FDCWD, where, mark, MARK_ROOM - 1);
	if (got >= 0)
		mark[got] = 0;
	return got;
}

static bool is_marked(const char *name, const char *as)
{
	char mark[MARK_ROOM];

	return read_marker(name, mark) >= 0 && starts_with(mark, as);
}

static enum path_kind look_up_process_file(const struct path_hit *hit)
{
	char name[40] = "/proc";
	const char *base = strrchr(hit->path, '/');

	/* /proc/stat is not /proc/self/stat. */
	if (base == hit->path + 5 || strlen(base) > 30)
		return PATH_PLAIN;
	return is_marked(strcat(name, base), IOASIS_MARK_ASK) ? PATH_ASK : PATH_PLAIN;
}

/* "/dev/NAME/x", of a device that is no directory, becomes the device. */
static bool cut_at_device(struct path_hit *hit)
{
	for (size_t end = hit->length; end-- > sizeof("/dev/");) {
		if (hit->path[end] != '/')
			continue;
		hit->path[end] = 0;
		if (is_marked(hit->path, IOASIS_MARK_DEVICE)) {
			hit->length = end;
			hit->trailing_slash = hit->below = true;
			return true;
		}
		hit->path[end] = '/';
	}
	return false;
}

/* Whether the path goes on below a file that is asked for: then the rest of it says what for. */
static bool asked_below(const struct path_hit *hit)
{
	char parent[PATH_ROOM];
	size_t length = (size_t)(strrchr(hit->path, '/') - hit->path);

	memcpy(parent, hit->path, length);
	parent[length] = 0;
	return is_marked(parent, IOASIS_MARK_ASK);
}

static enum path_kind device_of(struct path_hit *hit, const char *mark)
{
	const char *text = mark + sizeof(IOASIS_MARK_DEVICE) - 1;

	hit->major = number(&text, 10);
	hit->minor = number(&text, 10);
	hit->mode = number(&text, 8);
	return PATH_DEVICE;
}

static enum path_kind look_up_device(struct path_hit *hit)
{
	char mark[MARK_ROOM];
	long got = read_marker(hit->path, mark);

	hit->below = false;
	if (got == -ENOENT && cut_at_device(hit))
		got = read_marker(hit->path, mark);
	return got >= 0 && starts_with(mark, IOASIS_MARK_DEVICE) ? device_of(hit, mark) : tree_find(hit, got);
}

static enum path_kind look_up_system_file(struct path_hit *hit)
{
	char mark[MARK_ROOM];
	long got = read_marker(hit->path, mark);

	if (got >= 0 && starts_with(mark, IOASIS_MARK_ASK))
		return PATH_ASK;
	/* What is asked for is there from the start; all else comes later. */
	if (tree_complete())
		got = read_marker(hit->path, mark);
	if (got == -ENOENT && asked_below(hit))
		return PATH_ASK;
	return got >= 0 && starts_with(mark, IOASIS_MARK_SYSTEM) ? PATH_PLAIN : tree_find(hit, got);
}

static enum path_kind look_up(struct path_hit *hit)
{
	if (starts_with(hit->path, "/proc/"))
		return look_up_process_file(hit);
	if (starts_with(hit->path, "/dev/"))
		return look_up_device(hit);
	return starts_with(hit->path, "/sys/") ? look_up_system_file(hit) : PATH_PLAIN;
}

/* A number that was passed for a path is the kernel's to refuse. */
static bool may_be_text(const char *path)
{
	return (uintptr_t)path >= 4096 && (uintptr_t)path <= INTPTR_MAX;
}

/* What is the system's, but was looked for from the tree, gets its absolute name there. */
static enum path_kind find_absolute(const char *path, bool from_tree, struct path_hit *hit)
{
	bool fits = normalise(path, hit);

	if (fits)
		hit->kind = look_up(hit);
	else if (hit->length == 0)
		memcpy(hit->path, "/", 2);
	if (hit->kind == PATH_PLAIN && (from_tree || hit->from_tree) && (fits || hit->length == 0))
		hit->kind = PATH_TREE;
	return hit->kind;
}

/* A relative name, where it matters. */
static enum path_kind find_relative(int dir, const char *path, struct path_hit *hit)
{
	char name[PATH_ROOM];
	bool inside;

	return tree_absolute(dir, path, name, &inside) ? find_absolute(name, inside, hit) : PATH_PLAIN;
}

/* By its name alone: costs nothing for a path that is not below /dev, /sys or /proc, nor relative to one that is. */
enum path_kind path_find(int dir, const char *path, struct path_hit *hit)
{
	hit->kind = PATH_PLAIN;
	hit->live = false;
	if (!may_be_text(path))
		return PATH_PLAIN;
	shim_start();
	if (path[0] != '/')
		return find_relative(dir, path, hit);
	return shim.tree_length == 0 ? PATH_PLAIN : find_absolute(path, false, hit);
}

bool path_may_be_ours(long error)
{
	return shim.tree_length > 0 && (error == -ENOENT || error == -EACCES || error == -ENXIO || error == -ENODEV ||
					error == -ENOTDIR || error == -ELOOP);
}

/* The absolute name of the directory in which the last part of `path` lies, then that part, into `to`. */
static bool absolute_name(int dir, const char *path, char *to)
{
	char parent[PATH_ROOM];
	const char *slash = strrchr(path, '/');
	size_t head = slash ? (size_t)(slash - path) + 1 : 0, length;
	const char *base = path + head;
	bool named;
	long fd;

	if (head >= PATH_ROOM)
		return false;
	memcpy(parent, path, head);
	memcpy(parent + head, ".", 2);
	fd = sys4(SYS_openat, dir, parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	named = name_of((int)fd, to);
	sys1(SYS_close, fd);
	if (!named || (length = strlen(to)) + strlen(base) + 2 > PATH_ROOM)
		return false;
	to[length] = '/';
	memcpy(to + length + 1, base, strlen(base) + 1);
	/* A directory of the tree stands for the one it was taken for. */
	tree_strip(to);
	return true;
}

/* Follows links and relative parts; for a path that the system did not find. */
__attribute__((noinline)) enum path_kind path_find_slowly(int dir, const char *path, struct path_hit *hit)
{
	char name[PATH_ROOM], target[PATH_ROOM];

	if (!may_be_text(path) || !*path || strlen(path) >= PATH_ROOM)
		return PATH_PLAIN;
	memcpy(target, path, strlen(path) + 1);
	for (int links = 0; links < LINKS_MAX; links++) {
		long got;

		if (target[0] == '/' && path_find(AT_FDCWD, target, hit) != PATH_PLAIN)
			return hit->kind;
		if (!absolute_name(dir, target, name))
			break;
		if (path_find(AT_FDCWD, name, hit) != PATH_PLAIN)
			return hit->kind;
		got = sys4(SYS_readlinkat, AT_FDCWD, name, target, PATH_ROOM - 1);
		if (got <= 0)
			break;
		target[got] = 0;
		if (target[0] != '/') {
			size_t head = (size_t)(strrchr(name, '/') - name) + 1;

			if (head + (size_t)got >= PATH_ROOM)
				break;
			memmove(target + head, target, (size_t)got + 1);
			memcpy(target, name, head);
		}
		dir = AT_FDCWD;
	}
	hit->kind = PATH_PLAIN;
	return PATH_PLAIN;
}

/* What stat says of a device of ours. */
void path_marker_stat(const struct path_hit *hit, struct stat *status)
{
	char where[PATH_ROOM];

	memset(status, 0, sizeof(*status));
	if (tree_place(hit->path, where))
		sys4(SYS_newfstatat, AT_FDCWD, where, status, AT_SYMLINK_NOFOLLOW);
	status->st_mode = S_IFCHR | hit->mode;
	status->st_rdev = makedev(hit->major, hit->minor);
	status->st_nlink = 1;
	status->st_size = 0;
	status->st_blocks = 0;
}
