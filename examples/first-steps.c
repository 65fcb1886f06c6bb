/*
 * First steps with /dev/iommu: an I/O address space, memory in it, a device that copies through it, and two mistakes.
 *
 * This is an ordinary Linux program. It knows nothing of ioasis: it would run as it is on a kernel that was built
 * with CONFIG_IOMMUFD_TEST (the devices here are the ones that such a kernel offers to its own tests).
 *
 *     ioasis header > ioasis.h && cc -o first-steps first-steps.c
 *     ioasis run --selftest --trace -- ./first-steps
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ioasis.h"

#define BUFFER_SIZE 8192

static int iommufd;

/* Makes a call that has to work. */
static void must(const char *what, int result)
{
	if (result < 0) {
		printf("   unexpected: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

/* Makes a call that has to be refused with `expected`. */
static void must_fail(int expected, int result)
{
	if (result >= 0 || errno != expected) {
		printf("   unexpected: %s\n", result < 0 ? strerror(errno) : "it worked");
		exit(1);
	}
	printf("   refused: %s. (The trace says why.)\n", strerror(errno));
}

/* A device copies `length` bytes between its own `data` and whatever the address space has at `iova`. */
static int device_copy(int device, uint64_t iova, void *data, size_t length, int flags)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.id = device,
		.access_rw = { .iova = iova, .length = length, .uptr = (uintptr_t)data, .flags = flags },
	};

	return ioctl(iommufd, IOMMU_TEST_CMD, &cmd);
}

static uint32_t make_address_space(void)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	must("IOMMU_IOAS_ALLOC", ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc));
	printf("1. An I/O address space, number %u. Nothing is in it yet.\n", alloc.out_ioas_id);
	return alloc.out_ioas_id;
}

static void attach_hardware(uint32_t ioas)
{
	struct iommu_test_cmd cmd = { .size = sizeof(cmd), .op = IOMMU_TEST_OP_MOCK_DOMAIN, .id = ioas };

	must("IOMMU_TEST_OP_MOCK_DOMAIN", ioctl(iommufd, IOMMU_TEST_CMD, &cmd));
	printf("2. A device behind an IOMMU is attached to it: device %u, page table %u.\n",
	       cmd.mock_domain.out_idev_id, cmd.mock_domain.out_hwpt_id);
}

static uint64_t map_buffer(uint32_t ioas, void *buffer)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)buffer,
		.length = BUFFER_SIZE,
	};

	must("IOMMU_IOAS_MAP", ioctl(iommufd, IOMMU_IOAS_MAP, &map));
	printf("3. %d bytes of this program are mapped; devices find them at 0x%llx.\n", BUFFER_SIZE,
	       (unsigned long long)map.iova);
	return map.iova;
}

static int make_device(uint32_t ioas)
{
	struct iommu_test_cmd cmd = { .size = sizeof(cmd), .op = IOMMU_TEST_OP_CREATE_ACCESS, .id = ioas };

	must("IOMMU_TEST_OP_CREATE_ACCESS", ioctl(iommufd, IOMMU_TEST_CMD, &cmd));
	return cmd.create_access.out_access_fd;
}

static void copy_both_ways(int device, uint64_t iova, char *buffer)
{
	char inside[64] = "";
	char greeting[] = "hello from the device";

	strcpy(buffer, "hello from the program");
	must("device reads", device_copy(device, iova, inside, sizeof(inside), 0));
	printf("4. A device reads at 0x%llx and gets \"%s\".\n", (unsigned long long)iova, inside);

	must("device writes", device_copy(device, iova + 4096, greeting, sizeof(greeting), MOCK_ACCESS_RW_WRITE));
	printf("   It writes one page further, and the program finds \"%s\".\n", buffer + 4096);
}

static void make_mistakes(uint32_t ioas, uint64_t iova, void *buffer)
{
	struct iommu_ioas_unmap half = { .size = sizeof(half), .ioas_id = ioas, .iova = iova, .length = BUFFER_SIZE / 2 };
	struct iommu_ioas_map again = {
		.size = sizeof(again),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)buffer,
		.length = BUFFER_SIZE,
		.iova = iova + 4096,
	};

	printf("5. A mistake: unmap one half of what was mapped as one.\n");
	must_fail(ENOENT, ioctl(iommufd, IOMMU_IOAS_UNMAP, &half));
	printf("6. Another: map where something is mapped already.\n");
	must_fail(EEXIST, ioctl(iommufd, IOMMU_IOAS_MAP, &again));
}

static void unmap_and_try(uint32_t ioas, uint64_t iova, int device)
{
	struct iommu_ioas_unmap all = { .size = sizeof(all), .ioas_id = ioas, .iova = iova, .length = BUFFER_SIZE };
	char byte;

	must("IOMMU_IOAS_UNMAP", ioctl(iommufd, IOMMU_IOAS_UNMAP, &all));
	printf("7. All of it is unmapped, and the device tries once more.\n");
	must_fail(ENOENT, device_copy(device, iova, &byte, 1, 0));
}

int main(void)
{
	char *buffer = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t ioas;
	uint64_t iova;
	int device;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (buffer == MAP_FAILED)
		return 1;
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (iommufd < 0) {
		perror("/dev/iommu");
		return 1;
	}
	ioas = make_address_space();
	attach_hardware(ioas);
	iova = map_buffer(ioas, buffer);
	device = make_device(ioas);
	copy_both_ways(device, iova, buffer);
	make_mistakes(ioas, iova, buffer);
	unmap_and_try(ioas, iova, device);
	close(device);
	close(iommufd);
	return 0;
}
