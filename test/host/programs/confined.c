/* A program that may make only the calls that docs/design.md names goes on; a thread that would need more is refused. */
#include "fake.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>

#define ALLOWED(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static pthread_barrier_t in_step;
static int fd;

static void confine(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOWED(sendmsg),
		ALLOWED(recvmsg),
		ALLOWED(recvfrom),
		ALLOWED(write),
		ALLOWED(futex),
		ALLOWED(fstat),
		ALLOWED(rt_sigprocmask),
		ALLOWED(close),
		ALLOWED(exit),
		ALLOWED(exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0);
}

/* Its first call comes too late to get a channel of its own. */
static void *too_late(void *unused)
{
	struct fake f = { sizeof(f), 0, 1, 0, 0, 0 };

	pthread_barrier_wait(&in_step);
	pthread_barrier_wait(&in_step);
	REFUSED(ioctl(fd, ADD, &f), ENODEV);
	return unused;
}

int main(void)
{
	struct fake bad = { sizeof(bad), 1, 0, 0, 0, 0 };
	static struct fake far = { sizeof(far), 0, 7, 0, 0, 0 };
	pthread_t thread;

	fd = fake_open();
	check_add(fd, 1);
	CHECK(pthread_barrier_init(&in_step, NULL, 2) == 0);
	CHECK(pthread_create(&thread, NULL, too_late, NULL) == 0);
	pthread_barrier_wait(&in_step);
	confine();
	pthread_barrier_wait(&in_step);
	for (int i = 0; i < 4; i++)
		check_add(fd, 1);
	CHECK(ioctl(fd, ADD, &far) == 0 && far.b == 8);
	REFUSED(ioctl(fd, 0x3bff, &bad), ENOTTY);
	REFUSED(open("/dev/null", O_RDONLY), EPERM);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(close(fd) == 0);
	return 0;
}
