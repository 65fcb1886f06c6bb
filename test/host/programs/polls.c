/* poll, select and epoll on the engine's files, and what a call gives and takes. */
#include "fake.h"
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>

static void show(int fd, int queue, int readable)
{
	struct fake f = { sizeof(f), 0, (uint64_t)queue, (uint64_t)readable, 0, 0 };

	CHECK(ioctl(fd, SHOW, &f) == 0);
}

static short polled(int fd)
{
	struct pollfd one = { fd, POLLIN | POLLOUT, 0 };

	CHECK(poll(&one, 1, 0) >= 0);
	return one.revents;
}

static void polls(int fd)
{
	int both = give(fd, 2), in = give(fd, 1), epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	fd_set set;
	struct timeval none = { 0, 0 };

	CHECK(polled(fd) == (POLLIN | POLLOUT));
	CHECK(polled(both) == POLLOUT);
	CHECK(polled(in) == 0);
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, both, &event) == 0);
	CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
	for (int i = 0; i < 3; i++) {
		show(fd, both, 1);
		show(fd, both, 1);
		show(fd, in, 1);
		CHECK(polled(both) == (POLLIN | POLLOUT));
		CHECK(polled(in) == POLLIN);
		CHECK(epoll_wait(epoll, &event, 1, 0) == 1);
		FD_ZERO(&set);
		FD_SET(in, &set);
		CHECK(select(in + 1, &set, NULL, NULL, &none) == 1);
		show(fd, both, 0);
		show(fd, in, 0);
		CHECK(polled(both) == POLLOUT);
		CHECK(polled(in) == 0);
		CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
	}
	CHECK((fcntl(in, F_GETFL) & O_ACCMODE) == O_RDONLY || (fcntl(in, F_GETFL) & O_ACCMODE) == O_RDWR);
}

static void gives(int fd)
{
	struct fake f = { sizeof(f), 0, 2, 1, 0, 0 };
	struct rlimit limit, low;
	uint64_t live = look(fd).c;
	int next = dup(fd);

	close(next);
	f.d = 1;
	REFUSED(ioctl(fd, GIVE, &f), EINVAL);
	CHECK(fcntl(next, F_GETFD) == -1);
	CHECK(look(fd).c == live);
	/* No number is free for it. */
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	low = limit;
	low.rlim_cur = (rlim_t)next;
	CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
	f = (struct fake){ sizeof(f), 0, 2, 1, 0, 0 };
	REFUSED(ioctl(fd, GIVE, &f), EMFILE);
	REFUSED(open("/dev/iommu", O_RDWR), EMFILE);
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(look(fd).c == live);
	check_add(fd, 1);
}

static void takes(int fd)
{
	struct fake f = { sizeof(f), 0, 0, 0, 0, 0 };
	struct io_uring_params parameters = { 0 };
	int memfd = memfd_create("x", 0), ring = (int)syscall(SYS_io_uring_setup, 1, &parameters), pipes[2];

	CHECK(pipe(pipes) == 0);
	f.b = (uint64_t)fd;
	CHECK(ioctl(fd, TAKE, &f) == 0 && f.a == 1);
	CHECK(ftruncate(memfd, 8192) == 0 && pwrite(memfd, "Z", 1, 5000) == 1);
	f = (struct fake){ sizeof(f), 0, (uint64_t)memfd, 0, 5000, 0 };
	CHECK(ioctl(fd, TAKE, &f) == 0 && f.a == 2 && f.c == 8192 && f.e == 'Z');
	f = (struct fake){ sizeof(f), 0, (uint64_t)memfd, 0, 8192, 0 };
	CHECK(ioctl(fd, TAKE, &f) == 0 && f.e == 0xff);
	f = (struct fake){ sizeof(f), 0, (uint64_t)pipes[0], 0, 0, 0 };
	CHECK(ioctl(fd, TAKE, &f) == 0 && f.a == 4);
	/* No socket carries this one, and the thread's own does not end over it. */
	f.b = (uint64_t)ring;
	CHECK(ring >= 0 && ioctl(fd, TAKE, &f) == 0 && f.a == 4);
	f.b = 1 << 20;
	REFUSED(ioctl(fd, TAKE, &f), EBADF);
	f.b = (uint64_t)-1;
	REFUSED(ioctl(fd, TAKE, &f), EBADF);
	/* A pipe of the program's own stays one. */
	CHECK(write(pipes[1], "ab", 2) == 2);
	CHECK(ioctl(pipes[0], FIONREAD, &f) == 0 && f.size == 2);
	REFUSED(ioctl(pipes[0], ADD, &f), ENOTTY);
}

/* A bug of the engine ends the file that it was in, and no other. */
static void bug(int fd)
{
	struct fake f = { sizeof(f), 0, 0, 0, 0, 0 };
	int other = fake_open();

	REFUSED(ioctl(other, BUG, &f), ENODEV);
	REFUSED(ioctl(other, ADD, &f), ENODEV);
	CHECK(close(other) == 0);
	check_add(fd, 1);
}

int main(void)
{
	int fd = fake_open();

	polls(fd);
	gives(fd);
	takes(fd);
	bug(fd);
	return 0;
}
