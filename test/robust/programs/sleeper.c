/* Sleeps on a queue, in the way that it is told, until the daemon is gone. */
#include "events.h"
#include <sys/epoll.h>
#include <sys/select.h>

#define MANY 40

static int queues[MANY];

static void ready(void)
{
	CHECK(write(1, "ready\n", 6) == 6);
}

static void by_poll(int fd)
{
	struct pollfd one = { fd, POLLIN, 0 };

	CHECK(poll(&one, 1, 0) == 0);
	ready();
	CHECK(poll(&one, 1, -1) == 1 && (one.revents & (POLLHUP | POLLIN)));
}

static void by_select(int fd)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	ready();
	CHECK(select(fd + 1, &set, NULL, NULL, NULL) == 1 && FD_ISSET(fd, &set));
}

static void by_epoll(int fd, uint32_t how)
{
	struct epoll_event event = { .events = EPOLLIN | how };
	int epoll = epoll_create1(0);

	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
	CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
	ready();
	CHECK(epoll_wait(epoll, &event, 1, -1) == 1 && (event.events & (EPOLLHUP | EPOLLIN)));
}

static void gone(int fd)
{
	char buf[64];

	REFUSED(read(fd, buf, sizeof(buf)), ENODEV);
	REFUSED(write(fd, buf, 16), ENODEV);
}

/* Each in a child of its own, with a copy; they say so together. */
static void by_many(const struct faulting *at)
{
	struct pollfd one = { .events = POLLIN };
	uint32_t id;
	pid_t children[MANY];

	for (int i = 0; i < MANY; i++) {
		queues[i] = fault_queue(at->fd, &id);
		if ((children[i] = fork()) == 0) {
			one.fd = dup(queues[i]);
			CHECK(poll(&one, 1, -1) == 1);
			gone(one.fd);
			_exit(0);
		}
	}
	usleep(100000);
	ready();
	for (int i = 0; i < MANY; i++)
		await(children[i]);
	gone(queues[MANY - 1]);
}

int main(int argc, char **argv)
{
	struct faulting at = argc > 1 && strcmp(argv[1], "event") == 0 ? guest_device() : faulting_device();
	const char *way = argc > 2 ? argv[2] : "poll";

	if (strcmp(way, "poll") == 0)
		by_poll(at.queue);
	else if (strcmp(way, "select") == 0)
		by_select(at.queue);
	else if (strcmp(way, "many") == 0)
		by_many(&at);
	else
		by_epoll(at.queue, strcmp(way, "epoll-edge") == 0 ? EPOLLET : 0);
	gone(at.queue);
	REFUSED(ioctl(at.fd, IOMMU_IOAS_ALLOC, &(struct iommu_ioas_alloc){ .size = sizeof(struct iommu_ioas_alloc) }), ENODEV);
	return 0;
}
