/* A number that was a token's and is another file's now, or none, is never taken for the token. */
#include "fake.h"
#include <pthread.h>
#include <sched.h>

static struct fake f = { sizeof(f), 0, 1, 0, 0, 0 };

/* Calls often enough to be remembered. */
static int known(void)
{
	int fd = fake_open();

	for (int i = 0; i < 4; i++)
		check_add(fd, 1);
	return fd;
}

/* As code does that goes around every library. */
static void close_unseen(int fd)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_close), "D"((long)fd) : "rcx", "r11", "memory");
	CHECK(result == 0);
}

static void is_null_now(int fd)
{
	REFUSED(ioctl(fd, ADD, &f), ENOTTY);
	CHECK(close(fd) == 0);
	REFUSED(ioctl(fd, ADD, &f), EBADF);
}

static void *in_own_table(void *shared)
{
	int fd = (int)(intptr_t)shared;

	CHECK(unshare(CLONE_FILES) == 0);
	for (int i = 0; i < 4; i++)
		check_add(fd, 1);
	CHECK(close(fd) == 0);
	REFUSED(ioctl(fd, ADD, &f), EBADF);
	return NULL;
}

int main(void)
{
	int null = open("/dev/null", O_RDWR), fd, kept, other, status;
	pthread_t thread;
	FILE *stream;
	pid_t pid;

	fd = known();
	kept = dup(fd);
	CHECK(close(fd) == 0);
	REFUSED(ioctl(fd, ADD, &f), EBADF);
	CHECK(dup(null) == fd);
	is_null_now(fd);

	fd = known();
	CHECK(dup2(null, fd) == fd);
	is_null_now(fd);

	fd = known();
	CHECK(close_range((unsigned)fd, (unsigned)fd, 0) == 0);
	CHECK(dup(null) == fd);
	is_null_now(fd);

	fd = known();
	CHECK(fclose(fdopen(fd, "r+")) == 0 && dup(null) == fd);
	is_null_now(fd);

	/* What is open elsewhere would still answer. */
	fd = known();
	other = dup(fd);
	stream = freopen("/dev/null", "r+", fdopen(fd, "r+"));
	CHECK(stream && fileno(stream) == fd);
	REFUSED(ioctl(fd, ADD, &f), ENOTTY);
	CHECK(fclose(stream) == 0 && close(other) == 0);

	fd = known();
	CHECK(syscall(SYS_close, fd) == 0 && dup(null) == fd);
	is_null_now(fd);

	fd = known();
	close_unseen(fd);
	REFUSED(ioctl(fd, ADD, &f), EBADF);
	fd = known();
	close_unseen(fd);
	CHECK(dup(null) == fd);
	is_null_now(fd);

	/* Another token: it is asked, and not the one that was there. */
	fd = known();
	close_unseen(fd);
	CHECK(dup(kept) == fd);
	check_add(fd, 1);
	CHECK(close(fd) == 0);

	/* The numbers of a child of vfork are its own, and so are those of a thread that wants it. */
	pid = vfork();
	if (pid == 0) {
		fd = known();
		_exit(fd < 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	REFUSED(ioctl(fd, ADD, &f), EBADF);
	fd = known();
	CHECK(pthread_create(&thread, NULL, in_own_table, (void *)(intptr_t)fd) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	check_add(fd, 1);
	return 0;
}
