/*
 * Two virtual machines, as two processes that share nothing but the host. Each has its own /dev/ioasid, its own machine of
 * /dev/kvm, its own device, and memory of its own at the same guest-physical address under the same PASID. Both do DMA at
 * once and find their own bytes. Then one tries what belongs to the other: its address space by number, its device, its
 * machine by a descriptor that it was even given. In the end one is killed, and the other has noticed nothing.
 *
 *     ioasis header > ioasis.h && cc -o two-machines two-machines.c
 *     ioasis run --profile vtd -- ./two-machines
 */
#define _GNU_SOURCE
#include <linux/kvm.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "owners.h"

#define PASID 7
#define GUEST_ADDRESS 0x100000000ul
#define PAGES 64
/* The second machine has more memory: what lies there the first one has not. */
#define SECOND_PAGES 128
#define ROUNDS 2000

struct machine {
	int ioasids, vm, device, number;
	uint32_t ioasid;
	uint64_t pages;
	char *memory;
};

/* ---- A machine ---- */

static struct machine build(int number)
{
	struct machine m = { .number = number, .pages = number == 0 ? PAGES : SECOND_PAGES };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct kvm_userspace_memory_region slot = {
		.guest_phys_addr = GUEST_ADDRESS, .memory_size = m.pages * PAGE,
	};
	struct alloc_ioasid_kvm alloc = { .size = sizeof(alloc) };

	m.ioasids = open_ioasids();
	m.device = open_device(number);
	m.vm = ioctl(kvm, KVM_CREATE_VM, 0);
	must(m.vm >= 0, "KVM_CREATE_VM");
	m.memory = map_pages(m.pages, MAP_PRIVATE);
	slot.userspace_addr = (uintptr_t)m.memory;
	must(ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0, "KVM_SET_USER_MEMORY_REGION");
	must(bind_device(m.device, m.ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	alloc.fd = m.ioasids;
	must(ioctl(m.vm, ALLOC_IOASID_KVM, &alloc) == 0, "ALLOC_IOASID_KVM");
	m.ioasid = alloc.out_ioasid;
	must(authorize(m.device, m.ioasid, PASID) == 0, "AUTHORIZE_IOASID");
	return m;
}

/* A byte that the machine alone has: its own bit, and a count. */
static unsigned char own_byte(const struct machine *m, unsigned count)
{
	return (unsigned char)(count << 1 | (unsigned)m->number);
}

/* The device stores and reads; all of the machine's memory has the machine's own bytes afterwards. */
static void work(const struct machine *m)
{
	char into[64];

	for (uint64_t i = 0; i < m->pages * PAGE; i++)
		m->memory[i] = (char)own_byte(m, 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t at = (uint64_t)rand() % (m->pages * PAGE - sizeof(into));

		must(is_done(store(m->device, PASID, GUEST_ADDRESS + at, sizeof(into), own_byte(m, round))), "a store");
		must((unsigned char)m->memory[at] == own_byte(m, round), "what was stored");
		at = (uint64_t)rand() % (m->pages * PAGE - sizeof(into));
		must(is_done(load(m->device, PASID, GUEST_ADDRESS + at, sizeof(into), into)), "a read");
		must(memcmp(into, m->memory + at, sizeof(into)) == 0, "what was read");
	}
	for (uint64_t i = 0; i < m->pages * PAGE; i++)
		must((m->memory[i] & 1) == m->number, "a byte of the other machine's");
}

/* ---- What they may know of each other ---- */

/* All that the machines ever say to each other: go on, and once a descriptor. */
static void say_go(int to)
{
	must(write(to, "", 1) == 1, "write");
}

static void await_go(int from)
{
	char byte;

	must(read(from, &byte, 1) == 1, "the other machine");
}

struct descriptor_message {
	char byte;
	struct iovec vector;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct msghdr header;
};

static struct msghdr *prepare(struct descriptor_message *message)
{
	message->vector = (struct iovec){ .iov_base = &message->byte, .iov_len = 1 };
	message->header = (struct msghdr){
		.msg_iov = &message->vector,
		.msg_iovlen = 1,
		.msg_control = message->control,
		.msg_controllen = sizeof(message->control),
	};
	return &message->header;
}

static void give_descriptor(int to, int fd)
{
	struct descriptor_message message = { 0 };
	struct msghdr *header = prepare(&message);
	struct cmsghdr *control = CMSG_FIRSTHDR(header);

	*control = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fd)),
	};
	memcpy(CMSG_DATA(control), &fd, sizeof(fd));
	must(sendmsg(to, header, 0) == 1, "sendmsg");
}

