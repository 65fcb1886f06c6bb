/*
 * What a processor does: copies SIZE bytes from the lower to the upper half of a memfd of TOTAL bytes, from place to place
 * within the first SPREAD bytes of each half.
 *
 *     memcpy-client SIZE SPREAD TOTAL
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "batch.h"

static char *lower, *upper;
static size_t size, spread, at;

static void copy(void)
{
	memcpy(upper + at, lower + at, size);
	at = at + size < spread ? at + size : 0;
}

int main(int argc, char **argv)
{
	int fd = memfd_create("memcpy", 0);
	size_t total;

	if (argc != 4)
		return 2;
	size = strtoul(argv[1], NULL, 0);
	spread = strtoul(argv[2], NULL, 0);
	total = strtoul(argv[3], NULL, 0);
	if (fd < 0 || ftruncate(fd, (off_t)total) < 0)
		die("memfd");
	lower = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (lower == MAP_FAILED)
		die("mmap");
	upper = lower + total / 2;
	memset(lower, 1, total);
	serve_batches(copy);
	return 0;
}
