/*
 * Streams of stdio for files that the daemon answers. libc reads and writes them inside, where nobody can step in, so such
 * a stream is one that calls us. Standard output becomes one while descriptor 1 is such a file: that is how a shell
 * writes to an attribute, and it wants to know what became of it.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

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

/* Whether it is a file below /sys whose writes go to the daemon. */
bool stream_is_wanted(int fd)
{
	char name[PATH_ROOM];
	uint64_t inode, device;

	return shim.shows_sys && tokens_possible && is_token(fd, &inode) &&
	       token_name(fd, inode, name, sizeof(name), &device) > 5 &&
	       memcmp(name, "/sys/", 5) == 0;
}

static FILE *stream_open(int fd, const char *mode)
{
	static const cookie_io_functions_t functions = { read_stream, write_stream, seek_stream, close_stream };

	return fopencookie((void *)(intptr_t)fd, mode, functions);
}

/* Descriptor 1 is, or has become, another file. */
void stream_follow_stdout(void)
{
	static const cookie_io_functions_t functions = { .write = write_stream };
	static FILE *usual, *ours;

	if (!shim.shows_sys)
		return;
	if (stream_is_wanted(1)) {
		if (!ours)
			ours = fopencookie((void *)1, "w", functions);
		if (ours && stdout != ours) {
			usual = stdout;
			stdout = ours;
		}
	} else if (ours && stdout == ours) {
		fflush(ours);
		stdout = usual;
	}
}

EXPORT FILE *fdopen(int fd, const char *mode)
{
	return stream_is_wanted(fd) ? stream_open(fd, mode) : NEXT(fdopen)(fd, mode);
}
