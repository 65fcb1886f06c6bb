/* What the programs have in common: calls of /dev/iommu. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../host/programs/check.h"
#include "ioasis.h"

static inline int iommu_open(void)
{
	int fd = open("/dev/iommu", O_RDWR);

	CHECK(fd >= 0);
	return fd;
}

static inline uint32_t ioas_alloc(int fd)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	return ioctl(fd, IOMMU_IOAS_ALLOC, &alloc) ? 0 : alloc.out_ioas_id;
}

static inline int destroy(int fd, uint32_t id)
{
	struct iommu_destroy command = { .size = sizeof(command), .id = id };

	return ioctl(fd, IOMMU_DESTROY, &command);
}

/* A call that cannot be right by chance: a new object, and the end of it. */
static inline int works(int fd)
{
	uint32_t id = ioas_alloc(fd);

	return id != 0 && destroy(fd, id) == 0;
}

static inline int map(int fd, uint32_t ioas, void *at, uint64_t length, uint64_t *iova)
{
	struct iommu_ioas_map command = {
		.size = sizeof(command),
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)at,
		.length = length,
	};
	int result = ioctl(fd, IOMMU_IOAS_MAP, &command);

	*iova = command.iova;
	return result;
}

/* A mock device's access to an IOAS: its id. */
static inline uint32_t access_alloc(int fd, uint32_t ioas)
{
	struct iommu_test_cmd command = {
		.size = sizeof(command),
		.op = IOMMU_TEST_OP_CREATE_ACCESS,
		.id = ioas,
	};

	CHECK(ioctl(fd, IOMMU_TEST_CMD, &command) == 0);
	return (uint32_t)command.create_access.out_access_fd;
}

/* The device copies between `at` and its iova; the access is what access_alloc answered. */
static inline int access_rw(int fd, uint32_t access, uint64_t iova, void *at, size_t length, int write)
{
	struct iommu_test_cmd command = {
		.size = sizeof(command),
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.id = access,
		.access_rw = { .iova = iova, .length = length, .uptr = (uintptr_t)at,
			       .flags = write ? MOCK_ACCESS_RW_WRITE : 0 },
	};

	return ioctl(fd, IOMMU_TEST_CMD, &command);
}

static inline void await(pid_t pid)
{
	int status;

	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
