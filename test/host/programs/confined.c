/* A program that may make only the calls that docs/design.md names goes on; a thread that would need more is refused. */
#include "fake.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>

static pthread_barrier_t in_step;
static int fd;

/* What docs/design.md names: for every call, then for a thread's first; and what this program itself needs. */
static const int always[] = { SYS_sendmsg, SYS_recvmsg, SYS_recvfrom, SYS_write, SYS_futex, SYS_fstat, SYS_rt_sigprocmask,
			      SYS_close,   SYS_exit,	SYS_exit_group, SYS_seccomp };
static const int at_first[] = { SYS_socket, SYS_connect, SYS_socketpair, SYS_fcntl,  SYS_prctl,	    SYS_mmap,	 SYS_munmap,
				SYS_madvise, SYS_getpid,  SYS_gettid,	  SYS_prlimit64, SYS_setsockopt };

static size_t allow(struct sock_filter *filter, const int *calls, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		filter[2 * i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
		filter[2 * i + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	return 2 * count;
}

static void confine(bool threads_may_come)
{
	struct sock_filter filter[64] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	size_t length = 1 + allow(filter + 1, always, sizeof(always) / sizeof(always[0]));
	struct sock_fprog program = { 0, filter };

	if (threads_may_come)
		length += allow(filter + length, at_first, sizeof(at_first) / sizeof(at_first[0]));
	filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	program.len = (unsigned short)length;
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0);
}

static void steps(int count)
{
	for (int i = 0; i < count; i++)
		pthread_barrier_wait(&in_step);
}

static void *in_time(void *unused)
{
	steps(2);
	check_add(fd, 1);
	steps(2);
	return unused;
}

/* Its first call comes too late to get a channel of its own. */
static void *too_late(void *unused)
{
	struct fake f = { sizeof(f), 0, 1, 0, 0, 0 };

	steps(4);
	REFUSED(ioctl(fd, ADD, &f), ENODEV);
	return unused;
}

int main(void)
{
	struct fake bad = { sizeof(bad), 1, 0, 0, 0, 0 };
	static struct fake far = { sizeof(far), 0, 7, 0, 0, 0 };
	pthread_t early, late;

	fd = fake_open();
	check_add(fd, 1);
	CHECK(pthread_barrier_init(&in_step, NULL, 3) == 0);
	CHECK(pthread_create(&early, NULL, in_time, NULL) == 0);
	CHECK(pthread_create(&late, NULL, too_late, NULL) == 0);
	steps(1);
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	confine(true);
	steps(2);
	confine(false);
	steps(1);
	for (int i = 0; i < 4; i++)
		check_add(fd, 1);
	CHECK(ioctl(fd, ADD, &far) == 0 && far.b == 8);
	REFUSED(ioctl(fd, 0x3bff, &bad), ENOTTY);
	REFUSED(open("/dev/null", O_RDONLY), EPERM);
	CHECK(pthread_join(early, NULL) == 0 && pthread_join(late, NULL) == 0);
	CHECK(close(fd) == 0);
	return 0;
}
