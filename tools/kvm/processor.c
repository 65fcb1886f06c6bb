/*
 * A virtual machine with a processor: what a device stores through the machine's own table, the processor reads, and what
 * the processor writes, the device reads; also when the slot has moved. Only a real KVM has processors.
 */
#define _GNU_SOURCE
#include <linux/kvm.h>

#include "owners.h"

#define PASID 4
/* Guest-physical: a page of code, and where a page of data is at first and later. */
#define CODE 0x1000ul
#define DATA 0x2000ul
#define LATER 0x5000ul

/* Real mode: al = [bx]; inc al; [bx + 1] = al; hlt. */
static const unsigned char code[] = { 0x8a, 0x07, 0xfe, 0xc0, 0x88, 0x47, 0x01, 0xf4 };

static int kvm, vm, processor;
static struct kvm_run *run;

static void set_slot(uint32_t slot, uint64_t guest, void *memory)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .guest_phys_addr = guest, .memory_size = PAGE, .userspace_addr = (uintptr_t)memory,
	};

	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0, "KVM_SET_USER_MEMORY_REGION");
}

/* The processor runs the code on the data there. */
static void run_on(uint64_t data)
{
	struct kvm_sregs segments;
	struct kvm_regs registers = { .rip = CODE, .rbx = data, .rflags = 2 };

	must(ioctl(processor, KVM_GET_SREGS, &segments) == 0, "KVM_GET_SREGS");
	segments.cs.base = segments.ds.base = 0;
	segments.cs.selector = segments.ds.selector = 0;
	must(ioctl(processor, KVM_SET_SREGS, &segments) == 0, "KVM_SET_SREGS");
	must(ioctl(processor, KVM_SET_REGS, &registers) == 0, "KVM_SET_REGS");
	must(ioctl(processor, KVM_RUN, 0) == 0, "KVM_RUN");
	must(run->exit_reason == KVM_EXIT_HLT, "a halt");
}

static void pass_on(int device, uint64_t data, unsigned char value)
{
	unsigned char answer = 0;

	must(is_done(store(device, PASID, data, 1, value)), "a store");
	run_on(data);
	must(is_done(load(device, PASID, data + 1, 1, &answer)), "a read");
	must(answer == value + 1, "what the processor has made of it");
}

int main(void)
{
	int ioasids = open_ioasids(), device = open_device(0);
	struct alloc_ioasid_kvm alloc = { .size = sizeof(alloc), .fd = ioasids };
	char *memory = map_pages(2, MAP_SHARED);

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	must(vm >= 0, "KVM_CREATE_VM");
	processor = ioctl(vm, KVM_CREATE_VCPU, 0);
	must(processor >= 0, "KVM_CREATE_VCPU");
	run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, processor, 0);
	must(run != MAP_FAILED, "the processor's page");
	memcpy(memory, code, sizeof(code));
	set_slot(0, CODE, memory);
	set_slot(1, DATA, memory + PAGE);
	must(bind_device(device, ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	must(ioctl(vm, ALLOC_IOASID_KVM, &alloc) == 0, "ALLOC_IOASID_KVM");
	must(authorize(device, alloc.out_ioasid, PASID) == 0, "AUTHORIZE_IOASID");
	pass_on(device, DATA, 7);
	printf("The device stored 7, the processor made 8 of it, and the device read that.\n");
	set_slot(1, LATER, memory + PAGE);
	pass_on(device, LATER, 20);
	must(is_refused(store(device, PASID, DATA, 1, 1)), "a store where the slot was");
	printf("The slot moved, for both.\n");
	close(vm);
	must(is_refused(store(device, PASID, LATER, 1, 1)), "a store after the machine's descriptor is closed");
	run_on(LATER);
	printf("The machine's descriptor is closed: the device meets nothing, the processor still runs.\n");
	return 0;
}
