/*
 * A client that speaks the protocol itself and means harm: a thousand connections that say nothing, say half of
 * something, ask and never listen, send descriptors, answer with more than one. Meanwhile an honest one works.
 */
#include "robust.h"
#include "../../../shim/src/protocol.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define CONNECTIONS 1000

static int honest;

static int reach(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, getenv("IOASIS_SOCKET"));
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void say(int fd, const void *bytes, size_t length, const int *fds, int count)
{
	char control[CMSG_SPACE(8 * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)bytes, length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (count) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE((unsigned)count * sizeof(int));
		*CMSG_FIRSTHDR(&message) = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		CMSG_FIRSTHDR(&message)->cmsg_len = CMSG_LEN((unsigned)count * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, (unsigned)count * sizeof(int));
	}
	sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void hello(int fd)
{
	static uint64_t cookie;
	struct ioasis_request request = { .op = IOASIS_OP_HELLO, .cmd = IOASIS_PROTOCOL_VERSION, .arg = cookie, .fd = -1 };
	struct ioasis_answer answer;

	say(fd, &request, sizeof(request), NULL, 0);
	CHECK(recv(fd, &answer, sizeof(answer), 0) == sizeof(answer) && answer.error == 0);
	cookie = (uint64_t)answer.value;
}

static void offend(int fd, int way)
{
	struct ioasis_request request = { .op = IOASIS_OP_IDENTIFY, .token = 1, .fd = 0 };
	struct ioasis_answer answer;
	int many[8] = { 0, 1, 2, 0, 1, 2, 0, 1 };
	char garbage[5000];

	memset(garbage, way, sizeof(garbage));
	switch (way % 6) {
	case 0:
		return;
	case 1:
		say(fd, &request, 7, NULL, 0);
		return;
	case 2:
		say(fd, garbage, sizeof(garbage), many, 8);
		return;
	case 3:
		/* Is asked for a descriptor, and shows many. */
		hello(fd);
		say(fd, &request, sizeof(request), many, 8);
		CHECK(recv(fd, &answer, sizeof(answer), 0) == sizeof(answer) && answer.verb == IOASIS_VERB_TAKE);
		request = (struct ioasis_request){ .op = IOASIS_OP_ANSWER, .fd = -1 };
		say(fd, &request, sizeof(request), many, way % 12 < 6 ? 2 : 8);
		return;
	case 4:
		/* Is asked for a descriptor and says nothing. */
		hello(fd);
		say(fd, &request, sizeof(request), NULL, 0);
		return;
	default:
		/* A door, and what nobody should bring through it. */
		request.op = IOASIS_OP_DOOR;
		say(fd, &request, sizeof(request), NULL, 0);
		say(fd, &request, sizeof(request), NULL, 0);
		say(fd, &request, sizeof(request), many, 1);
		say(fd, &request, sizeof(request), &fd, 1);
		say(fd, garbage, 48, many, 3);
	}
}

int main(void)
{
	static int fds[CONNECTIONS];
	struct rlimit limit;
	int status, ends[2];
	char byte;
	pid_t pid;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max < 8192 ? limit.rlim_max : 8192;
	setrlimit(RLIMIT_NOFILE, &limit);
	honest = iommu_open();
	CHECK(works(honest) && pipe(ends) == 0);
	if ((pid = fork()) == 0) {
		for (int i = 0; i < CONNECTIONS; i++)
			fds[i] = reach();
		for (int i = 0; i < CONNECTIONS; i++)
			offend(fds[i], i);
		CHECK(write(ends[1], "x", 1) == 1);
		pause();
	}
	for (int done = 0, rounds = 0; !done; rounds++) {
		struct pollfd poll_end = { ends[0], POLLIN, 0 };

		CHECK(works(honest));
		done = poll(&poll_end, 1, 0) == 1;
	}
	CHECK(read(ends[0], &byte, 1) == 1);
	for (int i = 0; i < 1000; i++)
		CHECK(works(honest));
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	CHECK(works(honest));
	return 0;
}
