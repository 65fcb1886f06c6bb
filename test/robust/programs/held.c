/* What a device finds at pinned private memory after its program has unmapped it, used the address again, or ended. */
#include "events.h"

#define AT ((char *)0x600000000000)
#define LENGTH 65536

static int fd;
static uint32_t access_id;

static char *fresh(const char *text)
{
	char *at = mmap(AT, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	CHECK(at == AT);
	strcpy(at + 5000, text);
	return at;
}

/* Through a page table and a pinning access, so that the pages are pinned and not only mapped. */
static uint64_t pinned(const struct faulting *at)
{
	uint64_t iova;

	CHECK(map(at->fd, at->ioas, AT, LENGTH, &iova) == 0);
	return iova;
}

/* The slow path of the access goes through the frames. */
static void device_rw(uint64_t iova, void *buf, size_t length, uint32_t flags)
{
	struct iommu_test_cmd command = {
		.id = access_id,
		.access_rw = { .iova = iova, .length = length, .uptr = (uintptr_t)buf, .flags = flags | MOCK_ACCESS_RW_SLOW_PATH },
	};

	test_cmd(fd, &command, IOMMU_TEST_OP_ACCESS_RW);
}

static void device_finds(uint64_t iova, const char *text)
{
	char got[9000] = { 0 };

	device_rw(iova, got, sizeof(got), 0);
	CHECK(strcmp(got + 5000, text) == 0);
}

static void device_writes(uint64_t iova, const char *text)
{
	char from[9000] = { 0 };

	strcpy(from + 5000, text);
	device_rw(iova, from, sizeof(from), MOCK_ACCESS_RW_WRITE);
}

static void unmaps(const struct faulting *at)
{
	char *memory = fresh("old");
	uint64_t iova = pinned(at), second;

	device_finds(iova, "old");
	device_writes(iova, "by the device");
	CHECK(strcmp(memory + 5000, "by the device") == 0);
	strcpy(memory + 5000, "by the program");
	device_finds(iova, "by the program");
	/* A child takes copies; what is pinned stays the parent's. */
	if (fork() == 0) {
		sleep(1);
		_exit(0);
	}
	strcpy(memory + 5000, "after fork");
	device_finds(iova, "after fork");
	CHECK(munmap(memory, LENGTH) == 0);
	device_finds(iova, "after fork");
	device_writes(iova, "kept");
	fresh("new");
	device_finds(iova, "kept");
	/* The new pages are others. */
	second = pinned(at);
	device_finds(second, "new");
	device_writes(second, "newer");
	CHECK(strcmp(AT + 5000, "newer") == 0);
	device_finds(iova, "kept");
	/* Thrown away, not unmapped: zeros for the program. */
	CHECK(madvise(AT, LENGTH, MADV_DONTNEED) == 0 && AT[5000] == 0);
	device_finds(second, "newer");
}

static int pinned_kb(void)
{
	char line[200];
	FILE *status = fopen("/proc/self/status", "r");
	int kb = -1;

	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "VmPin: %d", &kb) == 1)
			break;
	fclose(status);
	return kb;
}

static void counts(void)
{
	struct faulting at = mock_device();
	struct iommu_ioas_unmap all = { .size = sizeof(all), .ioas_id = at.ioas, .length = UINT64_MAX };
	uint64_t iova;
	int before = pinned_kb();

	fresh("x");
	iova = pinned(&at);
	(void)iova;
	CHECK(pinned_kb() == before + LENGTH / 1024);
	CHECK(ioctl(at.fd, IOMMU_IOAS_UNMAP, &all) == 0);
	CHECK(pinned_kb() == before);
	close(at.fd);
}

int main(void)
{
	struct faulting at = mock_device();
	uint64_t iova;
	int ends[2];
	char byte;

	fd = at.fd;
	access_id = access_alloc(fd, at.ioas);
	unmaps(&at);
	/* Memory of a process that ends. */
	CHECK(pipe(ends) == 0);
	if (fork() == 0) {
		fresh("of the child");
		iova = pinned(&at);
		CHECK(write(ends[1], &iova, sizeof(iova)) == sizeof(iova));
		_exit(0);
	}
	close(ends[1]);
	CHECK(read(ends[0], &iova, sizeof(iova)) == sizeof(iova) && read(ends[0], &byte, 1) == 0);
	device_finds(iova, "of the child");
	close(at.fd);
	counts();
	return 0;
}
