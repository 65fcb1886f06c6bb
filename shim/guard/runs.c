/*
 * Moves bytes between a mapped file and many places at once: one call of the daemon for what a device reads, writes or
 * copies page by page. A run names a physical address; what is not within the mapping stops the call, and the daemon goes
 * on by itself. A page that is lost meanwhile is guard.c's business.
 */
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct run {
	int32_t hi;
	uint32_t lo;
	int32_t length;
};

/* Where a run lies, of a mapping at `base` whose first of `length` bytes has physical address `hpa`; NULL: elsewhere. */
static char *place(int64_t base, int64_t hpa, int64_t length, const struct run *run)
{
	uint64_t at = ((uint64_t)(uint32_t)run->hi << 32 | run->lo) - (uint64_t)hpa;

	if (at >= (uint64_t)length || (uint64_t)run->length > (uint64_t)length - at)
		return NULL;
	return (char *)(intptr_t)base + at;
}

/* Copies `count` runs one after the other to `bytes`; 0 when one of them is not within the mapping. */
EXPORT int guard_gather(int64_t base, int64_t hpa, int64_t length, const struct run *runs, int count, char *bytes,
			int64_t at)
{
	bytes += at;
	for (int i = 0; i < count; i++) {
		const char *from = place(base, hpa, length, runs + i);

		if (!from)
			return 0;
		memmove(bytes, from, (size_t)runs[i].length);
		bytes += runs[i].length;
	}
	return 1;
}

/* The same from `bytes` to the runs. */
EXPORT int guard_scatter(int64_t base, int64_t hpa, int64_t length, const struct run *runs, int count,
			 const char *bytes, int64_t at)
{
	bytes += at;
	for (int i = 0; i < count; i++) {
		char *to = place(base, hpa, length, runs + i);

		if (!to)
			return 0;
		memmove(to, bytes, (size_t)runs[i].length);
		bytes += runs[i].length;
	}
	return 1;
}

/* Copies `bytes` bytes from one list of runs to another, each of one mapping, and neither shorter than that. */
EXPORT int guard_copy(int64_t from_base, int64_t from_hpa, int64_t from_length, const struct run *from,
		      int64_t to_base, int64_t to_hpa, int64_t to_length, const struct run *to, int64_t bytes)
{
	int from_used = 0, to_used = 0;

	while (bytes > 0) {
		const char *source = place(from_base, from_hpa, from_length, from);
		char *target = place(to_base, to_hpa, to_length, to);
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
