/* fork, vfork, exec, duplicates and passing: a descriptor is what it is, wherever it goes. */
#include "fake.h"
#include <sched.h>
#include <spawn.h>
#include <sys/socket.h>

extern char **environ;
static const char *self;

static void await(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The part of the program that is started anew with a descriptor. */
static int started(int fd)
{
	struct fake f = { sizeof(f), 0, 0, 0, 0, 0 };

	check_add(fd, 77);
	CHECK(ioctl(fd, CREDENTIALS, &f) == 0);
	check_add(fake_open(), 5);
	return 0;
}

static uint32_t mm_of(int fd)
{
	struct fake f = { sizeof(f), 0, 0, 0, 0, 0 };

	CHECK(ioctl(fd, CREDENTIALS, &f) == 0);
	return (uint32_t)f.c;
}

static void forks(int fd)
{
	uint32_t mm = mm_of(fd);

	CHECK(mm_of(fd) == mm);
	for (int i = 0; i < 8; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			uint64_t mine = (uint64_t)i << 32;

			for (uint64_t n = 0; n < 50; n++)
				check_add(fd, mine + n);
			CHECK(mm_of(fd) != mm);
			_exit(0);
		}
		check_add(fd, i);
		await(pid);
	}
	/* A fork that libc does not see. */
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		check_add(fd, 9);
		_exit(mm_of(fd) == mm);
	}
	await(pid);
	CHECK(mm_of(fd) == mm);
}

static void execs(int fd)
{
	char number[16];
	char *argv[] = { (char *)self, number, NULL };
	char *none[] = { NULL };
	pid_t pid;

	snprintf(number, sizeof(number), "%d", fd);
	if ((pid = vfork()) == 0) {
		execv(self, argv);
		_exit(2);
	}
	await(pid);
	/* With an environment that has lost everything. */
	CHECK(posix_spawn(&pid, self, NULL, NULL, argv, none) == 0);
	await(pid);
	if ((pid = fork()) == 0) {
		clearenv();
		execl(self, self, number, (char *)NULL);
		_exit(2);
	}
	await(pid);
	if ((pid = fork()) == 0) {
		execle(self, self, number, (char *)NULL, none);
		_exit(2);
	}
	await(pid);
	/* vfork, and a call by the child in the parent's memory. */
	if ((pid = vfork()) == 0) {
		struct fake f = { sizeof(f), 0, 1, 0, 0, 0 };

		_exit(ioctl(fd, ADD, &f) || f.b != 2);
	}
	await(pid);
	check_add(fd, 3);
}

static void duplicates(int fd)
{
	int copy = dup(fd), high = fcntl(fd, F_DUPFD_CLOEXEC, 300);

	CHECK(copy >= 0 && high >= 300);
	CHECK(close(fd) == 0);
	check_add(copy, 1);
	check_add(high, 2);
	/* Our connection is somewhere above; every number is the program's to use. */
	for (int to = 3; to < 1024; to++) {
		if (to == copy || to == high)
			continue;
		CHECK(dup2(copy, to) == to);
		if (to % 50 == 0 || to > 950)
			check_add(to, to);
	}
	check_add(1000, 1);
	for (int to = 3; to < 1024; to++)
		if (to != copy)
			close(to);
	check_add(copy, 3);
	CHECK(dup2(copy, 10) == 10);
	closefrom(11);
	check_add(10, 4);
	CHECK(close_range(11, ~0u, 0) == 0);
	check_add(10, 5);
	for (int i = 11; i < 1024; i++)
		CHECK(close(i) == -1);
	check_add(10, 6);
	/* What comes of nothing leaves nothing, and our connection is where nobody sees it. */
	for (int to = 11; to < 1200; to++) {
		REFUSED(dup2(5000, to), EBADF);
		REFUSED(fcntl(to, F_GETFD), EBADF);
	}
	check_add(10, 7);
}

static void send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	CHECK(sendmsg(socket, &message, 0) == 1);
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	int fd;

	CHECK(recvmsg(socket, &message, 0) == 1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

static void passing(void)
{
	int pair[2], fd, queue;
	uint64_t released;
	pid_t pid;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	if ((pid = fork()) == 0) {
		char buf[8] = { 0 };

		fd = receive_fd(pair[1]);
		queue = receive_fd(pair[1]);
		CHECK(read(queue, buf, 8) == 8 && buf[7] == 0x52);
		check_add(fd, 6);
		_exit(0);
	}
	fd = fake_open();
	queue = give(fd, 1);
	released = look(fd).d;
	send_fd(pair[0], fd);
	send_fd(pair[0], queue);
	close(queue);
	await(pid);
	/* The last copy went with the child. */
	CHECK(look(fd).d == released + 1);
	close(fd);
}

/* What is closed is released before the next call begins. */
static void order(void)
{
	int fd = fake_open();

	for (int i = 0; i < 200; i++) {
		int queue = give(fd, i % 3);
		uint64_t live = look(fd).c;

		CHECK(close(queue) == 0);
		CHECK(look(fd).c == live - 1);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	int fd;

	self = argv[0];
	if (argc > 1)
		return started(atoi(argv[1]));
	fd = fake_open();
	forks(fd);
	execs(fd);
	duplicates(fd);
	passing();
	order();
	return 0;
}
