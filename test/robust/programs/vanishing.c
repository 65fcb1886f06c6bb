/* Memory that goes away, shrinks or was never there, under mappings and under a device: an errno, never a signal. */
#include "robust.h"
#include <linux/falloc.h>
#include <linux/userfaultfd.h>

#define PAGE 4096
#define PAGES 16

static int fd;
static uint32_t ioas, device;

static int reads(uint64_t iova, char *byte)
{
	return access_rw(fd, device, iova, byte, 1, 0);
}

static int writes(uint64_t iova, char byte)
{
	return access_rw(fd, device, iova, &byte, 1, 1);
}

/* A file that was cut short stays so. */
static void cut(int sealed)
{
	int file = memfd_create("cut", MFD_ALLOW_SEALING);
	char *at, byte = 0;
	uint64_t iova;

	CHECK(ftruncate(file, PAGES * PAGE) == 0);
	at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(at != MAP_FAILED);
	at[PAGE] = 'a';
	CHECK(map(fd, ioas, at, PAGES * PAGE, &iova) == 0);
	CHECK(reads(iova + PAGE, &byte) == 0 && byte == 'a');
	if (sealed) {
		CHECK(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
		REFUSED(ftruncate(file, 0), EPERM);
		CHECK(writes(iova + PAGE, 'b') == 0 && at[PAGE] == 'b');
		goto end;
	}
	/* A hole reads as zero and can be filled; the file's length stays. */
	CHECK(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE) == 0);
	CHECK(reads(iova + PAGE, &byte) == 0 && (byte == 0 || byte == 'a'));
	CHECK(writes(iova + PAGE, 'c') == 0);
	/* Cut short: refused from there on, not grown again. */
	CHECK(ftruncate(file, PAGE) == 0);
	REFUSED(reads(iova + PAGE, &byte), EFAULT);
	REFUSED(writes(iova + 5 * PAGE, 'd'), EFAULT);
	CHECK(lseek(file, 0, SEEK_END) == PAGE);
	CHECK(writes(iova, 'e') == 0 && at[0] == 'e');
	/* Grown again by its owner: zeroes, not what was there. */
	CHECK(ftruncate(file, PAGES * PAGE) == 0);
	byte = 1;
	CHECK(reads(iova + PAGE, &byte) == 0 && byte == 0);
	CHECK(writes(iova + PAGE, 'f') == 0 && at[PAGE] == 'f');
	CHECK(ftruncate(file, 0) == 0);
	REFUSED(writes(iova, 'g'), EFAULT);
end:
	CHECK(munmap(at, PAGES * PAGE) == 0);
	close(file);
}

/* The answer of a call lies in memory that ends, too. */
static void arguments(void)
{
	int file = memfd_create("arguments", 0);
	struct iommu_ioas_alloc *alloc;
	char *at;

	CHECK(ftruncate(file, 2 * PAGE) == 0);
	at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(at != MAP_FAILED);
	for (int i = 0; i < 50; i++) {
		alloc = (struct iommu_ioas_alloc *)(at + PAGE - (i % 16) * 4);
		CHECK(ftruncate(file, 2 * PAGE) == 0);
		*alloc = (struct iommu_ioas_alloc){ .size = sizeof(*alloc) };
		CHECK(ioctl(fd, IOMMU_IOAS_ALLOC, alloc) == 0 && destroy(fd, alloc->out_ioas_id) == 0);
		CHECK(ftruncate(file, PAGE) == 0);
		errno = 0;
		if (i % 16 == 0)
			REFUSED(ioctl(fd, IOMMU_IOAS_ALLOC, at + PAGE), EFAULT);
		else if (i % 16 < 3)
			REFUSED(ioctl(fd, IOMMU_IOAS_ALLOC, alloc), EFAULT);
	}
	munmap(at, 2 * PAGE);
	close(file);
}

