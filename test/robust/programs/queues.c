/* What poll says of a fault queue at every moment, who holds it open, and that it is no terminal. */
#include "events.h"
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <termios.h>

#define GROUPS 20
/* More than there are terminals for. */
#define MANY 600

static int polled(int fd)
{
	struct pollfd one = { fd, POLLIN | POLLOUT | POLLRDNORM | POLLPRI | POLLRDHUP, 0 };

	CHECK(poll(&one, 1, 0) >= 0);
	return one.revents;
}

static int waited(int epoll)
{
	struct epoll_event event = { 0 };
	int count = epoll_wait(epoll, &event, 1, 0);

	return count == 1 ? (int)event.events : 0;
}

static int watch(int fd, uint32_t events)
{
	struct epoll_event event = { .events = events };
	int epoll = epoll_create1(0);

	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
	return epoll;
}

static void answer_all(int fd)
{
	struct iommu_hwpt_pgfault fault;
	struct iommu_hwpt_page_response response = { .code = IOMMUFD_PAGE_RESP_SUCCESS };

	while (read(fd, &fault, sizeof(fault)) == (ssize_t)sizeof(fault)) {
		response.cookie = fault.cookie;
		CHECK(write(fd, &response, sizeof(response)) == (ssize_t)sizeof(response));
	}
}

/* Readable from the call that brings a fault to the one that takes it away, and seen so at once by every way to ask. */
static void readable(void)
{
	struct faulting at = faulting_device();
	int level = watch(at.queue, EPOLLIN), edge = watch(at.queue, EPOLLIN | EPOLLOUT | EPOLLET);
	uint32_t plain = page_table(at.fd, at.device, at.ioas, 0, 0);

	CHECK(waited(edge) == EPOLLOUT && waited(edge) == 0);
	for (int i = 0; i < 200; i++) {
		page_request(&at, 1);
		CHECK(waited(level) == EPOLLIN && waited(level) == EPOLLIN);
		CHECK(waited(edge) == (EPOLLIN | EPOLLOUT) && waited(edge) == 0);
		CHECK(polled(at.queue) == (POLLIN | POLLOUT | POLLRDNORM));
		answer_all(at.queue);
		CHECK(polled(at.queue) == POLLOUT && waited(level) == 0 && waited(edge) == 0);
	}
	for (uint32_t i = 0; i < GROUPS; i++)
		page_request(&at, i);
	CHECK(polled(at.queue) & POLLIN);
	/* Nobody reads them; what ends the attachment answers them. */
	attach(&at, plain);
	CHECK(polled(at.queue) == POLLOUT && waited(level) == 0);
	close(at.queue);
	close(at.fd);
}

static void no_terminal(int fd)
{
	struct termios state;
	struct stat status;
	char name[64], path[32];
	int on = 1;

	errno = 0;
	CHECK(!isatty(fd) && errno == ENOTTY);
	REFUSED(tcgetattr(fd, &state), ENOTTY);
	REFUSED(tcflush(fd, TCIOFLUSH), ENOTTY);
	REFUSED(ioctl(fd, TIOCSCTTY, 0), ENOTTY);
	CHECK(ttyname(fd) == NULL && errno == ENOTTY);
	CHECK(ttyname_r(fd, name, sizeof(name)) == ENOTTY);
	CHECK(fstat(fd, &status) == 0 && status.st_mode == 0600 && status.st_rdev == 0 && status.st_nlink == 1);
	CHECK(status.st_mtime <= time(NULL));
	CHECK(fcntl(fd, F_GETFL) == O_RDWR && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(ioctl(fd, FIONBIO, &on) == 0 && fcntl(fd, F_GETFL) == (O_RDWR | O_NONBLOCK));
	REFUSED(lseek(fd, 0, SEEK_SET), ESPIPE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(readlink(path, name, sizeof(name)) == 28 && memcmp(name, "anon_inode:[iommufd-pgfault]", 28) == 0);
}

/* Open until the last copy is gone, in whatever process. */
static void held(void)
{
	struct faulting at = mock_device();
	int copy, go[2];
	uint32_t fault;
	pid_t child;
	char byte;

	at.queue = fault_queue(at.fd, &fault);
	no_terminal(at.queue);
	copy = dup(at.queue);
	REFUSED(destroy(at.fd, fault), EBUSY);
	close(at.queue);
	REFUSED(destroy(at.fd, fault), EBUSY);
	CHECK(pipe(go) == 0);
	if ((child = fork()) == 0) {
		close(go[1]);
		_exit(read(go[0], &byte, 1) != 0);
	}
	close(go[0]);
	close(copy);
	REFUSED(destroy(at.fd, fault), EBUSY);
	close(go[1]);
	await(child);
	CHECK(destroy(at.fd, fault) == 0);
	close(at.fd);
}

/* A number that was a queue's and is a terminal of the program's own. */
static void own_terminal(void)
{
	int fd = iommu_open(), queue, own, slave, zero = 0;
	struct timespec forged[2] = { { 0, UTIME_OMIT }, { 0, 0 } };
	struct stat status;
	struct termios state;
	uint32_t fault;
	char byte;

	queue = fault_queue(fd, &fault);
	CHECK(syscall(SYS_fstat, queue, &status) == 0);
	close(queue);
	CHECK(destroy(fd, fault) == 0);
	own = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	if (own < 0)
		return;
	CHECK(ioctl(own, TIOCSPTLCK, &zero) == 0);
	CHECK((slave = ioctl(own, TIOCGPTPEER, O_RDWR | O_NOCTTY)) >= 0);
	CHECK(isatty(slave) && tcgetattr(slave, &state) == 0);
	CHECK(write(own, "a\n", 2) == 2 && read(slave, &byte, 1) == 1 && byte == 'a');
	/* One that calls itself as no queue is called stays what it is. */
	forged[1].tv_sec = (1l << 48) + 12345;
	CHECK(futimens(slave, forged) == 0);
	CHECK(isatty(slave) && ioctl(slave, FIONREAD, &zero) == 0);
	close(own);
	close(slave);
	close(fd);
}

static void many(void)
{
	struct faulting at = faulting_device();
	static int queues[MANY];
	uint32_t fault;

	for (int i = 0; i < MANY; i++)
		queues[i] = fault_queue(at.fd, &fault);
	for (int i = 0; i < MANY; i++) {
		CHECK(polled(queues[i]) == POLLOUT);
		REFUSED(read(queues[i], &fault, 1), ESPIPE);
		close(queues[i]);
	}
	page_request(&at, 1);
	CHECK(polled(at.queue) & POLLIN);
	close(at.queue);
	close(at.fd);
}

int main(void)
{
	readable();
	held();
	own_terminal();
	many();
	return 0;
}
