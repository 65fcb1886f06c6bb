/* Sixteen threads hammer one descriptor, each with its own numbers; some come and go. */
#include "fake.h"
#include <pthread.h>

static int fd;

static void *hammer(void *arg)
{
	for (uint64_t i = 0; i < 300; i++)
		check_add(fd, ((uint64_t)(uintptr_t)arg << 20) + i);
	return NULL;
}

static void *one_call(void *arg)
{
	check_add(fd, (uintptr_t)arg);
	return NULL;
}

int main(void)
{
	pthread_t threads[16];
	pthread_attr_t small;

	fd = fake_open();
	pthread_attr_init(&small);
	CHECK(pthread_attr_setstacksize(&small, 16384) == 0);
	for (uintptr_t i = 0; i < 16; i++)
		CHECK(pthread_create(&threads[i], &small, hammer, (void *)i) == 0);
	for (int i = 0; i < 16; i++)
		pthread_join(threads[i], NULL);
	for (uintptr_t i = 0; i < 100; i++) {
		CHECK(pthread_create(&threads[0], NULL, one_call, (void *)i) == 0);
		pthread_join(threads[0], NULL);
	}
	return 0;
}
