/*
 * An NVMe driver in one file: finds out what the controller is, makes a pair of I/O queues with an interrupt, writes
 * blocks, reads them back and compares. It is the same program on real hardware whose driver is vfio-pci:
 *
 *     ioasis header > ioasis.h && cc -O2 -o nvme nvme.c      (without it where the headers of Linux 6.6 are)
 *     ioasis run --profile nvme -- ./nvme /dev/vfio/devices/vfio1
 */
#include <err.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#if __has_include("ioasis.h")
#include "ioasis.h"
#else
#include <linux/iommufd.h>
#include <linux/vfio.h>
#endif

#define PAGE 4096
/* The controller sees addresses of its own; our memory is here. */
#define IOVA 0x10000000ull
#define MEMORY (2u << 20)
#define ENTRIES 32

/* Where things are in the memory that the controller can reach. */
enum {
	ADMIN_SQ = 0 * PAGE,
	ADMIN_CQ = 1 * PAGE,
	IO_SQ = 2 * PAGE,
	IO_CQ = 3 * PAGE,
	LIST = 4 * PAGE,
	IDENTIFY = 5 * PAGE,
	SOURCE = 64 * PAGE,
	TARGET = 128 * PAGE,
};

/* Registers, NVM Express 1.4, chapter 3. */
enum { CAP = 0x00, VS = 0x08, CC = 0x14, CSTS = 0x1c, AQA = 0x24, ASQ = 0x28, ACQ = 0x30, DOORBELLS = 0x1000 };
enum { OP_CREATE_SQ = 1, OP_CREATE_CQ = 5, OP_IDENTIFY = 6, OP_FLUSH = 0, OP_WRITE = 1, OP_READ = 2 };

struct command {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace;
	uint64_t reserved, metadata, prp1, prp2;
	uint32_t dword10, dword11, dword12, dword13, dword14, dword15;
};

struct completion {
	uint32_t result, reserved;
	uint16_t head, queue, id, status;
};

struct queue {
	struct command *commands;
	volatile struct completion *completions;
	unsigned tail, head, phase, number, eventfd;
};

static int device;
static char *memory;
/* BAR 0: mapped, so that a load costs a load; null: by pread and pwrite. */
static volatile char *bar;
static uint64_t bar_offset;

static uint32_t load32(unsigned offset)
{
	uint32_t value;

	if (bar)
		return *(volatile uint32_t *)(bar + offset);
	if (pread(device, &value, 4, bar_offset + offset) != 4)
		err(1, "read of register 0x%x", offset);
	return value;
}

static void store32(unsigned offset, uint32_t value)
{
	if (bar)
		*(volatile uint32_t *)(bar + offset) = value;
	else if (pwrite(device, &value, 4, bar_offset + offset) != 4)
		err(1, "write of register 0x%x", offset);
}

/* The device belongs to us, and what is in `memory` is at IOVA for it. */
static void open_device(const char *path)
{
	int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (iommufd < 0)
		err(1, "/dev/iommu");
	device = open(path, O_RDWR | O_CLOEXEC);
	if (device < 0)
		err(1, "%s", path);

	struct vfio_device_bind_iommufd bind = { .argsz = sizeof bind, .iommufd = iommufd };
	if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		err(1, "VFIO_DEVICE_BIND_IOMMUFD");

	struct iommu_ioas_alloc ioas = { .size = sizeof ioas };
	if (ioctl(iommufd, IOMMU_IOAS_ALLOC, &ioas))
		err(1, "IOMMU_IOAS_ALLOC");
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof attach, .pt_id = ioas.out_ioas_id };
	if (ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		err(1, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	struct iommu_ioas_map map = {
		.size = sizeof map,
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE,
		.ioas_id = ioas.out_ioas_id,
		.user_va = (uintptr_t)memory,
		.length = MEMORY,
		.iova = IOVA,
	};
	if (ioctl(iommufd, IOMMU_IOAS_MAP, &map))
		err(1, "IOMMU_IOAS_MAP");
}

static struct vfio_region_info region(unsigned index)
{
	struct vfio_region_info info = { .argsz = sizeof info, .index = index };
	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info))
		err(1, "VFIO_DEVICE_GET_REGION_INFO");
	return info;
}

/* Registers can be reached, and the controller may master memory. */
static void open_registers(void)
{
	uint64_t config = region(VFIO_PCI_CONFIG_REGION_INDEX).offset;
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;
	if (pwrite(device, &command, 2, config + PCI_COMMAND) != 2)
		err(1, "PCI_COMMAND");

	struct vfio_region_info info = region(VFIO_PCI_BAR0_REGION_INDEX);
	bar_offset = info.offset;
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP))
		return;
	void *mapped = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, info.offset);
	if (mapped != MAP_FAILED)
		bar = mapped;
}

/* Vector n of MSI-X signals the eventfd of queue n. */
static void open_interrupts(struct queue *queues, unsigned count)
{
	size_t size = sizeof(struct vfio_irq_set) + count * sizeof(int);
	struct vfio_irq_set *set = calloc(1, size);
	set->argsz = size;
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = VFIO_PCI_MSIX_IRQ_INDEX;
	set->count = count;
	for (unsigned i = 0; i < count; i++) {
		queues[i].eventfd = eventfd(0, EFD_CLOEXEC);
		memcpy(set->data + i * sizeof(int), &queues[i].eventfd, sizeof(int));
	}
	if (ioctl(device, VFIO_DEVICE_SET_IRQS, set))
		err(1, "VFIO_DEVICE_SET_IRQS");
	free(set);
}

