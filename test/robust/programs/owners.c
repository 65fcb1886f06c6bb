/*
 * Clients of /dev/ioasid that mean harm or die: calls with anything for arguments, rings whose program writes what it
 * likes, descriptors closed under those who use them, as many of everything as there may be, and SIGKILL in the middle
 * of it all.
 */
#include "robust.h"
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define PAGE 4096ul
#define IOVA 0x10000000ul
#define LENGTH (1ul << 20)
/* Present, may be written, is the user's. */
#define ENTRY_FLAGS 7ul
#define ROUNDS 40

static const int calls[] = {
	ALLOC_IOASID, ALLOC_IOASID_SVA, ALLOC_IOASID_KVM, ALLOC_IOASID_USER_PAGE_TABLE, ALLOC_IOASID_NESTED_PAGE_TABLE,
	DESTROY_IOASID, MAP_IOASID, UNMAP_IOASID, INVALIDATE_IOASID, INFO_IOASID, FAULT_IOASID,
};

struct rings {
	struct ioasid_fault_header *faults;
	struct ioasid_response_header *responses;
	uint64_t length;
	int file, faulted, responded;
	uint32_t id;
};

static unsigned long seed = 1;

static unsigned long chance(unsigned long below)
{
	seed = seed * 6364136223846793005ul + 1442695040888963407ul;
	return (seed >> 33) % below;
}

/* ---- Calls that work ---- */

static int open_ioasids(void)
{
	int fd = open("/dev/ioasid", O_RDWR);

	CHECK(fd >= 0);
	return fd;
}

