/*
 * Shared virtual addresses: a device that uses the page table of this very process. It reads and writes at the program's
 * own addresses, finds what the program has there at that moment and nothing else, and asks the process for pages that
 * are not there yet, as a load of the program's own would.
 *
 * It needs a DMA test device behind an IOMMU that knows PASIDs and page requests:
 *
 *     ioasis header > ioasis.h && cc -o sva sva.c
 *     ioasis run --profile vtd -- ./sva
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ioasis.h"

#define PAGE 4096ul
#define PASID 7

static int device;
static int ioasid_file;

static void must(bool worked, const char *what)
{
	if (worked)
		return;
	printf("   unexpected: %s (%s)\n", what, strerror(errno));
	exit(1);
}

/* The device stores `value` in `length` bytes at `at`; what became of it. */
static struct ioasis_dma store(void *at, uint64_t length, unsigned char value)
{
	struct ioasis_dma dma = {
		.size = sizeof(dma),
		.op = IOASIS_DMA_OP_FILL,
		.flags = IOASIS_DMA_PASID | IOASIS_DMA_ATS | IOASIS_DMA_PRI,
		.pasid = PASID,
		.iova = (uintptr_t)at,
		.length = length,
		.value = value,
	};

	must(ioctl(device, IOASIS_DMA, &dma) == 0, "IOASIS_DMA");
	return dma;
}

static void stores(void *at, uint64_t length, unsigned char value, const char *what)
{
	must(store(at, length, value).out_state == IOASIS_DMA_DONE, what);
	for (uint64_t i = 0; i < length; i++)
		must(((unsigned char *)at)[i] == value, what);
	printf("   %s: the device stored %lu bytes, and the program reads them.\n", what, (unsigned long)length);
}

static void refuses(void *at, const char *what)
{
	struct ioasis_dma dma = store(at, 1, 1);

	must(dma.out_state == IOASIS_DMA_FAILED && dma.out_fault_reason == IOASIS_DMA_PAGE_INVALID, what);
	printf("   %s: the page request was answered INVALID.\n", what);
}

static char *map(size_t length, int prot)
{
	char *at = mmap(NULL, length, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(at != MAP_FAILED, "mmap");
	return at;
}

static void share(void)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct alloc_ioasid_sva sva = { .size = sizeof(sva), .pidfd = -1 };
	struct authorize_ioasid authorize = { .argsz = sizeof(authorize), .flags = IOASID_PASID, .pasid = PASID };

	ioasid_file = open("/dev/ioasid", O_RDWR | O_CLOEXEC);
	device = open("/dev/vfio/devices/vfio0", O_RDWR | O_CLOEXEC);
	must(ioasid_file >= 0 && device >= 0, "open");
	bind.iommufd = ioasid_file;
	must(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(ioasid_file, ALLOC_IOASID_SVA, &sva) == 0, "ALLOC_IOASID_SVA");
	authorize.ioasid = sva.out_ioasid;
	must(ioctl(device, AUTHORIZE_IOASID, &authorize) == 0, "AUTHORIZE_IOASID");
	printf("PASID %d of the device is this process, %d.\n", PASID, getpid());
}

/* After fork(2) pages belong to both, until one stores: the device's store must not reach the child. */
static void fork_under_dma(char *at)
{
	int go[2], status;
	char byte;
	pid_t child;

	memset(at, 1, PAGE);
	must(pipe(go) == 0, "pipe");
	child = fork();
	if (child == 0) {
		must(read(go[0], &byte, 1) == 1, "read");
		_exit(at[0] == 1 && at[PAGE - 1] == 1 ? 0 : 1);
	}
	stores(at, PAGE, 2, "a page shared with a child");
	must(write(go[1], "", 1) == 1, "write");
	must(waitpid(child, &status, 0) == child && status == 0, "the child still has its own bytes");
	printf("   the child still has its own bytes.\n");
}

int main(void)
{
	static char global[PAGE];
	char *fresh, *changing, on_stack[64];

	share();
	stores(global, sizeof(global), 3, "a variable");
	stores(on_stack, sizeof(on_stack), 4, "the stack");
	fresh = map(16 * PAGE, PROT_READ | PROT_WRITE);
	stores(fresh, 16 * PAGE, 5, "pages that nobody has touched");
	fork_under_dma(fresh);

	changing = map(PAGE, PROT_READ | PROT_WRITE);
	stores(changing, PAGE, 6, "a page");
	must(mprotect(changing, PAGE, PROT_READ) == 0, "mprotect");
	refuses(changing, "the page made read-only");
	must(mprotect(changing, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	stores(changing, PAGE, 7, "the page made writable again");
	must(munmap(changing, PAGE) == 0, "munmap");
	refuses(changing, "the page unmapped");
	must(mmap(changing, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == changing,
	     "mmap");
	stores(changing, PAGE, 8, "another page at the same address");
	refuses((void *)main, "the program's code");
	printf("Nothing was mapped, pinned or invalidated.\n");
	return 0;
}