static struct queue make_queue(unsigned number, unsigned sq, unsigned cq)
{
	return (struct queue){
		.commands = (void *)(memory + sq),
		.completions = (void *)(memory + cq),
		.phase = 1,
		.number = number,
	};
}

/* Puts a command into the queue, rings the doorbell, and sleeps until the interrupt says that it is over. */
static void run(struct queue *queue, struct command command)
{
	volatile struct completion *completion = &queue->completions[queue->head];
	uint64_t count;
	command.id = queue->tail;
	queue->commands[queue->tail] = command;
	queue->tail = (queue->tail + 1) % ENTRIES;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	store32(DOORBELLS + queue->number * 8, queue->tail);

	while ((completion->status & 1) != queue->phase) {
		struct pollfd wait = { .fd = queue->eventfd, .events = POLLIN };
		if (poll(&wait, 1, 5000) != 1)
			errx(1, "no interrupt: CSTS is 0x%x", load32(CSTS));
		if (read(queue->eventfd, &count, sizeof count) != sizeof count)
			err(1, "eventfd");
	}
	uint16_t status = completion->status >> 1;
	queue->head = (queue->head + 1) % ENTRIES;
	if (queue->head == 0)
		queue->phase ^= 1;
	store32(DOORBELLS + queue->number * 8 + 4, queue->head);
	if (status != 0)
		errx(1, "opcode 0x%02x: status 0x%x", command.opcode, status);
}

static void wait_ready(unsigned ready)
{
	for (unsigned tries = 0; (load32(CSTS) & 1) != ready; tries++) {
		if (tries == 5000 || (load32(CSTS) & 2))
			errx(1, "the controller does not get ready: CSTS is 0x%x", load32(CSTS));
		usleep(1000);
	}
}

static void enable(void)
{
	store32(CC, 0);
	wait_ready(0);
	store32(AQA, (ENTRIES - 1) | (ENTRIES - 1) << 16);
	store32(ASQ, IOVA + ADMIN_SQ);
	store32(ASQ + 4, 0);
	store32(ACQ, IOVA + ADMIN_CQ);
	store32(ACQ + 4, 0);
	store32(CC, 1 | 6 << 16 | 4 << 20);
	wait_ready(1);
}

static void identify(struct queue *admin, unsigned kind, unsigned namespace)
{
	run(admin, (struct command){ .opcode = OP_IDENTIFY, .namespace = namespace, .prp1 = IOVA + IDENTIFY, .dword10 = kind });
}

/* Moves `blocks` of 512 bytes between block `start` and `at` in our memory. */
static void move(struct queue *io, unsigned opcode, uint64_t start, unsigned blocks, unsigned at)
{
	unsigned pages = (blocks * 512 + PAGE - 1) / PAGE;
	uint64_t *list = (uint64_t *)(memory + LIST);
	struct command command = {
		.opcode = opcode,
		.namespace = 1,
		.prp1 = IOVA + at,
		.dword10 = start,
		.dword11 = start >> 32,
		.dword12 = blocks - 1,
	};

	for (unsigned i = 1; i < pages; i++)
		list[i - 1] = IOVA + at + i * PAGE;
	if (pages == 2)
		command.prp2 = list[0];
	else if (pages > 2)
		command.prp2 = IOVA + LIST;
	run(io, command);
}

int main(int argc, char **argv)
{
	struct queue queues[2];

	if (argc != 2)
		errx(2, "usage: %s /dev/vfio/devices/vfioN", argv[0]);
	open_device(argv[1]);
	open_registers();
	queues[0] = make_queue(0, ADMIN_SQ, ADMIN_CQ);
	queues[1] = make_queue(1, IO_SQ, IO_CQ);
	open_interrupts(queues, 2);
	enable();
	printf("NVMe %x.%x, registers %s\n", load32(VS) >> 16, load32(VS) >> 8 & 0xff, bar ? "mapped" : "by pread");

	identify(&queues[0], 1, 0);
	printf("model %.40s serial %.12s\n", memory + IDENTIFY + 24, memory + IDENTIFY + 4);
	identify(&queues[0], 0, 1);
	uint64_t blocks = *(uint64_t *)(memory + IDENTIFY);
	printf("namespace 1: %llu blocks\n", (unsigned long long)blocks);

	unsigned size = (ENTRIES - 1) << 16;
	run(&queues[0], (struct command){ .opcode = OP_CREATE_CQ, .prp1 = IOVA + IO_CQ, .dword10 = 1 | size, .dword11 = 3 | 1 << 16 });
	run(&queues[0], (struct command){ .opcode = OP_CREATE_SQ, .prp1 = IOVA + IO_SQ, .dword10 = 1 | size, .dword11 = 1 | 1 << 16 });

	unsigned moved = 0;
	for (unsigned round = 0; round < 100; round++) {
		unsigned count = 1 + round % 256;
		uint64_t start = round * 977 % (blocks - count);
		for (unsigned i = 0; i < count * 512; i++)
			memory[SOURCE + i] = (i * 7 + i / 512 + round * 31) & 0xff;
		memset(memory + TARGET, 0, count * 512);
		move(&queues[1], OP_WRITE, start, count, SOURCE);
		move(&queues[1], OP_READ, start, count, TARGET);
		if (memcmp(memory + SOURCE, memory + TARGET, count * 512))
			errx(1, "block %llu and on: not what was written", (unsigned long long)start);
		moved += count;
	}
	run(&queues[1], (struct command){ .opcode = OP_FLUSH, .namespace = 1 });
	printf("%u blocks written, read back and compared\n", moved);
	return 0;
}
