/* What backs an address, what a device may store there, and pages that the engine shares. */
#include "fake.h"

static struct fake pin(int fd, void *at, size_t length, int write)
{
	struct fake f = { sizeof(f), 0, (uintptr_t)at, length, (uint64_t)write, 0 };

	return ioctl(fd, PIN, &f) == 0 ? f : (struct fake){ 0, 0, 0, 0, 0, 0 };
}

static int store(int fd, uint64_t offset, char byte)
{
	struct fake f = { sizeof(f), 0, offset, (uint64_t)byte, 0, 0 };

	CHECK(ioctl(fd, STORE, &f) == 0);
	return (int)f.a;
}

static void backings(int fd)
{
	long page = sysconf(_SC_PAGESIZE);
	char *private = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int memfd = memfd_create("m", 0);
	char *one, *two;
	struct fake first, second;

	CHECK(ftruncate(memfd, 2 * page) == 0);
	one = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	CHECK(pin(fd, private, 4 * page, 1).a == 1);
	CHECK(store(fd, 5, 'p') == 1 && private[5] == 'p');
	CHECK(pin(fd, shared, 4 * page, 1).a == 1);
	CHECK(store(fd, page + 5, 's') == 1 && shared[page + 5] == 's');
	first = pin(fd, one, 2 * page, 1);
	second = pin(fd, two, 2 * page, 1);
	CHECK(first.a == 1 && second.a == 1 && first.e == second.e);
	CHECK(store(fd, 9, 'm') == 1 && one[9] == 'm' && two[9] == 'm');
	/* It stays what it was when the mapping is gone, and never grows. */
	CHECK(munmap(one, 2 * page) == 0 && munmap(two, 2 * page) == 0);
	CHECK(store(fd, page, 'x') == 1);
	CHECK(pread(memfd, private, 1, page) == 1 && private[0] == 'x');
	CHECK(ftruncate(memfd, page) == 0);
	CHECK(store(fd, page, 'x') == 0);
	CHECK(lseek(memfd, 0, SEEK_END) == page);

	/* Holes, permissions, and the end of a file. */
	CHECK(munmap(private + page, page) == 0);
	CHECK(pin(fd, private, 3 * page, 0).size == 0);
	CHECK(mprotect(private, page, PROT_READ) == 0);
	CHECK(pin(fd, private, page, 1).size == 0 && pin(fd, private, page, 0).a == 1);
	CHECK(mprotect(private, page, PROT_NONE) == 0);
	CHECK(pin(fd, private, page, 0).size == 0);
	one = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	CHECK(pin(fd, one, page, 1).a == 1 && pin(fd, one, 2 * page, 1).size == 0);
	CHECK(pin(fd, (void *)(1ul << 62), page, 0).size == 0);
	CHECK(pin(fd, (void *)0, page, 0).size == 0);
	close(memfd);
}

static void shared_pages(int fd)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *other;
	int status, second;
	uint64_t live;

	CHECK(page != MAP_FAILED && look(fd).b == 1);
	page[0] = 17;
	CHECK(look(fd).e == 17);
	if (fork() == 0) {
		CHECK(look(fd).b == 2);
		page[0] = 18;
		_exit(0);
	}
	CHECK(wait(&status) > 0 && status == 0);
	CHECK(look(fd).b == 1 && look(fd).e == 18);
	other = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(look(fd).b == 2 && other[0] == 18);
	CHECK(munmap(page, 4096) == 0 && look(fd).b == 1);
	CHECK(mmap(other, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == other);
	CHECK(look(fd).b == 0);
	/* One that is moved over another is the one that is left. */
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	other = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(look(fd).b == 2 && mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, other) == other);
	other[0] = 19;
	CHECK(look(fd).b == 1 && look(fd).e == 19);
	CHECK(munmap(other, 4096) == 0 && look(fd).b == 0);
	/* A mapping keeps its file open. */
	CHECK((second = open("/dev/iommu", O_RDWR)) >= 0);
	CHECK((page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, second, 0)) != MAP_FAILED);
	live = look(fd).c;
	page[0] = 99;
	close(second);
	CHECK(look(fd).c == live && page[0] == 99);
	CHECK(munmap(page, 4096) == 0);
	CHECK(look(fd).c == live - 1);
	/* What another file is given is not what this one had. */
	CHECK((second = open("/dev/iommu", O_RDWR)) >= 0);
	CHECK(look(second).e == 0);
	close(second);
}

int main(void)
{
	int fd = fake_open();

	backings(fd);
	shared_pages(fd);
	return 0;
}
