/*
 * Moves bytes between a mapped file and many places at once: one call of the daemon for what a device reads, writes or
 * copies page by page. A run names a physical address; what is not within the mapping stops the call, and the daemon goes
 * on by itself. A page that is lost meanwhile is guard.c's business.
 *
 * What is to be moved stands in one structure that the daemon has mapped, since each argument of a call costs it as much as
 * the call itself. Numbers are doubles, which JavaScript stores as they are; all are integers below 2^53.
 */
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct run {
	int32_t hi;
	uint32_t lo;
	int32_t length;
};

/* Runs, and the mapping that they lie in: its address, the physical address of its first byte, its length. */
struct side {
	double base;
	double hpa;
	double length;
	double runs;
};

/* See the indices in src/host/sys.ts. */
static struct {
	struct side from;
	struct side to;
	/* How many runs of the one side that there is, or how many bytes of both. */
	double amount;
	/* Index in the daemon's own bytes. */
	double at;
} order;

EXPORT int64_t guard_order(void)
{
	return (int64_t)(intptr_t)&order;
}

EXPORT int64_t guard_address(const void *bytes)
{
	return (int64_t)(intptr_t)bytes;
}

static const struct run *runs_of(const struct side *side)
{
	return (const struct run *)(intptr_t)side->runs;
}

/* Where a run lies; NULL: not in the mapping. */
static char *place(const struct side *side, const struct run *run)
{
	uint64_t length = (uint64_t)side->length;
	uint64_t at = ((uint64_t)(uint32_t)run->hi << 32 | run->lo) - (uint64_t)side->hpa;

	if (at >= length || (uint64_t)run->length > length - at)
		return NULL;
	return (char *)(intptr_t)side->base + at;
}

/* Copies runs one after the other to `bytes`; 0 when one of them is not within the mapping. */
EXPORT int guard_gather(char *bytes)
{
	const struct run *run = runs_of(&order.from);

	bytes += (int64_t)order.at;
	for (const struct run *end = run + (int)order.amount; run < end; run++) {
		const char *from = place(&order.from, run);

		if (!from)
			return 0;
		memmove(bytes, from, (size_t)run->length);
		bytes += run->length;
	}
	return 1;
}

/* The same from `bytes` to the runs. */
EXPORT int guard_scatter(const char *bytes)
{
	const struct run *run = runs_of(&order.to);

	bytes += (int64_t)order.at;
	for (const struct run *end = run + (int)order.amount; run < end; run++) {
		char *to = place(&order.to, run);

		if (!to)
			return 0;
		memmove(to, bytes, (size_t)run->length);
		bytes += run->length;
	}
	return 1;
}

/* Copies from one list of runs to another, neither of which is shorter than what is to be copied. */
EXPORT int guard_copy(void)
{
	const struct run *from = runs_of(&order.from), *to = runs_of(&order.to);
	int from_used = 0, to_used = 0;

	for (int64_t bytes = (int64_t)order.amount; bytes > 0;) {
		const char *source = place(&order.from, from);
		char *target = place(&order.to, to);
		int from_left = from->length - from_used, to_left = to->length - to_used;
		int piece = from_left < to_left ? from_left : to_left;

		if (!source || !target)
			return 0;
		if (piece > bytes)
			piece = (int)bytes;
		memmove(target + to_used, source + from_used, (size_t)piece);
		bytes -= piece;
		from_used += piece;
		to_used += piece;
		if (from_used == from->length) {
			from++;
			from_used = 0;
		}
		if (to_used == to->length) {
			to++;
			to_used = 0;
		}
	}
	return 1;
}
