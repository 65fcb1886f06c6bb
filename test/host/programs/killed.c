/* Clients that are killed at any moment, or stopped in the middle of a call, leave nothing and hold up nobody. */
#include "fake.h"

static void work(int fd)
{
	static char from[1 << 20], to[1 << 20];

	for (;;) {
		struct fake f = { sizeof(f), 0, (uintptr_t)from, sizeof(from), (uintptr_t)to, 0 };
		struct fake g = { sizeof(g), 0, 2, 1, 0, 0 };
		int own = open("/dev/iommu", O_RDWR);

		ioctl(own, COPY, &f);
		ioctl(own, GIVE, &g);
		close((int)g.a);
		ioctl(fd, COPY, &f);
		mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		close(own);
	}
}

int main(void)
{
	int fd = fake_open();
	uint64_t live = look(fd).c;
	int status;
	pid_t pid;

	for (int i = 0; i < 40; i++) {
		if ((pid = fork()) == 0)
			work(fd);
		usleep(500 + i * 300);
		CHECK(kill(pid, SIGKILL) == 0);
		CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		check_add(fd, i);
		CHECK(look(fd).c == live);
		CHECK(look(fd).b == 0);
	}
	/* Stopped in a call it may be given up for dead; stopped elsewhere it goes on. */
	if ((pid = fork()) == 0)
		work(fd);
	for (int i = 0; i < 5; i++) {
		usleep(7000);
		kill(pid, SIGSTOP);
		check_add(fd, i);
		kill(pid, SIGCONT);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	CHECK(look(fd).c == live);
	return 0;
}
