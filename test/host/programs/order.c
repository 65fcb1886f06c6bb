/* What was closed before a call has been let go when the call is served, whoever closed it, and however fast. */
#include "fake.h"
#include <pthread.h>

static int fd;
static volatile bool stop;

/* Keeps the engine busy, so that it does not sleep between our calls. */
static void *adds(void *unused)
{
	while (!stop)
		check_add(fd, 5);
	return unused;
}

static void by_us(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		int other = fake_open();

		CHECK(look(fd).c == 2);
		CHECK(close(other) == 0);
		CHECK(look(fd).c == 1);
	}
}

static void *closes(void *other)
{
	CHECK(close((int)(intptr_t)other) == 0);
	return NULL;
}

static void by_others(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		int other = fake_open(), status;
		pthread_t thread;
		pid_t pid = fork();

		if (pid == 0) {
			usleep(i % 7 * 100);
			_exit(0);
		}
		CHECK(close(other) == 0);
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
		CHECK(look(fd).c == 1);
		other = fake_open();
		CHECK(pthread_create(&thread, NULL, closes, (void *)(intptr_t)other) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		CHECK(look(fd).c == 1);
	}
}

int main(void)
{
	pthread_t busy[3];

	fd = fake_open();
	by_us(1000);
	by_others(40);
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&busy[i], NULL, adds, NULL) == 0);
	by_us(1000);
	by_others(40);
	stop = true;
	for (int i = 0; i < 3; i++)
		CHECK(pthread_join(busy[i], NULL) == 0);
	return 0;
}
