/* Processes with threads and children, killed with -9 at random moments; what they shared goes on for the others. */
#include "robust.h"

static int shared;
static unsigned seed;

static unsigned chance(unsigned below)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % below;
}

static void one_round(int fd)
{
	static char memory[1 << 20];
	struct iommu_test_cmd mock = { .size = sizeof(mock), .op = IOMMU_TEST_OP_MOCK_DOMAIN };
	struct iommu_fault_alloc queue = { .size = sizeof(queue) };
	uint32_t ioas = ioas_alloc(fd);
	uint64_t iova;
	uint32_t access;
	char byte = 1;

	mock.id = ioas;
	ioctl(fd, IOMMU_TEST_CMD, &mock);
	map(fd, ioas, memory, sizeof(memory), &iova);
	access = access_alloc(fd, ioas);
	access_rw(fd, access, iova + 5, &byte, 1, 1);
	if (ioctl(fd, IOMMU_FAULT_QUEUE_ALLOC, &queue) == 0)
		close((int)queue.out_fault_fd);
	close((int)access);
}

static void *works_on(void *unused)
{
	(void)unused;
	for (;;) {
		int fd = open("/dev/iommu", O_RDWR);

		if (fd < 0)
			_exit(3);
		one_round(fd);
		works(shared);
		close(fd);
	}
	return NULL;
}

/* Dies by itself, by its parent, or after its parent. */
static void family(void)
{
	pthread_t thread;
	pid_t pid = 0;

	for (int i = 0; i < 4; i++)
		pthread_create(&thread, NULL, works_on, NULL);
	usleep(chance(4000));
	if (fork() == 0) {
		alarm(2);
		works_on(NULL);
	}
	if ((pid = vfork()) == 0) {
		ioas_alloc(shared);
		_exit(0);
	}
	usleep(chance(4000));
	if (fork() == 0)
		execl("/bin/true", "true", (char *)NULL);
	works_on(NULL);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 40;

	shared = iommu_open();
	CHECK(works(shared));
	for (int i = 0; i < rounds; i++) {
		int status;
		pid_t pid;

		seed = (unsigned)i;
		if ((pid = fork()) == 0) {
			setpgid(0, 0);
			family();
		}
		setpgid(pid, pid);
		usleep(2000 + chance(20000));
		/* Now the parent alone, now everybody. */
		CHECK(kill(i % 2 ? -pid : pid, SIGKILL) == 0);
		CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		CHECK(works(shared));
		kill(-pid, SIGKILL);
	}
	CHECK(works(shared));
	return 0;
}