/* -1: somebody else has it. */
static int try_device(int number, int ioasids)
{
	char path[64];
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = ioasids };
	int fd;

	snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%d", number);
	fd = open(path, O_RDWR);
	if (fd >= 0 && ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The device of whoever was killed is free soon. */
static int device(int number, int ioasids)
{
	int fd;

	while ((fd = try_device(number, ioasids)) < 0)
		usleep(1000);
	return fd;
}

static uint32_t alloc_kernel(int ioasids)
{
	struct alloc_ioasid cmd = { .size = sizeof(cmd) };

	return ioctl(ioasids, ALLOC_IOASID, &cmd) ? 0 : cmd.out_ioasid;
}

static uint32_t alloc_sva(int ioasids, int pidfd)
{
	struct alloc_ioasid_sva cmd = { .size = sizeof(cmd), .pidfd = pidfd };

	return ioctl(ioasids, ALLOC_IOASID_SVA, &cmd) ? 0 : cmd.out_ioasid;
}

static uint32_t alloc_user(int ioasids, void *root, uint32_t fault_id)
{
	struct iommu_hwpt_vtd_s1 where = { .pgtbl_addr = (uintptr_t)root, .addr_width = 48 };
	struct alloc_ioasid_user_page_table cmd = {
		.size = sizeof(cmd),
		.flags = fault_id ? IOASID_FAULT : 0,
		.format = IOMMU_HWPT_DATA_VTD_S1,
		.data_len = sizeof(where),
		.data_uptr = (uintptr_t)&where,
		.fault_id = fault_id,
	};

	return ioctl(ioasids, ALLOC_IOASID_USER_PAGE_TABLE, &cmd) ? 0 : cmd.out_ioasid;
}

static uint32_t alloc_nested(int ioasids, uint32_t parent, uint64_t root)
{
	struct iommu_hwpt_vtd_s1 where = { .pgtbl_addr = root, .addr_width = 48 };
	struct alloc_ioasid_nested_page_table cmd = {
		.size = sizeof(cmd),
		.format = IOMMU_HWPT_DATA_VTD_S1,
		.data_len = sizeof(where),
		.data_uptr = (uintptr_t)&where,
		.parent = parent,
	};

	return ioctl(ioasids, ALLOC_IOASID_NESTED_PAGE_TABLE, &cmd) ? 0 : cmd.out_ioasid;
}

static int authorize(int device, unsigned long call, uint32_t ioasid, uint32_t pasid)
{
	struct authorize_ioasid cmd = {
		.argsz = sizeof(cmd), .flags = pasid ? IOASID_PASID : 0, .ioasid = ioasid, .pasid = pasid,
	};

	return ioctl(device, call, &cmd);
}

static int destroy_ioasid(int ioasids, uint32_t id)
{
	struct destroy_ioasid cmd = { .size = sizeof(cmd), .ioasid = id };

	return ioctl(ioasids, DESTROY_IOASID, &cmd);
}

static int map_ioasid(int ioasids, uint32_t id, uint64_t iova, void *at, uint64_t length)
{
	struct map_ioasid cmd = {
		.size = sizeof(cmd),
		.flags = IOASID_READ | IOASID_WRITE,
		.ioasid = id,
		.user_va = (uintptr_t)at,
		.length = length,
		.iova = iova,
	};

	return ioctl(ioasids, MAP_IOASID, &cmd);
}

/* The state of a store; -1: the call failed. */
static int stores(int device, uint32_t pasid, uint64_t at, uint64_t length, unsigned value)
{
	struct ioasis_dma dma = {
		.size = sizeof(dma),
		.flags = (pasid ? IOASIS_DMA_PASID : 0) | IOASIS_DMA_ATS | IOASIS_DMA_PRI,
		.op = IOASIS_DMA_OP_FILL,
		.pasid = pasid,
		.iova = at,
		.length = length,
		.value = value & 255,
	};

	return ioctl(device, IOASIS_DMA, &dma) ? -1 : (int)dma.out_state;
}

/* -1 with errno; the descriptors are the caller's to close. */
static int alloc_rings(int ioasids, struct rings *rings)
{
	struct fault_ioasid cmd = { .size = sizeof(cmd), .flags = IOASID_FAULT_RING };

	cmd.fault_eventfd = rings->faulted = eventfd(0, EFD_NONBLOCK);
	cmd.response_eventfd = rings->responded = eventfd(0, EFD_NONBLOCK);
	CHECK(rings->faulted >= 0 && rings->responded >= 0);
	if (ioctl(ioasids, FAULT_IOASID, &cmd)) {
		int failed = errno;

		close(rings->faulted);
		close(rings->responded);
		errno = failed;
		return -1;
	}
	rings->file = (int)cmd.out_fault_fd;
	rings->id = cmd.out_fault_id;
	rings->length = cmd.out_length;
	return 0;
}

static void map_rings(struct rings *rings)
{
	char *at = mmap(NULL, rings->length, PROT_READ | PROT_WRITE, MAP_SHARED, rings->file, 0);

	CHECK(at != MAP_FAILED);
	rings->faults = (void *)at;
	rings->responses = (void *)(at + PAGE + 512 * sizeof(struct iommu_fault_prm));
}

static void close_rings(struct rings *rings)
{
	close(rings->file);
	close(rings->faulted);
	close(rings->responded);
}

static char *pages(uint64_t length, int flags)
{
	char *at = mmap(NULL, length, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

/* Four levels in four pages at `base` for who walks them: `address` leads to `target`, and all after it nowhere. */
static void write_table(char *table, uint64_t base, uint64_t address, uint64_t target)
{
	for (int level = 0; level < 4; level++) {
		uint64_t next = level == 3 ? target : base + (unsigned)(level + 1) * PAGE;

		((uint64_t *)(table + (unsigned)level * PAGE))[address >> (39 - 9 * level) & 511] = next | ENTRY_FLAGS;
	}
}

/* All that an honest one does; everything of its kind must still work. */
static void honest(int number)
{
	int ioasids = open_ioasids(), dev = device(number, ioasids);
	char *memory = pages(LENGTH, MAP_SHARED);
	uint32_t id = alloc_kernel(ioasids), own = alloc_sva(ioasids, -1);

	CHECK(id && own && map_ioasid(ioasids, id, IOVA, memory, LENGTH) == 0);
	CHECK(authorize(dev, AUTHORIZE_IOASID, id, 0) == 0 && authorize(dev, AUTHORIZE_IOASID, own, 5) == 0);
	CHECK(stores(dev, 0, IOVA, LENGTH, 3) == IOASIS_DMA_DONE && memory[LENGTH - 1] == 3);
	CHECK(stores(dev, 5, (uintptr_t)memory, LENGTH, 4) == IOASIS_DMA_DONE && memory[LENGTH - 1] == 4);
	close(dev);
	close(ioasids);
	munmap(memory, LENGTH);
}

/* ---- Anything for arguments ---- */

static uint64_t odd(void *near)
{
	static const uint64_t values[] = {
		0, 1, 2, 3, 7, 4095, PAGE, 0x7fffffff, 0x80000000, 0xffffffff, 1ul << 47, (1ul << 47) - PAGE, 1ul << 63,
		~0ul, ~0ul - 4095, IOVA, 0x2f5, 0x10a5,
	};
	unsigned long which = chance(24);

	if (which < 18)
		return values[which];
	return which < 22 ? (uintptr_t)near + chance(LENGTH) / 8 * 8 : seed;
}

static void numbers(void)
{
	int ioasids = open_ioasids(), dev = device(0, ioasids), kvm = open("/dev/kvm", O_RDWR);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	char *memory = pages(LENGTH, MAP_SHARED), *edge = pages(2 * PAGE, MAP_PRIVATE) + PAGE;
	const int others[] = { AUTHORIZE_IOASID, DEAUTHORIZE_IOASID, IOASIS_DMA };
	const int machine[] = { KVM_SET_USER_MEMORY_REGION, ALLOC_IOASID_KVM, KVM_CHECK_EXTENSION };

	CHECK(vm >= 0 && munmap(edge, PAGE) == 0);
	for (unsigned i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		uint32_t sizes[] = { 0, 1, 4, 7, 8, 12, 4096, 4097, 0x7fffffff, 0xffffffff };

		REFUSED(ioctl(ioasids, calls[i], NULL), EFAULT);
		REFUSED(ioctl(ioasids, calls[i], ~0ul), EFAULT);
		REFUSED(ioctl(ioasids, calls[i], edge - 2), EFAULT);
		REFUSED(ioctl(ioasids, calls[i] + 0x10000, memory), ENOTTY);
		for (unsigned j = 0; j < sizeof(sizes) / sizeof(*sizes); j++) {
			uint32_t *at = (uint32_t *)(edge - 8);

			at[0] = sizes[j];
			at[1] = 0;
			CHECK(ioctl(ioasids, calls[i], at) == -1);
		}
	}
	for (int round = 0; round < 20000; round++) {
		uint32_t words[24];
		int where = (int)chance(8), fd = ioasids;
		unsigned long call = (unsigned long)calls[chance(11)];

		for (unsigned i = 0; i < 24; i++)
			words[i] = chance(3) ? (uint32_t)chance(6) : (uint32_t)odd(memory);
		for (unsigned i = 2; i < 24; i += 2)
			if (chance(3) == 0)
				*(uint64_t *)(words + i) = odd(memory);
		words[0] = chance(8) ? (uint32_t)(8 + 8 * chance(5)) : (uint32_t)odd(memory);
		words[1] = (uint32_t)chance(4);
		if (where == 0) {
			fd = dev;
			call = (unsigned long)others[chance(3)];
			if (call == IOASIS_DMA)
				words[0] = sizeof(struct ioasis_dma);
		} else if (where == 1) {
			fd = vm;
			call = (unsigned long)machine[chance(3)];
		}
		/* No call of the file may take a descriptor of ours for a new one's: what it gives is closed. */
		if (ioctl(fd, call, words) == 0 && call == FAULT_IOASID && fd == ioasids)
			close((int)words[3]);
	}
	CHECK(fcntl(ioasids, F_GETFD) >= 0 && fcntl(dev, F_GETFD) >= 0);
	close(dev);
	close(ioasids);
	close(vm);
	close(kvm);
	munmap(memory, LENGTH);
	honest(0);
}

/* ---- Rings ---- */

static volatile int done;

static void *scribbles(void *arg)
{
	struct rings *rings = arg;
	volatile uint32_t *words[2] = { (void *)rings->faults, (void *)rings->responses };
	unsigned mine = 7;

	while (!done) {
		mine = mine * 1664525 + 1013904223;
		/* Its index, and all of the header, and all of the entries. */
		words[mine >> 8 & 1][0] = mine >> 30 ? mine % 512 : mine;
		words[mine >> 9 & 1][mine >> 16 & 1023] = mine;
		words[mine >> 10 & 1][1024 + (mine >> 12 & 4095)] = mine >> 31 ? 24 + (mine >> 28) : mine;
		if ((mine & 15) == 0)
			eventfd_write(rings->responded, 1);
	}
	return NULL;
}

/* Many answers at once that are no answers, and some that are. */
static void *answers(void *arg)
{
	struct rings *rings = arg;
	struct ioasid_page_response *entries = (void *)((char *)rings->responses + PAGE);
	uint32_t head = 0;

	while (!done) {
		volatile struct iommu_fault_prm *fault = (void *)((char *)rings->faults + PAGE);

		for (int i = 0; i < 512; i++) {
			entries[head] = (struct ioasid_page_response){
				.argsz = sizeof(*entries), .version = 1, .flags = 1, .pasid = 9,
				.grpid = fault[i].grpid, .code = (unsigned)i % 3, .dev_id = fault[i].dev_id,
			};
			head = (head + 1) % 512;
			__atomic_store_n(&rings->responses->head, head, __ATOMIC_RELEASE);
		}
		__atomic_store_n(&rings->faults->tail, rings->faults->head, __ATOMIC_RELEASE);
		eventfd_write(rings->responded, 1);
	}
	return NULL;
}

static void take_completions(int dev, int patience)
{
	struct ioasis_dma_completion over;

	while (poll(&(struct pollfd){ .fd = dev, .events = POLLIN }, 1, patience) == 1)
		CHECK(read(dev, &over, sizeof(over)) == sizeof(over));
}

/* What becomes of the faults is the program's own affair; that there is an end of them is not. */
static void with_rings(void *(*work)(void *), int dev, int ioasids)
{
	char *table = pages(4 * PAGE, MAP_PRIVATE), *target = pages(PAGE, MAP_SHARED);
	struct rings rings;
	pthread_t thread;
	uint32_t id;

	CHECK(alloc_rings(ioasids, &rings) == 0);
	map_rings(&rings);
	write_table(table, (uintptr_t)table, IOVA, (uintptr_t)target);
	id = alloc_user(ioasids, table, rings.id);
	CHECK(id && authorize(dev, AUTHORIZE_IOASID, id, 9) == 0);
	done = 0;
	CHECK(pthread_create(&thread, NULL, work, &rings) == 0);
	for (unsigned i = 0; i < 300; i++) {
		struct ioasis_dma dma = {
			.size = sizeof(dma),
			.flags = IOASIS_DMA_PASID | IOASIS_DMA_ATS | IOASIS_DMA_PRI,
			.op = IOASIS_DMA_OP_FILL,
			.pasid = 9,
			.iova = IOVA + (i % 3) * PAGE,
			.length = PAGE * (1 + i % 4),
			.value = i & 255,
		};

		CHECK(ioctl(dev, IOASIS_DMA, &dma) == 0 || errno == EBUSY);
		take_completions(dev, 0);
	}
	CHECK(authorize(dev, DEAUTHORIZE_IOASID, id, 9) == 0);
	done = 1;
	pthread_join(thread, NULL);
	REFUSED(destroy_ioasid(ioasids, rings.id), EBUSY);
	CHECK(destroy_ioasid(ioasids, id) == 0);
	close_rings(&rings);
	/* It is mapped still, and then it is not. */
	REFUSED(destroy_ioasid(ioasids, rings.id), EBUSY);
	munmap(rings.faults, rings.length);
	CHECK(destroy_ioasid(ioasids, rings.id) == 0);
	munmap(table, 4 * PAGE);
	munmap(target, PAGE);
}

static void rings(void)
{
	int ioasids = open_ioasids(), dev = device(0, ioasids);

	with_rings(scribbles, dev, ioasids);
	with_rings(answers, dev, ioasids);
	close(ioasids);
	close(dev);
	honest(0);
}

/* ---- Killed in the middle ---- */

/* Everything that there is, as long as it lives; other threads close and destroy the same things. */
static void *lives(void *arg)
{
	int number = (int)(intptr_t)arg;
	char *memory = pages(LENGTH, MAP_SHARED), *table = pages(4 * PAGE, MAP_SHARED);

	for (;;) {
		int ioasids = open_ioasids(), dev = device(number, ioasids), kvm, vm = -1;
		uint32_t id = alloc_kernel(ioasids), own = alloc_sva(ioasids, -1), user, nested, machine = 0;
		struct kvm_userspace_memory_region slot = {
			.memory_size = LENGTH, .userspace_addr = (uintptr_t)memory,
		};
		struct rings rings;

		if (alloc_rings(ioasids, &rings) == 0)
			map_rings(&rings);
		write_table(table, (uintptr_t)table, IOVA, (uintptr_t)memory);
		user = alloc_user(ioasids, table, rings.id);
		map_ioasid(ioasids, id, IOVA, memory, LENGTH);
		nested = alloc_nested(ioasids, id, IOVA);
		if ((kvm = open("/dev/kvm", O_RDWR)) >= 0 && (vm = ioctl(kvm, KVM_CREATE_VM, 0)) >= 0) {
			struct alloc_ioasid_kvm cmd = { .size = sizeof(cmd), .fd = vm };

			ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);
			if (ioctl(ioasids, ALLOC_IOASID_KVM, &cmd) == 0)
				machine = cmd.out_ioasid;
		}
		authorize(dev, AUTHORIZE_IOASID, id, 0);
		authorize(dev, AUTHORIZE_IOASID, own, 5);
		authorize(dev, AUTHORIZE_IOASID, user, 6);
		authorize(dev, AUTHORIZE_IOASID, nested, 7);
		authorize(dev, AUTHORIZE_IOASID, machine, 8);
		for (int i = 0; i < 4; i++) {
			stores(dev, 0, IOVA, LENGTH, 1);
			stores(dev, 5, (uintptr_t)memory, LENGTH, 2);
			stores(dev, 6, IOVA, 3 * PAGE, 3);
			stores(dev, 7, IOVA, PAGE, 4);
			stores(dev, 8, 0, LENGTH, 5);
		}
		munmap(rings.faults, rings.length);
		close_rings(&rings);
		close(vm);
		close(kvm);
		/* The device first, or its ioasids. */
		close(chance(2) ? dev : ioasids);
		close(dev);
		close(ioasids);
	}
	return NULL;
}

/* Numbers that other threads are using. */
static void *closes(void *unused)
{
	(void)unused;
	for (;;) {
		struct authorize_ioasid cmd = { .argsz = sizeof(cmd), .flags = IOASID_PASID };
		int fd = 3 + (int)chance(24);

		cmd.ioasid = (uint32_t)chance(8);
		cmd.pasid = 5 + (uint32_t)chance(4);
		switch (chance(5)) {
		case 0:
			destroy_ioasid(fd, (uint32_t)chance(8));
			break;
		case 1:
			ioctl(fd, DEAUTHORIZE_IOASID, &cmd);
			break;
		case 2:
			dup2(fd, 3 + (int)chance(24));
			break;
		case 3:
			close(fd);
			break;
		default:
			stores(fd, 5, IOVA, LENGTH, 9);
		}
		usleep(100);
	}
	return NULL;
}

static void life(int number, int has_enemy)
{
	pthread_t thread;

	if (has_enemy) {
		/* What it closes may be what a CHECK is about: it dies of that, or is killed. */
		if (freopen("/dev/null", "w", stdout) == NULL)
			_exit(1);
		pthread_create(&thread, NULL, closes, NULL);
	}
	lives((void *)(intptr_t)number);
}

static void dying(void)
{
	int shared = open_ioasids(), mine = device(1, shared);
	char *memory = pages(LENGTH, MAP_SHARED);
	uint32_t id = alloc_kernel(shared);

	CHECK(id && map_ioasid(shared, id, IOVA, memory, LENGTH) == 0 && authorize(mine, AUTHORIZE_IOASID, id, 0) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		pid_t pid = fork(), forked;
		int status;

		CHECK(pid >= 0);
		if (pid == 0) {
			setpgid(0, 0);
			seed = (unsigned long)i + 1;
			/* A child of its own holds all that it has, and does nothing, or becomes another program. */
			if (i % 3 == 0 && (forked = fork()) == 0)
				pause();
			if (i % 3 == 1 && fork() == 0)
				execl("/bin/sleep", "sleep", "5", (char *)NULL);
			life(0, i % 2);
		}
		setpgid(pid, pid);
		usleep(3000 + (unsigned)chance(60000));
		kill(i % 4 < 2 ? -pid : pid, SIGKILL);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(stores(mine, 0, IOVA, LENGTH, (unsigned)i) == IOASIS_DMA_DONE);
		CHECK((unsigned char)memory[LENGTH - 1] == (i & 255));
		kill(-pid, SIGKILL);
	}
	close(mine);
	close(shared);
	honest(0);
}

/* ---- As many as there may be ---- */

/* Rings whose files are closed are in nobody's table of descriptors; there is an end of them all the same. */
static void rings_without_end(void)
{
	int ioasids = open_ioasids();
	struct rings rings;
	unsigned count = 0;

	while (alloc_rings(ioasids, &rings) == 0) {
		close_rings(&rings);
		CHECK(++count < 1000000);
	}
	CHECK(errno == ENOMEM && count > 10);
	/* Which is nobody else's trouble. */
	honest(0);
	CHECK(destroy_ioasid(ioasids, rings.id) == 0 && alloc_rings(ioasids, &rings) == 0);
	close_rings(&rings);
	close(ioasids);
}

static void thousands(void)
{
	int ioasids = open_ioasids(), dev = device(0, ioasids);
	static uint32_t ids[5000];
	char *memory = pages(PAGE, MAP_SHARED);

	for (unsigned i = 0; i < 5000; i++) {
		CHECK((ids[i] = i % 2 ? alloc_sva(ioasids, -1) : alloc_kernel(ioasids)) != 0);
		if (i % 2 == 0)
			CHECK(map_ioasid(ioasids, ids[i], IOVA, memory, PAGE) == 0);
		CHECK(authorize(dev, AUTHORIZE_IOASID, ids[i], i + 1) == 0);
	}
	for (unsigned i = 0; i < 5000; i += 97)
		CHECK(stores(dev, i + 1, i % 2 ? (uintptr_t)memory : IOVA, PAGE, i) == IOASIS_DMA_DONE &&
		      (unsigned char)memory[5] == (i & 255));
	REFUSED(destroy_ioasid(ioasids, ids[77]), EBUSY);
	CHECK(authorize(dev, DEAUTHORIZE_IOASID, ids[77], 78) == 0 && destroy_ioasid(ioasids, ids[77]) == 0);
	REFUSED(destroy_ioasid(ioasids, ids[77]), ENOENT);
	close(ioasids);
	/* The file of the device holds the rest. */
	CHECK(stores(dev, 1, IOVA, PAGE, 200) == IOASIS_DMA_DONE && (unsigned char)memory[0] == 200);
	close(dev);
	munmap(memory, PAGE);
}

/* ---- Other processes ---- */

static void send_fds(int to, const int *fds, size_t count)
{
	char byte = 0, control[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = CMSG_SPACE(count * sizeof(int)) };

	*CMSG_FIRSTHDR(&message) = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof(int)),
	};
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, count * sizeof(int));
	CHECK(sendmsg(to, &message, 0) == 1);
}

