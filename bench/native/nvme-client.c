/*
 * nvme-client DEVICE WORK [SIZE DEPTH]. WORK says what one operation is:
 *   load, store         of a register that is mapped
 *   pread, pwrite       the same by a call on the device file
 *   flush               a command that does nothing, from its doorbell to its interrupt
 *   random, sequential  a read of SIZE bytes, up to DEPTH of them under way; doorbells are rung for as many as there are
 */
#include "device.h"

enum { CC = 0x14, CSTS = 0x1c, AQA = 0x24, ASQ = 0x28, ACQ = 0x30, DOORBELLS = 0x1000 };
enum { OP_FLUSH = 0, OP_READ = 2, OP_CREATE_SQ = 1, OP_CREATE_CQ = 5, OP_IDENTIFY = 6 };
enum { ENTRIES = 64, BLOCK = 512, MOST = 32 };
/* Where things are in memory, in pages; lists and buffers are of one slot each. */
enum { ADMIN = 0, IO = 2, INFO = 4, LISTS = 8, BUFFERS = 64 };

struct command {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace;
	uint64_t reserved, metadata, prp1, prp2;
	uint32_t dwords[6];
};

struct completion {
	uint32_t result, reserved;
	uint16_t head, queue, id, status;
};

struct queue {
	struct command *commands;
	volatile struct completion *completions;
	unsigned number, tail, head, phase;
	int interrupt;
};

static struct queue admin, io;
static uint64_t blocks, next_block;
static uint32_t size, depth;
static unsigned done;

static struct queue queue_at(unsigned page, unsigned number)
{
	return (struct queue){ .commands = (void *)(memory + page * PAGE),
			       .completions = (void *)(memory + (page + 1) * PAGE),
			       .number = number,
			       .phase = 1,
			       .interrupt = eventfd(0, EFD_CLOEXEC) };
}

static void put(struct queue *queue, struct command command)
{
	command.id = (uint16_t)queue->tail;
	queue->commands[queue->tail] = command;
	queue->tail = (queue->tail + 1) % ENTRIES;
}

static void ring(struct queue *queue)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	store32(DOORBELLS + queue->number * 8, queue->tail);
}

/* Sleeps until at least one is over: how many are. */
static unsigned reap(struct queue *queue)
{
	unsigned count = 0;
	uint64_t signals;

	while (count == 0) {
		volatile struct completion *at;

		if (read(queue->interrupt, &signals, sizeof(signals)) != sizeof(signals))
			die("eventfd");
		while ((at = &queue->completions[queue->head])->status % 2 == queue->phase) {
			if (at->status >> 1)
				die("a command failed");
			queue->head = (queue->head + 1) % ENTRIES;
			queue->phase ^= queue->head == 0;
			count++;
		}
	}
	store32(DOORBELLS + queue->number * 8 + 4, queue->head);
	return count;
}

static void run(struct queue *queue, struct command command)
{
	put(queue, command);
	ring(queue);
	reap(queue);
}

static void open_interrupts(void)
{
	char bytes[sizeof(struct vfio_irq_set) + 2 * sizeof(int)] = { 0 };
	struct vfio_irq_set *set = (void *)bytes;

	*set = (struct vfio_irq_set){ .argsz = sizeof(bytes),
				      .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
				      .index = VFIO_PCI_MSIX_IRQ_INDEX,
				      .count = 2 };
	memcpy(set->data, &admin.interrupt, sizeof(int));
	memcpy(set->data + sizeof(int), &io.interrupt, sizeof(int));
	ask(device, VFIO_DEVICE_SET_IRQS, set, "VFIO_DEVICE_SET_IRQS");
}

