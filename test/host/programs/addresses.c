/* Good and bad pointers, in every place where a pointer can stand. */
#include "fake.h"
#include <limits.h>
#include <sys/uio.h>

/* A vector is looked at as a whole before the first of its pieces is: what is refused has touched nothing. */
static void vectors(int queue, char *nowhere)
{
	static char first[4], second[4];
	struct iovec pieces[2] = { { first, 4 }, { second, 4 } }, *edge = (struct iovec *)(nowhere - sizeof(*edge));
	void *const wild = (void *)(1L << 62);
	volatile int too_many = IOV_MAX + 1;

	CHECK(readv(queue, pieces, 2) == 8 && first[0] == 0x52 && second[3] == 0x52);
	memset(first, 0, sizeof(first));
	*edge = pieces[0];
	REFUSED(readv(queue, edge, 2), EFAULT);
	pieces[1].iov_len = SIZE_MAX;
	REFUSED(readv(queue, pieces, 2), EINVAL);
	pieces[1] = (struct iovec){ wild, 4 };
	REFUSED(readv(queue, pieces, 2), EFAULT);
	REFUSED(readv(queue, pieces, too_many), EINVAL);
	REFUSED(preadv(queue, pieces, 1, -1), EINVAL);
	REFUSED(preadv2(queue, pieces, 1, -2, 0), EINVAL);
	REFUSED(preadv2(queue, pieces, 1, -1, RWF_NOWAIT), EOPNOTSUPP);
	CHECK(first[0] == 0);
	CHECK(preadv2(queue, pieces, 0, -1, RWF_NOWAIT) == 0);
	CHECK(preadv2(queue, pieces, 1, -1, RWF_HIPRI) == 4 && first[0] == 0x52);
	/* What a file meets on its way is its own business: the pieces before are done. */
	pieces[1].iov_base = nowhere;
	CHECK(readv(queue, pieces, 2) == 4);
	memset(first, 0x57, sizeof(first));
	pieces[1] = (struct iovec){ first, SIZE_MAX };
	REFUSED(writev(queue, pieces, 2), EINVAL);
	REFUSED(pwritev(queue, pieces, 1, -1), EINVAL);
	CHECK(writev(queue, pieces, 1) == 4);
}

int main(void)
{
	int fd = fake_open();
	long page = sysconf(_SC_PAGESIZE);
	char *map = mmap(NULL, 6 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *big = malloc(3 << 20), *copy = calloc(1, 3 << 20);
	struct fake *edge, f = { sizeof(f), 0, 41, 0, 0, 0 };

	CHECK(ioctl(fd, ADD, &f) == 0 && f.b == 42);
	CHECK(ioctl(fd, ECHO, 3) == 3);
	CHECK(syscall(SYS_ioctl, fd, ADD, &f) == 0 && f.b == 43);

	/* A struct that ends where the memory ends; one that goes on behind it. */
	CHECK(munmap(map + page, page) == 0 && munmap(map + 4 * page, page) == 0);
	edge = (struct fake *)(map + page - sizeof(*edge));
	*edge = f;
	CHECK(ioctl(fd, ADD, edge) == 0 && edge->b == 44);
	REFUSED(ioctl(fd, ADD, (char *)edge + 8), EFAULT);

	/* Readable, but the answer cannot be written: the engine hears of it in time, also where it could be before. */
	memcpy(map, &f, sizeof(f));
	CHECK(ioctl(fd, ADD, map) == 0 && ioctl(fd, ADD, map) == 0);
	CHECK(look(fd).a == 0);
	CHECK(mprotect(map, page, PROT_READ) == 0);
	REFUSED(ioctl(fd, ADD, map), EFAULT);
	CHECK(look(fd).a == 1);
	REFUSED(ioctl(fd, ADD, map), EFAULT);
	CHECK(look(fd).a == 2);
	CHECK(mprotect(map, page, PROT_NONE) == 0);
	REFUSED(ioctl(fd, ADD, map), EFAULT);

	/* No addresses at all. */
	REFUSED(ioctl(fd, ADD, NULL), EFAULT);
	REFUSED(ioctl(fd, ADD, (void *)1), EFAULT);
	REFUSED(ioctl(fd, ADD, (void *)-1L), EFAULT);
	REFUSED(ioctl(fd, ADD, (void *)-4096L), EFAULT);
	REFUSED(ioctl(fd, ADD, (void *)0x7ffffffff000L), EFAULT);
	REFUSED(ioctl(fd, ADD, (void *)(1L << 47)), EFAULT);
	REFUSED(ioctl(fd, ADD, (void *)(1L << 62)), EFAULT);
	REFUSED(ioctl(fd, ADD, (void *)0xffffffff81000000L), EFAULT);
	check_add(fd, 1);

	/* Memory that the call itself reads and writes, more than a message holds. */
	for (int i = 0; i < 3 << 20; i++)
		big[i] = (char)(i * 7 + (i >> 12));
	f = (struct fake){ sizeof(f), 0, (uintptr_t)big, 3 << 20, (uintptr_t)copy, 0 };
	CHECK(ioctl(fd, COPY, &f) == 0);
	CHECK(memcmp(big, copy, 3 << 20) == 0);
	f.b = (uintptr_t)map;
	REFUSED(ioctl(fd, COPY, &f), EFAULT);
	f.b = (uintptr_t)big;
	f.d = (uintptr_t)(map + 3 * page - 5);
	f.c = 10;
	CHECK(ioctl(fd, COPY, &f) == 0 && memcmp(map + 3 * page - 5, big, 10) == 0);
	f.d = (uintptr_t)(map + 4 * page - 5);
	REFUSED(ioctl(fd, COPY, &f), EFAULT);
	f.d = 1ull << 63;
	REFUSED(ioctl(fd, COPY, &f), EFAULT);
	/* Where the kernel looks at the address before it takes anything out of a socket. */
	f.d = 1ull << 56;
	REFUSED(ioctl(fd, COPY, &f), EFAULT);
	f.d = (1ull << 47) - 4096 - 5;
	REFUSED(ioctl(fd, COPY, &f), EFAULT);
	check_add(fd, 1);

	vectors(give(fd, 2), map + 4 * page);
	REFUSED(ioctl(fd, 0x3bff, &f), ENOTTY);
	REFUSED(ioctl(fd, FIONREAD, &f), ENOTTY);
	CHECK(ioctl(fd, FIONCLEX) == 0);
	CHECK(close(fd) == 0);
	REFUSED(ioctl(fd, ADD, &f), EBADF);
	return 0;
}
