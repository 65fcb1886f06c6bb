/*
 * The descriptor of a virtual machine through everything that can be done to descriptors, while a device uses the machine's
 * own table. With a stand-in for /dev/kvm, a real one, or what a test has in its place.
 */
#define _GNU_SOURCE
#include <linux/kvm.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "owners.h"

#define PASID 4
#define GUEST_BASE 0x100000000ul
/* Younger than many a <linux/kvm.h>. */
#define CAP_USER_MEMORY2 231
#define SET_USER_MEMORY_REGION2 0x40a0ae49ul

struct region2 {
	struct kvm_userspace_memory_region region;
	uint64_t guest_memfd[16];
};

static char *memory;

static int set_slot(int vm, uint32_t slot, uint32_t flags, uint64_t guest, int page, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = guest,
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory + (uint64_t)page * PAGE,
	};

	return outcome(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
}

static int make_machine(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	must(kvm >= 0, "/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	must(vm >= 0, "KVM_CREATE_VM");
	close(kvm);
	return vm;
}

static int alloc_table(int on, int fd, uint32_t *ioasid)
{
	struct alloc_ioasid_kvm cmd = { .size = sizeof(cmd), .fd = fd };
	int failed = outcome(ioctl(on, ALLOC_IOASID_KVM, &cmd));

	*ioasid = cmd.out_ioasid;
	return failed;
}

static void expect_byte(int device, uint64_t guest, int page, unsigned char value)
{
	must(is_done(store(device, PASID, guest, 1, value)), "a store to a slot");
	must((unsigned char)memory[(unsigned long)page * PAGE] == value, "what was stored");
}

static void expect_nothing(int device, uint64_t guest)
{
	must(is_refused(store(device, PASID, guest, 1, 0xee)), "a store where no slot is");
}

static void in_another_process(int vm)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		int ioasids = open_ioasids(), device = open_device(1);
		uint32_t ioasid;

		must(bind_device(device, ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD in another process");
		must(alloc_table(vm, ioasids, &ioasid) == EIO, "ALLOC_IOASID_KVM on another's machine");
		must(alloc_table(ioasids, vm, &ioasid) == EIO, "ALLOC_IOASID_KVM of another's machine");
		_exit(0);
	}
	must(waitpid(child, &status, 0) == child && status == 0, "another process");
}

/* Slots by each call and each way of calling; what KVM refuses changes nothing. */
static void change_slots(int vm, int device)
{
	struct region2 region = { {
		.slot = 1, .guest_phys_addr = GUEST_BASE + 8 * PAGE, .memory_size = PAGE, .userspace_addr = (uintptr_t)memory,
	}, { 0 } };
	int copy = dup(vm);

	expect_nothing(device, GUEST_BASE);
	must(set_slot(copy, 0, 0, GUEST_BASE, 0, 2 * PAGE) == 0, "a slot, by another descriptor");
	close(copy);
	expect_byte(device, GUEST_BASE + PAGE, 1, 1);
	must(set_slot(vm, 40000, 0, GUEST_BASE + 4 * PAGE, 2, PAGE) == EINVAL, "a slot that there cannot be");
	expect_nothing(device, GUEST_BASE + 4 * PAGE);
	must(set_slot(vm, 0, 0, GUEST_BASE + 2 * PAGE, 0, 2 * PAGE) == 0, "a move");
	expect_nothing(device, GUEST_BASE + PAGE);
	expect_byte(device, GUEST_BASE + 3 * PAGE, 1, 2);
	if (ioctl(vm, KVM_CHECK_EXTENSION, CAP_USER_MEMORY2) == 1) {
		must(syscall(SYS_ioctl, vm, SET_USER_MEMORY_REGION2, &region) == 0, "SET_USER_MEMORY_REGION2");
		expect_byte(device, GUEST_BASE + 8 * PAGE, 0, 3);
	}
	must(set_slot(vm, 0, 0, 0, 0, 0) == 0, "a deletion");
	expect_nothing(device, GUEST_BASE + 3 * PAGE);
	must(set_slot(vm, 0, KVM_MEM_READONLY, GUEST_BASE, 0, PAGE) == 0, "a slot that is only read");
	expect_nothing(device, GUEST_BASE);
	must(set_slot(vm, 0, 0, 0, 0, 0) == 0, "its deletion");
	must(set_slot(vm, 0, 0, GUEST_BASE, 0, PAGE) == 0, "the slot again");
}

/* The machine ends with its last descriptor, whoever has it. */
static void end_machine(int vm, int device)
{
	int go[2], status;
	pid_t child;
	char byte;

	must(pipe(go) == 0, "pipe");
	child = fork();
	if (child == 0) {
		close(go[1]);
		_exit(read(go[0], &byte, 1) != 0);
	}
	close(vm);
	expect_byte(device, GUEST_BASE, 0, 5);
	close(go[1]);
	must(waitpid(child, &status, 0) == child && status == 0, "who has the last descriptor");
	expect_nothing(device, GUEST_BASE);
}

int main(void)
{
	int ioasids = open_ioasids(), device = open_device(0), vm = make_machine(), other = make_machine();
	struct alloc_ioasid_kvm wrong = { .size = sizeof(wrong), .fd = ioasids };
	int pipes[2];
	uint32_t ioasid, unused;

	memory = map_pages(8, MAP_PRIVATE);
	must(alloc_table(vm, ioasids, &ioasid) == ENODEV, "ALLOC_IOASID_KVM without a device");
	must(bind_device(device, ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	must(alloc_table(vm, ioasids, &ioasid) == 0, "ALLOC_IOASID_KVM of the machine's file");
	must(alloc_table(ioasids, vm, &unused) == 0, "ALLOC_IOASID_KVM of /dev/ioasid");
	must(pipe(pipes) == 0 && outcome(ioctl(pipes[0], ALLOC_IOASID_KVM, &wrong)) == ENOTTY, "ALLOC_IOASID_KVM on a pipe");
	must(authorize(device, ioasid, PASID) == 0, "AUTHORIZE_IOASID");
	must(set_slot(other, 0, 0, GUEST_BASE, 4, PAGE) == 0, "a slot of another machine");
	in_another_process(vm);
	change_slots(vm, device);
	end_machine(vm, device);
	return 0;
}