static void take_fds(int from, int *fds, size_t count)
{
	char byte, control[CMSG_SPACE(4 * sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };

	CHECK(recvmsg(from, &message, 0) == 1);
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), count * sizeof(int));
}

/* Both files in the hands of another process: what it shares and maps is its own, and goes with it. */
static void passed(void)
{
	int sockets[2], fds[2] = { open_ioasids(), 0 };
	char *memory = pages(LENGTH, MAP_PRIVATE), byte;
	uint32_t mine, theirs;
	pid_t pid;

	fds[1] = device(0, fds[0]);
	memset(memory, 'm', LENGTH);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
	if ((pid = fork()) == 0) {
		int got[2];
		uint32_t id;

		close(fds[0]);
		close(fds[1]);
		take_fds(sockets[1], got, 2);
		memset(memory, 't', LENGTH);
		CHECK((id = alloc_sva(got[0], -1)) && authorize(got[1], AUTHORIZE_IOASID, id, 6) == 0);
		CHECK(stores(got[1], 6, (uintptr_t)memory, PAGE, 'T') == IOASIS_DMA_DONE && memory[1] == 'T');
		CHECK(write(sockets[1], &id, sizeof(id)) == sizeof(id));
		for (;;)
			stores(got[1], 6, (uintptr_t)memory, LENGTH, 'T');
	}
	send_fds(sockets[0], fds, 2);
	CHECK(read(sockets[0], &theirs, sizeof(theirs)) == sizeof(theirs) && memory[1] == 'm');
	CHECK((mine = alloc_sva(fds[0], -1)) && authorize(fds[1], AUTHORIZE_IOASID, mine, 5) == 0);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
	/* Under its PASID nothing is there, ours neither. */
	CHECK(stores(fds[1], 6, (uintptr_t)memory, PAGE, 'x') == IOASIS_DMA_FAILED && memory[1] == 'm');
	CHECK(stores(fds[1], 5, (uintptr_t)memory, PAGE, 'M') == IOASIS_DMA_DONE && memory[1] == 'M');
	REFUSED(destroy_ioasid(fds[0], theirs), EBUSY);
	CHECK(authorize(fds[1], DEAUTHORIZE_IOASID, theirs, 6) == 0 && destroy_ioasid(fds[0], theirs) == 0);
	/* A child that has it all, and becomes another program while the device is busy with our pages. */
	if ((pid = fork()) == 0) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	for (byte = 1; byte < 20; byte++)
		CHECK(stores(fds[1], 5, (uintptr_t)memory, LENGTH, (unsigned)byte) == IOASIS_DMA_DONE &&
		      memory[LENGTH - 1] == byte);
	await(pid);
	close(fds[0]);
	close(fds[1]);
}

/* Whoever may not trace a process may not let a device at its memory either, though it has a descriptor of it. */
static void stranger(void)
{
	int first = open_ioasids(), pidfd, ioasids;
	pid_t pid;

	CHECK((pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0)) >= 0);
	if ((pid = fork()) == 0) {
		ioasids = open_ioasids();
		CHECK(device(0, ioasids) >= 0);
		CHECK(alloc_sva(ioasids, pidfd) != 0);
		CHECK(setgid(65534) == 0 && setuid(65534) == 0);
		CHECK(alloc_sva(ioasids, -1) != 0);
		CHECK(alloc_sva(ioasids, pidfd) == 0 && errno == EPERM);
		_exit(0);
	}
	await(pid);
	close(first);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*play)(void);
	} ways[] = {
		{ "numbers", numbers }, { "rings", rings }, { "dying", dying }, { "thousands", thousands },
		{ "rings-without-end", rings_without_end }, { "passed", passed }, { "stranger", stranger },
	};

	for (unsigned i = 0; argc > 1 && i < sizeof(ways) / sizeof(*ways); i++)
		if (strcmp(ways[i].name, argv[1]) == 0) {
			ways[i].play();
			return 0;
		}
	return 2;
}
