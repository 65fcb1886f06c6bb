/*
 * A device that always has more to do deafens nobody: counted is how many pieces it gets done between two answers, with
 * pieces that take longer than the engine may go without looking at its clients.
 */
#include "fake.h"

#define LONG_PIECE 4000
#define SHORT_PIECE 20
#define CALLS 61

static uint64_t storm(int fd, bool set, uint64_t microseconds)
{
	struct fake f = { sizeof(f), 0, microseconds, set, 0, 0 };

	CHECK(ioctl(fd, STORM, &f) == 0);
	return f.d;
}

static int by_value(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return one < other ? -1 : one > other;
}

/* Between the answers of calls that follow each other there is the piece under way, and hardly ever another. */
static void check_between(int fd)
{
	uint64_t between[CALLS], last = storm(fd, false, 0);

	for (int i = 0; i < CALLS; i++) {
		uint64_t now = storm(fd, false, 0);

		between[i] = now - last;
		last = now;
	}
	qsort(between, CALLS, sizeof(between[0]), by_value);
	CHECK(between[CALLS / 2] <= 2);
}

static void check_goes_on(int fd)
{
	uint64_t before = storm(fd, false, 0);

	for (uint64_t i = 0; i < 500; i++)
		check_add(fd, i);
	CHECK(storm(fd, false, 0) > before);
}

/* Another process, whose calls the first one's do not wake the engine for. */
static void check_as_second_client(void (*check)(int))
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		int fd = fake_open();

		check(fd);
		close(fd);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* With an argument it leaves the storm to the engine. */
int main(int argc, char **argv __attribute__((unused)))
{
	int fd = fake_open();

	storm(fd, true, LONG_PIECE);
	check_between(fd);
	check_as_second_client(check_between);
	storm(fd, true, SHORT_PIECE);
	check_goes_on(fd);
	check_as_second_client(check_goes_on);
	if (argc > 1)
		return 0;
	storm(fd, true, 0);
	uint64_t ended = storm(fd, false, 0);

	check_add(fd, 1);
	CHECK(storm(fd, false, 0) == ended);
	return 0;
}
