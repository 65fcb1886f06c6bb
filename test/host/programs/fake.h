/* What the test programs have in common: the fake engine's calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"

struct fake {
	uint32_t size, a;
	uint64_t b, c, d, e;
};

enum {
	ECHO = 0x3b64,
	ADD = 0x3b80,
	COPY,
	GIVE,
	TAKE,
	SHOW,
	BUG,
	PIN,
	STORE,
	LOAD,
	CREDENTIALS,
	POINTS,
	ACCOUNT,
	LOOK,
	BUSY,
	STORM,
};

static inline int fake_open(void)
{
	int fd = open("/dev/iommu", O_RDWR);

	CHECK(fd >= 0);
	return fd;
}

static inline void check_add(int fd, uint64_t value)
{
	struct fake f = { sizeof(f), 0, value, 0, 0, 0 };

	CHECK(ioctl(fd, ADD, &f) == 0);
	CHECK(f.b == value + 1);
}

static inline struct fake look(int fd)
{
	struct fake f = { sizeof(f), 0, 0, 0, 0, 0 };

	CHECK(ioctl(fd, LOOK, &f) == 0);
	return f;
}

static inline int give(int fd, int mode)
{
	struct fake f = { sizeof(f), 0, (uint64_t)mode, 1, 0, 0 };

	CHECK(ioctl(fd, GIVE, &f) == 0);
	return (int)f.a;
}
