/* stat and its relatives: a device of the engine's is a character device, whatever stands for it underneath. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "shim.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#define ANONYMOUS_MODE 0600
#define PAGE 4096

/* What fstat says of a token: the device that was opened, or an anonymous inode. */
__attribute__((noinline)) static void token_stat(int fd, uint64_t inode, struct stat *status)
{
	struct path_hit hit;
	char name[PATH_ROOM];
	uint64_t device = 0;
	long length = token_name(fd, inode, name, sizeof(name) - 1, &device);

	status->st_mode = ANONYMOUS_MODE;
	status->st_rdev = 0;
	status->st_blksize = PAGE;
	status->st_mtim = status->st_ctim;
	if (length <= 0)
		return;
	name[length] = 0;
	if (path_find(AT_FDCWD, name, &hit) == PATH_DEVICE) {
		path_marker_stat(&hit, status);
	} else if (device) {
		/* The tree cannot be reached from here. */
		status->st_mode = S_IFCHR | (device & 07777);
		status->st_rdev = makedev(device >> 32, device >> 12 & 0xfffff);
	} else if (name[0] == '/') {
		status->st_mode = S_IFREG | 0644;
	}
}

static long fstat_raw(int fd, struct stat *status)
{
	long result = sys2(SYS_fstat, fd, status);
	uint64_t inode;

	if (result == 0 && tokens_possible && token_named(status) && is_token(fd, &inode))
		token_stat(fd, inode, status);
	return result;
}

/* What the tree is made of is nobody's business. */
static void tree_stat(struct stat *status)
{
	status->st_blocks = 0;
	if (S_ISDIR(status->st_mode)) {
		status->st_mode &= ~(mode_t)S_ISVTX;
		status->st_size = 0;
	} else if (S_ISREG(status->st_mode)) {
		status->st_nlink = 1;
		if (status->st_mtim.tv_nsec != IOASIS_LIVE_NSEC)
			status->st_size = PAGE;
	}
}

__attribute__((noinline)) static bool stat_ours(int dir, const char *path, struct stat *status, int flags,
						long *result)
{
	struct path_hit hit;
	enum path_kind kind = *result == 0 ? path_find(dir, path, &hit) : path_find_slowly(dir, path, &hit);
	uint64_t inode;
	int fd;

	if (!(flags & AT_SYMLINK_NOFOLLOW) && (fd = token_of_path(path, &inode)) >= 0) {
		*result = fstat_raw(fd, status);
		return true;
	}
	if (kind == PATH_TREE) {
		*result = sys4(SYS_newfstatat, AT_FDCWD, hit.path, status, flags & AT_SYMLINK_NOFOLLOW);
		if (*result == 0 && tree_has(hit.path))
			tree_stat(status);
	} else if (kind == PATH_DEVICE) {
		path_marker_stat(&hit, status);
		*result = hit.trailing_slash ? -ENOTDIR : 0;
	} else if (kind == PATH_ASK && *result < 0) {
		memset(status, 0, sizeof(*status));
		status->st_mode = S_IFREG | 0644;
		status->st_nlink = 1;
		*result = 0;
	} else {
		return false;
	}
	return true;
}

static long stat_at(int dir, const char *path, struct stat *status, int flags)
{
	long result = 0;

	if (path && !*path && (flags & AT_EMPTY_PATH) && dir >= 0)
		return fstat_raw(dir, status);
	if (stat_ours(dir, path, status, flags, &result))
		return result;
	result = sys4(SYS_newfstatat, dir, path, status, flags);
	if (path_may_be_ours(result) && !(flags & AT_SYMLINK_NOFOLLOW))
		stat_ours(dir, path, status, flags, &result);
	return result;
}

EXPORT int stat(const char *path, struct stat *status)
{
	RETURN(int, stat_at(AT_FDCWD, path, status, 0));
}

EXPORT int lstat(const char *path, struct stat *status)
{
	RETURN(int, stat_at(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW));
}

EXPORT int fstat(int fd, struct stat *status)
{
	RETURN(int, fstat_raw(fd, status));
}

EXPORT int fstatat(int dir, const char *path, struct stat *status, int flags)
{
	RETURN(int, stat_at(dir, path, status, flags));
}

