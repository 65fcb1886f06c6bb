/* ioat-client DEVICE SIZE: one operation is a copy of SIZE bytes by Intel's DMA engine, until its completion is in memory. */
#include <sched.h>

#include "device.h"

enum { CHANNEL = 0x80, CHANCTRL = 0x00, DMACOUNT = 0x06, CHAINADDR = 0x10, CHANCMP = 0x18 };
enum { COMPLETION_WRITE = 1 << 3, RING = 64 };
enum { DESCRIPTORS = 1 << 12, COMPLETION = 1 << 16, SOURCE = 1 << 20, TARGET = 8 << 20, LONGEST = 1 << 20 };

struct descriptor {
	uint32_t size, control;
	uint64_t source, target, next, unused[4];
};

static unsigned each, at;
static uint16_t count;

static void copy(void)
{
	volatile uint64_t *completion = (volatile uint64_t *)(memory + COMPLETION);
	uint64_t last;

	at = (at + each) % RING;
	count = (uint16_t)(count + each);
	last = IOVA + DESCRIPTORS + ((at + RING - 1) % RING) * sizeof(struct descriptor);
	*(volatile uint16_t *)(bar + CHANNEL + DMACOUNT) = count;
	while ((*completion & ~63ull) != last)
		sched_yield();
}

int main(int argc, char **argv)
{
	struct descriptor *ring;
	uint32_t size;

	if (argc != 3)
		return 2;
	size = (uint32_t)atol(argv[2]);
	each = size > LONGEST ? size / LONGEST : 1;
	open_device(argv[1]);
	ring = (struct descriptor *)(memory + DESCRIPTORS);
	for (unsigned i = 0; i < RING; i++)
		ring[i] = (struct descriptor){ .size = size / each,
					       .control = i % each == each - 1 ? COMPLETION_WRITE : 0,
					       .source = IOVA + SOURCE + i % each * LONGEST,
					       .target = IOVA + TARGET + i % each * LONGEST,
					       .next = IOVA + DESCRIPTORS + (i + 1) % RING * sizeof(*ring) };
	memset(memory + SOURCE, 1, size);
	*(volatile uint64_t *)(bar + CHANNEL + CHANCMP) = IOVA + COMPLETION;
	*(volatile uint64_t *)(bar + CHANNEL + CHAINADDR) = IOVA + DESCRIPTORS;
	copy();
	if (memcmp(memory + SOURCE, memory + TARGET, size) != 0)
		return 1;
	serve_batches(copy);
	return 0;
}
