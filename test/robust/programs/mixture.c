/* Sixty-four threads call while others fork, vfork and start programs. */
#include "robust.h"
#include <spawn.h>

#define THREADS 64
#define ROUNDS 60

extern char **environ;
static int shared;

static void *calls(void *unused)
{
	(void)unused;
	for (int i = 0; i < ROUNDS; i++)
		CHECK(works(shared));
	return NULL;
}

static void *starts(void *way)
{
	char *argv[] = { "true", NULL };
	pid_t pid;

	for (int i = 0; i < ROUNDS / 6; i++) {
		if ((intptr_t)way == 0) {
			if ((pid = fork()) == 0)
				_exit(!works(shared));
		} else if ((intptr_t)way == 1) {
			if ((pid = vfork()) == 0) {
				ioas_alloc(shared);
				_exit(0);
			}
		} else {
			CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0);
		}
		await(pid);
		CHECK(works(shared));
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS + 6];

	shared = iommu_open();
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, calls, NULL) == 0);
	for (intptr_t i = 0; i < 6; i++)
		CHECK(pthread_create(&threads[THREADS + i], NULL, starts, (void *)(i % 3)) == 0);
	for (int i = 0; i < THREADS + 6; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	return 0;
}