static int take_descriptor(int from)
{
	struct descriptor_message message = { 0 };
	struct msghdr *header = prepare(&message);
	int fd;

	must(recvmsg(from, header, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(header) != NULL, "recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(header)), sizeof(fd));
	return fd;
}

static void try_what_is_not_its_own(const struct machine *m, int other)
{
	struct alloc_ioasid_kvm alloc = { .size = sizeof(alloc) };
	struct info_ioasid info = { .size = sizeof(info) };
	int device = open_device(1 - m->number);
	uint32_t foreign;

	must(read(other, &foreign, sizeof(foreign)) == sizeof(foreign), "a number");
	must(authorize(m->device, foreign, PASID + 1) == ENOENT, "the other's address space");
	info.ioasid = foreign;
	must(outcome(ioctl(m->ioasids, INFO_IOASID, &info)) == ENOENT, "what is known of it");
	printf("   Its address space, number %u: no such thing here.\n", foreign);

	/* VFIO's answer to a second user: a device has one, unless a group is opened. */
	must(bind_device(device, m->ioasids) == EINVAL, "the other's device");
	close(device);
	printf("   Its device: it has a user already.\n");

	alloc.fd = take_descriptor(other);
	must(ioctl(m->ioasids, ALLOC_IOASID_KVM, &alloc) < 0, "the other's machine");
	printf("   Its machine, by a descriptor that it has sent: %s.\n", strerror(errno));
	close(alloc.fd);

	must(is_refused(store(m->device, PASID, GUEST_ADDRESS + PAGES * PAGE, 1, 1)), "memory that only the other has");
	printf("   A guest-physical address that only the other has: the page request was answered INVALID.\n");
}

/* ---- Both ---- */

static void be_first(int other, pid_t second)
{
	struct machine m = build(0);

	await_go(other);
	printf("Two machines, each with its own memory at 0x%lx under PASID %d.\n", GUEST_ADDRESS, PASID);
	say_go(other);
	work(&m);
	await_go(other);
	printf("   %d stores and reads of each, at the same time: each found its own bytes.\n", ROUNDS);
	printf("The first tries what is the second's.\n");
	try_what_is_not_its_own(&m, other);
	say_go(other);
	await_go(other);
	printf("   The second has noticed nothing.\n");
	kill(second, SIGKILL);
	must(waitpid(second, NULL, 0) == second, "waitpid");
	work(&m);
	printf("The second was killed; the first goes on.\n");
	m.number = 1;
	must(bind_device(open_device(1), m.ioasids) == 0, "the device that is free now");
}

static void be_second(int other)
{
	struct machine m = build(1);
	/* A table that the first has no counterpart of, so that its number means nothing there. */
	uint32_t only_here = process_table(m.ioasids, -1);

	say_go(other);
	await_go(other);
	work(&m);
	say_go(other);
	must(write(other, &only_here, sizeof(only_here)) == sizeof(only_here), "write");
	give_descriptor(other, m.vm);
	await_go(other);
	work(&m);
	say_go(other);
	pause();
}

int main(void)
{
	int pair[2];
	pid_t second;

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	second = fork();
	must(second >= 0, "fork");
	if (second == 0) {
		close(pair[0]);
		be_second(pair[1]);
		return 0;
	}
	close(pair[1]);
	be_first(pair[0], second);
	return 0;
}
