/* Says "ready" and makes a call that takes long, in each of its threads; the daemon is gone before it ends. */
#include "fake.h"
#include <pthread.h>

static int fd;

static void *waits(void *unused)
{
	struct fake f = { sizeof(f), 0, 600000, 0, 0, 0 };

	REFUSED(ioctl(fd, BUSY, &f), ENODEV);
	REFUSED(ioctl(fd, ADD, &f), ENODEV);
	return unused;
}

static void ignored(int number)
{
	(void)number;
}

int main(int argc, char **argv)
{
	pthread_t threads[3];

	(void)argv;
	/* With a handler signals are blocked during calls. */
	if (argc > 1)
		signal(SIGUSR1, ignored);
	fd = fake_open();
	for (int i = 0; i < 3; i++)
		check_add(fd, 1);
	CHECK(write(1, "ready\n", 6) == 6);
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, waits, NULL) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	return 0;
}
