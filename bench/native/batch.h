/*
 * What the clients of a benchmark share: they say "ready", then do as many operations as each line of standard input
 * says and answer with the times (CLOCK_MONOTONIC, ns) at which they began and ended. So several programs can take
 * turns, and what runs at once can be added up, whoever measures it.
 */
#ifndef BATCH_H
#define BATCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

static inline uint64_t now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* A small generator: the same work in every run. */
static inline uint32_t next_random(void)
{
	static uint32_t state = 0x2545f491;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static inline void serve_batches(void (*operation)(void))
{
	long count;

	printf("ready\n");
	fflush(stdout);
	while (scanf("%ld", &count) == 1) {
		uint64_t begun = now_ns();

		for (long i = 0; i < count; i++)
			operation();
		printf("%llu %llu\n", (unsigned long long)begun, (unsigned long long)now_ns());
		fflush(stdout);
	}
}

#endif
