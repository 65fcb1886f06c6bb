/*
 * What a processor does: copies SIZE bytes into the upper half of a memfd of TOTAL bytes, from place to place within the
 * first SPREAD bytes of it; from the same place in the lower half ("copy"), or always from the same buffer ("write").
 * FILE is one that is there already.
 *
 *     memcpy-client copy|write SIZE SPREAD TOTAL [FILE]
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "batch.h"

static char *lower, *upper, *held;
static size_t size, spread, at;

static void advance(void)
{
	at = at + size < spread ? at + size : 0;
}

static void copy(void)
{
	memcpy(upper + at, lower + at, size);
	advance();
}

static void write_held(void)
{
	memcpy(upper + at, held, size);
	advance();
}

int main(int argc, char **argv)
{
	size_t total;
	int fd;

	if (argc != 5 && argc != 6)
		return 2;
	size = strtoul(argv[2], NULL, 0);
	spread = strtoul(argv[3], NULL, 0);
	total = strtoul(argv[4], NULL, 0);
	fd = argc == 6 ? open(argv[5], O_RDWR) : memfd_create("memcpy", 0);
	if (fd < 0 || ftruncate(fd, (off_t)total) < 0)
		die("memfd");
	lower = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (lower == MAP_FAILED)
		die("mmap");
	upper = lower + total / 2;
	memset(lower, 1, total);
	held = malloc(size);
	memset(held, 3, size);
	serve_batches(strcmp(argv[1], "copy") == 0 ? copy : write_held);
	return 0;
}
