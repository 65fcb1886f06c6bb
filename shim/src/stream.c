/*
 * Streams of stdio for files that the daemon answers. libc opens, reads and writes inside, where nobody can step in, so such
 * a stream is one that calls us. The standard streams become ones while their descriptors are such files: that is how a
 * shell writes to an attribute, and it wants to know what became of it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>

#include "shim.h"
#include "wrappers.h"

static ssize_t read_stream(void *cookie, char *buf, size_t count)
{
	RETURN(ssize_t, do_transfer(IOASIS_OP_READ, SYS_read, (int)(intptr_t)cookie, buf, count, 0));
}

static ssize_t write_stream(void *cookie, const char *buf, size_t count)
{
	long moved = do_transfer(IOASIS_OP_WRITE, SYS_write, (int)(intptr_t)cookie, (void *)buf, count, 0);

	if (moved < 0)
		errno = (int)-moved;
	return moved < 0 ? 0 : moved;
}

static int seek_stream(void *cookie, off64_t *offset, int whence)
{
	long result = do_lseek((int)(intptr_t)cookie, *offset, whence);

	if (result >= 0)
		*offset = result;
	RETURN(int, result < 0 ? result : 0);
}

static int close_stream(void *cookie)
{
	RETURN(int, do_close((int)(intptr_t)cookie));
}

static bool is_wanted(int fd)
{
	uint64_t inode;

	return tokens_possible && is_token(fd, &inode);
}

static FILE *make_stream(int fd, const char *mode)
{
	static const cookie_io_functions_t functions = { read_stream, write_stream, seek_stream, close_stream };
	FILE *stream = fopencookie((void *)(intptr_t)fd, mode, functions);

	/* What fileno says, and what freopen goes on with. */
	if (stream)
		stream->_fileno = fd;
	return stream;
}

static struct standard {
	FILE **stream;
	const char *mode;
	FILE *usual, *ours;
} standard[] = { { &stdin, "r", NULL, NULL }, { &stdout, "w", NULL, NULL }, { &stderr, "w", NULL, NULL } };

/* `fd` is, or has become, another file. */
void stream_follow(int fd)
{
	struct standard *s = &standard[fd];

	if (fd < 0 || fd > 2)
		return;
	if (!is_wanted(fd)) {
		if (s->ours && *s->stream == s->ours) {
			fflush(s->ours);
			*s->stream = s->usual;
		}
		return;
	}
	if (!s->ours && (s->ours = make_stream(fd, s->mode)) && fd == 2)
		setvbuf(s->ours, NULL, _IONBF, 0);
	if (s->ours && *s->stream != s->ours) {
		s->usual = *s->stream;
		*s->stream = s->ours;
	}
}

/* The flags of open for a mode of fopen. */
static int flags_of(const char *mode)
{
	int flags = mode[0] == 'r' ? O_RDONLY : mode[0] == 'w' ? O_WRONLY | O_CREAT | O_TRUNC : O_WRONLY | O_CREAT | O_APPEND;

	for (mode++; *mode && *mode != ','; mode++) {
		if (*mode == '+')
			flags = (flags & ~O_ACCMODE) | O_RDWR;
		else if (*mode == 'e')
			flags |= O_CLOEXEC;
		else if (*mode == 'x')
			flags |= O_EXCL;
	}
	return flags;
}

EXPORT FILE *fdopen(int fd, const char *mode)
{
	int wanted = flags_of(mode) & O_ACCMODE, may;

	if (!is_wanted(fd))
		return NEXT(fdopen)(fd, mode);
	may = (int)do_fcntl(fd, F_GETFL, 0) & O_ACCMODE;
	if (may != O_RDWR && may != wanted) {
		errno = EINVAL;
		return NULL;
	}
	return make_stream(fd, mode);
}

/* A stream for what was opened for it, or for -errno. */
static FILE *stream_for(long fd, const char *mode)
{
	FILE *stream;

	if (fd < 0) {
		errno = (int)-fd;
		return NULL;
	}
	stream = fdopen((int)fd, mode);
	if (!stream)
		do_close((int)fd);
	return stream;
}

#define FOPEN(name)                                                                                          \
	EXPORT FILE *name(const char *path, const char *mode)                                                \
	{                                                                                                    \
		FILE *stream;                                                                                \
		long fd;                                                                                     \
		if (open_by_name(AT_FDCWD, path, flags_of(mode), 0666, &fd))                                 \
			return stream_for(fd, mode);                                                         \
		stream = NEXT(name)(path, mode);                                                             \
		if (stream || !path_may_be_ours(-errno))                                                     \
			return stream;                                                                       \
		return stream_for(open_slowly(AT_FDCWD, path, flags_of(mode), 0666, -errno), mode);          \
	}
/* From one of ours or to one: libc cannot do it. As there the old stream is closed first, and its number goes on. */
static FILE *reopen(const char *path, const char *mode, FILE *old, int number)
{
	int flags = flags_of(mode);
	long fd;

	fclose(old);
	fd = open_at(AT_FDCWD, path, flags, 0666);
	if (fd >= 0 && number >= 0 && fd != number && do_dup3((int)fd, number, flags & O_CLOEXEC) == number) {
		do_close((int)fd);
		fd = number;
	}
	if (fd < 0 || fd > 2)
		return stream_for(fd, mode);
	stream_follow((int)fd);
	return is_wanted((int)fd) ? *standard[fd].stream : stream_for(fd, mode);
}

#define FREOPEN(name)                                                                                        \
	EXPORT FILE *name(const char *path, const char *mode, FILE *old)                                     \
	{                                                                                                    \
		int number = fileno(old);                                                                    \
		struct path_hit hit;                                                                         \
		FILE *stream;                                                                                \
		if (path && (is_wanted(number) || path_find(AT_FDCWD, path, &hit) != PATH_PLAIN))            \
			return reopen(path, mode, old, number);                                              \
		stream = NEXT(name)(path, mode, old);                                                        \
		tokens_closed();                                                                             \
		return stream;                                                                               \
	}

FOPEN(fopen)
FOPEN(fopen64)
FREOPEN(freopen)
FREOPEN(freopen64)

EXPORT int fclose(FILE *stream)
{
	int result;

	for (int fd = 0; fd < 3; fd++) {
		struct standard *s = &standard[fd];

		if (stream != s->ours || !stream)
			continue;
		s->ours = NULL;
		if (*s->stream == stream)
			*s->stream = s->usual;
	}
	result = NEXT(fclose)(stream);
	tokens_closed();
	return result;
}