static void never_there(void)
{
	uint64_t iova;
	char byte, *hole = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t paging;
	struct iommu_test_cmd mock = { .size = sizeof(mock), .op = IOMMU_TEST_OP_MOCK_DOMAIN };

	CHECK(munmap(hole + PAGE, PAGE) == 0);
	CHECK(map(fd, ioas, hole, 3 * PAGE, &iova) == 0);
	REFUSED(reads(iova + PAGE, &byte), EFAULT);
	CHECK(mprotect(hole, PAGE, PROT_NONE) == 0);
	REFUSED(reads(iova, &byte), EFAULT);
	CHECK(munmap(hole + 2 * PAGE, PAGE) == 0);
	REFUSED(writes(iova + 2 * PAGE, 1), EFAULT);

	/* A domain pins when it is mapped. */
	paging = ioas_alloc(fd);
	mock.id = paging;
	CHECK(ioctl(fd, IOMMU_TEST_CMD, &mock) == 0);
	REFUSED(map(fd, paging, hole, PAGE, &iova), EFAULT);
	REFUSED(map(fd, paging, hole + PAGE, PAGE, &iova), EFAULT);
	REFUSED(map(fd, paging, (void *)0x7ffffffff000, PAGE, &iova), EFAULT);
	REFUSED(map(fd, paging, (void *)0xffff888000000000, PAGE, &iova), EFAULT);
}

/* Addresses without memory behind them cost nothing here either. */
static void vast(void)
{
	uint64_t length = 1ull << 40, iova;
	char byte = 'v', *at = mmap(NULL, length, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(at != MAP_FAILED);
	CHECK(map(fd, ioas, at, length, &iova) == 0);
	CHECK(writes(iova + length / 2 + 3, 'v') == 0 && at[length / 2 + 3] == 'v');
	CHECK(reads(iova + length - 1, &byte) == 0 && byte == 0);
	CHECK(munmap(at, length) == 0);
	REFUSED(reads(iova, &byte), EFAULT);
}

/* Ten thousand areas with a hole each. */
static void scattered(void)
{
	const uint64_t count = 10000;
	uint64_t iova;
	char byte, *at = mmap(NULL, 2 * count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (uint64_t i = 0; i < count; i++)
		CHECK(mprotect(at + 2 * i * PAGE, PAGE, PROT_READ) == 0);
	CHECK(map(fd, ioas, at, 2 * count * PAGE, &iova) == 0);
	for (uint64_t i = 0; i < count; i += 97) {
		CHECK(reads(iova + 2 * i * PAGE, &byte) == 0);
		CHECK(writes(iova + (2 * i + 1) * PAGE, (char)i) == 0 && at[(2 * i + 1) * PAGE] == (char)i);
		REFUSED(writes(iova + 2 * i * PAGE, 1), EFAULT);
	}
	munmap(at, 2 * count * PAGE);
}

static char *provided_by(int provider)
{
	char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range = { (uintptr_t)at, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	CHECK(ioctl(provider, UFFDIO_API, &api) == 0 && ioctl(provider, UFFDIO_REGISTER, &range) == 0);
	return at;
}

static void *provides(void *provider)
{
	static char page[PAGE] = "provided";
	struct uffd_msg message;
	struct uffdio_copy copy = { .src = (uintptr_t)page, .len = PAGE };

	CHECK(read((int)(intptr_t)provider, &message, sizeof(message)) == sizeof(message));
	copy.dst = message.arg.pagefault.address;
	CHECK(ioctl((int)(intptr_t)provider, UFFDIO_COPY, &copy) == 0);
	return NULL;
}

/* Pages that the program itself provides: not for a device if only for its own accesses, and else when they come. */
static void provided(void)
{
	int for_program = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	int for_all = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	pthread_t provider;
	uint64_t iova;
	char byte;

	if (for_program >= 0) {
		CHECK(map(fd, ioas, provided_by(for_program), PAGE, &iova) == 0);
		REFUSED(reads(iova, &byte), EFAULT);
		REFUSED(writes(iova, 1), EFAULT);
	}
	if (for_all < 0)
		return;
	CHECK(map(fd, ioas, provided_by(for_all), PAGE, &iova) == 0);
	CHECK(pthread_create(&provider, NULL, provides, (void *)(intptr_t)for_all) == 0);
	CHECK(reads(iova, &byte) == 0 && byte == 'p');
	CHECK(pthread_join(provider, NULL) == 0);
}

int main(void)
{
	fd = iommu_open();
	ioas = ioas_alloc(fd);
	device = access_alloc(fd, ioas);
	cut(0);
	cut(1);
	arguments();
	never_there();
	vast();
	scattered();
	provided();
	return 0;
}
