/* Calls with pauses about as long as the engine and a thread wait without sleeping: no wake-up is lost in between. */
#include "fake.h"
#include <time.h>

static void pause_for(long ns)
{
	struct timespec now;
	long end;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_nsec + ns;
	while (now.tv_nsec < end && now.tv_nsec + 500000000 > end)
		clock_gettime(CLOCK_MONOTONIC, &now);
}

int main(void)
{
	unsigned seed = 1;
	int fd = fake_open();

	/* One thread: the calls of another would wake the engine for both. */
	for (int i = 0; i < 40000; i++) {
		seed = seed * 1103515245 + 12345;
		check_add(fd, (uint64_t)i);
		pause_for((long)(seed >> 16) % 100000);
	}
	return 0;
}
