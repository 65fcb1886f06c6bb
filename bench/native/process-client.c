/*
 * Memory of another process, as a program reaches it: "private" and "shared" have it (of their own, or a memfd), say
 * where, and wait; "read" and "write" move SIZE bytes of it by process_vm_readv or process_vm_writev, from place to place.
 *
 *     process-client private|shared BYTES
 *     process-client read|write SIZE BYTES PID ADDRESS
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "batch.h"

static pid_t pid;
static char *held, *there;
static size_t size, bytes, at;

static void advance(void)
{
	at = at + size < bytes ? at + size : 0;
}

static void read_there(void)
{
	struct iovec to = { held, size }, from = { there + at, size };

	if (process_vm_readv(pid, &to, 1, &from, 1, 0) != (ssize_t)size)
		die("process_vm_readv");
	advance();
}

static void write_there(void)
{
	struct iovec from = { held, size }, to = { there + at, size };

	if (process_vm_writev(pid, &from, 1, &to, 1, 0) != (ssize_t)size)
		die("process_vm_writev");
	advance();
}

static int be_target(int is_shared)
{
	int file = memfd_create("target", 0), flags = is_shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, is_shared ? file : -1, 0);

	if (ftruncate(file, (off_t)bytes) < 0 || memory == MAP_FAILED)
		die("mmap");
	memset(memory, 1, bytes);
	printf("%d %llu\n", getpid(), (unsigned long long)(uintptr_t)memory);
	fflush(stdout);
	return getchar() == EOF ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc == 3) {
		bytes = strtoul(argv[2], NULL, 0);
		return be_target(strcmp(argv[1], "shared") == 0);
	}
	if (argc != 6)
		return 2;
	size = strtoul(argv[2], NULL, 0);
	bytes = strtoul(argv[3], NULL, 0);
	pid = atoi(argv[4]);
	there = (char *)strtoul(argv[5], NULL, 0);
	held = malloc(size);
	memset(held, 3, size);
	serve_batches(strcmp(argv[1], "read") == 0 ? read_there : write_there);
	return 0;
}
