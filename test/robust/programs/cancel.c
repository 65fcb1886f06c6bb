/* Threads that are cancelled, jump out of handlers or end in crowds, one way a run. */
#include "robust.h"
#include <sys/socket.h>

static int fd;

static void *reads(void *end)
{
	char byte;

	return read((int)(intptr_t)end, &byte, 1) == 1 ? end : NULL;
}

/* What the program does with its own descriptors stays a cancellation point. */
static void blocked(void)
{
	int ends[2];
	pthread_t thread;

	CHECK(works(fd) && pipe(ends) == 0);
	for (int i = 0; i < 20; i++) {
		CHECK(pthread_create(&thread, NULL, reads, (void *)(intptr_t)ends[0]) == 0);
		usleep(2000);
		CHECK(pthread_cancel(thread) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	CHECK(works(fd));
}

static __attribute__((noinline)) void allocates(void)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct iommu_destroy end = { .size = sizeof(end) };

	ioctl(fd, IOMMU_IOAS_ALLOC, &alloc);
	end.id = alloc.out_ioas_id;
	ioctl(fd, IOMMU_DESTROY, &end);
}

/* Runs in place of the call that was cancelled, on the same piece of stack: nobody writes there for that call any more. */
static void is_alone(void *unused)
{
	volatile unsigned char stack[1024];

	(void)unused;
	for (size_t i = 0; i < sizeof(stack); i++)
		stack[i] = 0x5a;
	usleep(1000);
	for (size_t i = 0; i < sizeof(stack); i++)
		CHECK(stack[i] == 0x5a);
}

static void *calls(void *asynchronous)
{
	pthread_cleanup_push(is_alone, NULL);
	if (asynchronous)
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;) {
		allocates();
		if (!asynchronous)
			pthread_testcancel();
	}
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancelled(void)
{
	pthread_t threads[4];

	for (int round = 0; round < 40; round++) {
		for (intptr_t i = 0; i < 4; i++)
			CHECK(pthread_create(&threads[i], NULL, calls, (void *)(i % 2)) == 0);
		usleep(round * 100);
		for (int i = 0; i < 4; i++)
			CHECK(pthread_cancel(threads[i]) == 0);
		for (int i = 0; i < 4; i++)
			CHECK(pthread_join(threads[i], NULL) == 0);
		CHECK(works(fd));
	}
}

static sigjmp_buf back;
static volatile int jumps, nested;

static void jump(int number)
{
	(void)number;
	jumps++;
	siglongjmp(back, 1);
}

static void call_in_handler(int number)
{
	int saved = errno;

	(void)number;
	CHECK(works(fd));
	nested++;
	errno = saved;
}

static void timer(int microseconds)
{
	struct itimerval every = { { 0, microseconds }, { 0, microseconds } };

	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
}

static void jumping(void)
{
	struct sigaction action = { .sa_handler = jump, .sa_flags = SA_NODEFER };

	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	if (sigsetjmp(back, 1) == 0)
		timer(300);
	while (jumps < 2000) {
		struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

		CHECK(ioctl(fd, IOMMU_IOAS_ALLOC, &alloc) == 0);
	}
	timer(0);
	CHECK(works(fd));
}

static void storm(void)
{
	static char stack[65536];
	stack_t alternative = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = call_in_handler, .sa_flags = SA_ONSTACK };

	CHECK(sigaltstack(&alternative, NULL) == 0);
	for (int restart = 0; restart < 2; restart++) {
		action.sa_flags = SA_ONSTACK | (restart ? SA_RESTART : 0);
		CHECK(sigaction(SIGALRM, &action, NULL) == 0);
		nested = 0;
		timer(500);
		while (nested < 1000)
			CHECK(works(fd));
		timer(0);
	}
}

static void *one_call(void *unused)
{
	(void)unused;
	CHECK(works(fd));
	return NULL;
}

static void crowds(void)
{
	pthread_t threads[64];
	pthread_attr_t small;

	pthread_attr_init(&small);
	CHECK(pthread_attr_setstacksize(&small, 16384) == 0);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 64; i++)
			CHECK(pthread_create(&threads[i], &small, one_call, NULL) == 0);
		for (int i = 0; i < 64; i++)
			CHECK(pthread_join(threads[i], NULL) == 0);
	}
}

/* The daemon stands still for a while: signals come through, and a handler that jumps away loses only its call. */
static void deaf(void)
{
	struct sigaction action = { .sa_handler = jump, .sa_flags = SA_NODEFER };
	char line[8];

	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	printf("ready\n");
	fflush(stdout);
	CHECK(read(0, line, 1) == 1);
	if (sigsetjmp(back, 1) == 0) {
		alarm(1);
		for (;;)
			works(fd);
	}
	printf("jumped\n");
	fflush(stdout);
	CHECK(read(0, line, 1) == 1);
	CHECK(works(fd));
	CHECK(works(fd));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} ways[] = {
		{ "blocked", blocked }, { "cancelled", cancelled }, { "jumping", jumping },
		{ "storm", storm },	{ "crowds", crowds },	    { "deaf", deaf },
	};

	fd = iommu_open();
	for (size_t i = 0; argc > 1 && i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(argv[1], ways[i].name) == 0)
			return ways[i].run(), 0;
	return 2;
}