/* On 64-bit machines both kinds of struct stat are one. */
int stat64(const char *path, struct stat *status);
int lstat64(const char *path, struct stat *status);
int fstat64(int fd, struct stat *status);
int fstatat64(int dir, const char *path, struct stat *status, int flags);

EXPORT int stat64(const char *path, struct stat *status)
{
	RETURN(int, stat_at(AT_FDCWD, path, status, 0));
}

EXPORT int lstat64(const char *path, struct stat *status)
{
	RETURN(int, stat_at(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW));
}

EXPORT int fstat64(int fd, struct stat *status)
{
	RETURN(int, fstat_raw(fd, status));
}

EXPORT int fstatat64(int dir, const char *path, struct stat *status, int flags)
{
	RETURN(int, stat_at(dir, path, status, flags));
}

/* What programs built against glibc before 2.33 call. */
#define VERSIONED(name, parameters, call)                                                                    \
	int name parameters;                                                                                 \
	EXPORT int name parameters                                                                           \
	{                                                                                                    \
		(void)version;                                                                               \
		RETURN(int, call);                                                                           \
	}
VERSIONED(__xstat, (int version, const char *path, struct stat *status), stat_at(AT_FDCWD, path, status, 0))
VERSIONED(__lxstat, (int version, const char *path, struct stat *status),
	  stat_at(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW))
VERSIONED(__fxstat, (int version, int fd, struct stat *status), fstat_raw(fd, status))
VERSIONED(__fxstatat, (int version, int dir, const char *path, struct stat *status, int flags),
	  stat_at(dir, path, status, flags))
VERSIONED(__xstat64, (int version, const char *path, struct stat *status), stat_at(AT_FDCWD, path, status, 0))
VERSIONED(__lxstat64, (int version, const char *path, struct stat *status),
	  stat_at(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW))
VERSIONED(__fxstat64, (int version, int fd, struct stat *status), fstat_raw(fd, status))
VERSIONED(__fxstatat64, (int version, int dir, const char *path, struct stat *status, int flags),
	  stat_at(dir, path, status, flags))

/* The start of struct statx; the C library declares it only with extensions that change struct stat's functions. */
struct statx_start {
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare;
	uint64_t ino, size, blocks, attributes_mask;
	struct {
		int64_t sec;
		uint32_t nsec;
		int32_t pad;
	} times[4];
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
};
/* Of times. */
#define MODIFIED 3

int statx(int dir, const char *path, int flags, unsigned mask, struct statx_start *out);
EXPORT int statx(int dir, const char *path, int flags, unsigned mask, struct statx_start *out)
{
	struct stat status;
	long ours = -1, result;
	bool by_fd = path && !*path && (flags & AT_EMPTY_PATH);
	uint64_t inode;

	if (by_fd) {
		result = sys5(SYS_statx, dir, path, flags, mask, out);
		if (result < 0 || !tokens_possible || !is_token(dir, &inode))
			RETURN(int, result);
		fstat_raw(dir, &status);
	} else {
		ours = 0;
		if (!stat_ours(dir, path, &status, flags, &ours)) {
			result = sys5(SYS_statx, dir, path, flags, mask, out);
			ours = result;
			if (!path_may_be_ours(result) || !stat_ours(dir, path, &status, flags, &ours))
				RETURN(int, result);
		}
		if (ours < 0)
			RETURN(int, ours);
		result = sys5(SYS_statx, AT_FDCWD, shim.tree, flags & ~AT_EMPTY_PATH, mask, out);
		if (result < 0)
			RETURN(int, result);
	}
	out->mode = (uint16_t)status.st_mode;
	out->ino = status.st_ino;
	out->size = (uint64_t)status.st_size;
	out->nlink = (uint32_t)status.st_nlink;
	out->blocks = 0;
	out->blksize = (uint32_t)status.st_blksize;
	out->times[MODIFIED].sec = status.st_mtim.tv_sec;
	out->times[MODIFIED].nsec = (uint32_t)status.st_mtim.tv_nsec;
	out->rdev_major = major(status.st_rdev);
	out->rdev_minor = minor(status.st_rdev);
	return 0;
}
