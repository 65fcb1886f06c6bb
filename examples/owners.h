/*
 * What the examples of /dev/ioasid share: its files, the calls that all of them make, and a device that is told to read
 * or to store. A call that has to work ends the program if it does not.
 */
#ifndef OWNERS_H
#define OWNERS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ioasis.h"

#define PAGE 4096ul
/* Present, may be written, is the user's. */
#define ENTRY_FLAGS 7ul

static inline void must(bool worked, const char *what)
{
	if (worked)
		return;
	printf("unexpected: %s (%s)\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

/* 0, or the errno of a call. */
static inline int outcome(int returned)
{
	return returned < 0 ? errno : 0;
}

static inline int open_ioasids(void)
{
	int fd = open("/dev/ioasid", O_RDWR | O_CLOEXEC);

	must(fd >= 0, "/dev/ioasid");
	return fd;
}

static inline int open_device(int number)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%d", number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd >= 0, path);
	return fd;
}

static inline int bind_device(int device, int ioasids)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = ioasids };

	return outcome(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind));
}

static inline int authorize(int device, uint32_t ioasid, uint32_t pasid)
{
	struct authorize_ioasid cmd = {
		.argsz = sizeof(cmd), .flags = IOASID_PASID, .ioasid = ioasid, .pasid = pasid,
	};

	return outcome(ioctl(device, AUTHORIZE_IOASID, &cmd));
}

static inline int deauthorize(int device, uint32_t ioasid, uint32_t pasid)
{
	struct authorize_ioasid cmd = {
		.argsz = sizeof(cmd), .flags = IOASID_PASID, .ioasid = ioasid, .pasid = pasid,
	};

	return outcome(ioctl(device, DEAUTHORIZE_IOASID, &cmd));
}

static inline int destroy(int ioasids, uint32_t ioasid)
{
	struct destroy_ioasid cmd = { .size = sizeof(cmd), .ioasid = ioasid };

	return outcome(ioctl(ioasids, DESTROY_IOASID, &cmd));
}

/* The address space of a process: the caller's own where pidfd is -1. */
static inline uint32_t process_table(int ioasids, int pidfd)
{
	struct alloc_ioasid_sva cmd = { .size = sizeof(cmd), .pidfd = pidfd };

	must(ioctl(ioasids, ALLOC_IOASID_SVA, &cmd) == 0, "ALLOC_IOASID_SVA");
	return cmd.out_ioasid;
}

/* A table that ioasis fills. */
static inline uint32_t kernel_table(int ioasids)
{
	struct alloc_ioasid cmd = { .size = sizeof(cmd) };

	must(ioctl(ioasids, ALLOC_IOASID, &cmd) == 0, "ALLOC_IOASID");
	return cmd.out_ioasid;
}

static inline int map_memory(int ioasids, uint32_t ioasid, uint64_t iova, void *memory, uint64_t length)
{
	struct map_ioasid cmd = {
		.size = sizeof(cmd),
		.flags = IOASID_READ | IOASID_WRITE,
		.ioasid = ioasid,
		.user_va = (uintptr_t)memory,
		.length = length,
		.iova = iova,
	};

	return outcome(ioctl(ioasids, MAP_IOASID, &cmd));
}

/* A table of the program's own, as VT-d has it. Page requests go to the fault file `fault_id`, if it is not 0. */
static inline int user_table(int ioasids, char *root, uint32_t fault_id, uint32_t *ioasid)
{
	struct iommu_hwpt_vtd_s1 where = { .pgtbl_addr = (uintptr_t)root, .addr_width = 48 };
	struct alloc_ioasid_user_page_table cmd = {
		.size = sizeof(cmd),
		.flags = fault_id == 0 ? 0 : IOASID_FAULT,
		.format = IOMMU_HWPT_DATA_VTD_S1,
		.data_len = sizeof(where),
		.data_uptr = (uintptr_t)&where,
		.fault_id = fault_id,
	};
	int failed = outcome(ioctl(ioasids, ALLOC_IOASID_USER_PAGE_TABLE, &cmd));

	if (failed == 0)
		*ioasid = cmd.out_ioasid;
	return failed;
}

/* The same, with addresses of a parent. */
static inline int nested_table(int ioasids, uint32_t parent, uint64_t root, uint32_t fault_id, uint32_t *ioasid)
{
	struct iommu_hwpt_vtd_s1 where = { .pgtbl_addr = root, .addr_width = 48 };
	struct alloc_ioasid_nested_page_table cmd = {
		.size = sizeof(cmd),
		.flags = fault_id == 0 ? 0 : IOASID_FAULT,
		.format = IOMMU_HWPT_DATA_VTD_S1,
		.data_len = sizeof(where),
		.data_uptr = (uintptr_t)&where,
		.fault_id = fault_id,
		.parent = parent,
	};
	int failed = outcome(ioctl(ioasids, ALLOC_IOASID_NESTED_PAGE_TABLE, &cmd));

	if (failed == 0)
		*ioasid = cmd.out_ioasid;
	return failed;
}

/* The operation as it is, asking for pages that are missing; errno, or 0 and what became of it. */
static inline int submit(int device, struct ioasis_dma *dma)
{
	dma->size = sizeof(*dma);
	dma->flags = IOASIS_DMA_PASID | IOASIS_DMA_ATS | IOASIS_DMA_PRI;
	return outcome(ioctl(device, IOASIS_DMA, dma));
}

/* The device fills `length` bytes at `at` with `value`. */
static inline struct ioasis_dma store(int device, uint32_t pasid, uint64_t at, uint64_t length, unsigned char value)
{
	struct ioasis_dma dma = {
		.op = IOASIS_DMA_OP_FILL, .pasid = pasid, .iova = at, .length = length, .value = value,
	};

	must(submit(device, &dma) == 0, "IOASIS_DMA");
	return dma;
}

/* It reads them into `into`. */
static inline struct ioasis_dma load(int device, uint32_t pasid, uint64_t at, uint64_t length, void *into)
{
	struct ioasis_dma dma = {
		.op = IOASIS_DMA_OP_READ, .pasid = pasid, .iova = at, .length = length, .data_uptr = (uintptr_t)into,
	};

	must(submit(device, &dma) == 0, "IOASIS_DMA");
	return dma;
}

static inline bool is_done(struct ioasis_dma dma)
{
	return dma.out_state == IOASIS_DMA_DONE;
}

/* Its page request was answered INVALID: the owner of the table may not do this either. */
static inline bool is_refused(struct ioasis_dma dma)
{
	return dma.out_state == IOASIS_DMA_FAILED && dma.out_fault_reason == IOASIS_DMA_PAGE_INVALID;
}

/*
 * A table of four levels in the four pages at `table`, which are at `base` for whoever walks it: `address` leads to
 * `target`. Its last page has an entry for each page of the 2 MiB around the address.
 */
static inline uint64_t *write_table(char *table, uint64_t base, uint64_t address, uint64_t target)
{
	for (int level = 0; level < 4; level++) {
		uint64_t next = level == 3 ? target : base + (level + 1) * PAGE;

		((uint64_t *)(table + level * PAGE))[address >> (39 - 9 * level) & 511] = next | ENTRY_FLAGS;
	}
	return (uint64_t *)(table + 3 * PAGE);
}

static inline void *map_pages(uint64_t pages, int flags)
{
	void *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	must(at != MAP_FAILED, "mmap");
	return at;
}

#endif