static void enable(void)
{
	const uint32_t entries = ENTRIES - 1;

	admin = queue_at(ADMIN, 0);
	io = queue_at(IO, 1);
	open_interrupts();
	store32(AQA, entries | entries << 16);
	*(volatile uint64_t *)(bar + ASQ) = IOVA + ADMIN * PAGE;
	*(volatile uint64_t *)(bar + ACQ) = IOVA + (ADMIN + 1) * PAGE;
	store32(CC, 1 | 6 << 16 | 4 << 20);
	while ((load32(CSTS) & 1) == 0)
		usleep(1000);
	run(&admin, (struct command){ .opcode = OP_IDENTIFY, .namespace = 1, .prp1 = IOVA + INFO * PAGE });
	blocks = *(uint64_t *)(memory + INFO * PAGE);
	run(&admin, (struct command){ .opcode = OP_CREATE_CQ,
				      .prp1 = IOVA + (IO + 1) * PAGE,
				      .dwords = { 1 | entries << 16, 3 | 1 << 16 } });
	run(&admin, (struct command){ .opcode = OP_CREATE_SQ,
				      .prp1 = IOVA + IO * PAGE,
				      .dwords = { 1 | entries << 16, 1 | 1 << 16 } });
}

static void put_read(unsigned slot, uint64_t block)
{
	uint64_t buffer = IOVA + BUFFERS * PAGE + (uint64_t)slot * size;

	put(&io, (struct command){ .opcode = OP_READ,
				   .namespace = 1,
				   .prp1 = buffer,
				   .prp2 = size > PAGE ? IOVA + (LISTS + slot) * PAGE : 0,
				   .dwords = { (uint32_t)block, (uint32_t)(block >> 32), size / BLOCK - 1 } });
}

/* The pages of each slot but its first; reads are of one page, or of more than two. */
static void make_lists(void)
{
	for (unsigned slot = 0; slot < depth; slot++)
		for (unsigned page = 1; page < size / PAGE; page++)
			((uint64_t *)(memory + (LISTS + slot) * PAGE))[page - 1] =
				IOVA + BUFFERS * PAGE + (uint64_t)slot * size + page * PAGE;
}

static uint64_t random_block(void)
{
	return next_random() % (blocks * BLOCK / size) * (size / BLOCK);
}

static uint64_t following_block(void)
{
	uint64_t block = next_block;

	next_block = (next_block + size / BLOCK) % blocks;
	return block;
}

/* All slots are filled at first, and then those that have become free. */
static void keep_reading(uint64_t (*choose)(void))
{
	static unsigned free_slots = ~0u;

	if (done == 0) {
		unsigned count = free_slots == ~0u ? depth : free_slots;

		for (unsigned i = 0; i < count; i++)
			put_read(io.tail % depth, choose());
		ring(&io);
		free_slots = done = reap(&io);
	}
	done--;
}

static void do_random(void)
{
	keep_reading(random_block);
}

static void do_sequential(void)
{
	keep_reading(following_block);
}

static void do_flush(void)
{
	run(&io, (struct command){ .opcode = OP_FLUSH, .namespace = 1 });
}

static void do_load(void)
{
	load32(CSTS);
}

static void do_store(void)
{
	store32(AQA, 0);
}

static void do_pread(void)
{
	uint32_t value;

	if (pread(device, &value, 4, (off_t)bar_offset + CSTS) != 4)
		die("pread");
}

static void do_pwrite(void)
{
	uint32_t value = 0;

	if (pwrite(device, &value, 4, (off_t)bar_offset + AQA) != 4)
		die("pwrite");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*work)(void);
	} works[] = {
		{ "load", do_load },   { "store", do_store }, { "pread", do_pread },	      { "pwrite", do_pwrite },
		{ "flush", do_flush }, { "random", do_random }, { "sequential", do_sequential },
	};

	if (argc < 3)
		return 2;
	open_device(argv[1]);
	size = argc > 4 ? (uint32_t)atol(argv[3]) : PAGE;
	depth = argc > 4 ? (uint32_t)atol(argv[4]) : 1;
	if (depth > MOST || (uint64_t)depth * size > MEMORY - BUFFERS * PAGE)
		return 2;
	make_lists();
	enable();
	for (unsigned i = 0; i < sizeof(works) / sizeof(works[0]); i++)
		if (strcmp(works[i].name, argv[2]) == 0)
			serve_batches(works[i].work);
	return 2;
}
