/* A client that speaks the protocol itself, and wrongly. After each offence an honest one is still served. */
#include "raw.h"

/* A fresh process says hello, so that nothing it does touches the honest client's own image. */
static void hello(int fd)
{
	struct ioasis_request request = { .op = IOASIS_OP_HELLO, .cmd = IOASIS_PROTOCOL_VERSION, .fd = -1 };
	struct ioasis_answer answer;

	CHECK(send(fd, &request, sizeof(request), MSG_NOSIGNAL) == sizeof(request));
	CHECK(recv(fd, &answer, sizeof(answer), 0) == sizeof(answer) && answer.error == 0);
}

/* Reads until the daemon hangs up or has nothing more to say for now. */
static void listen_to(int fd)
{
	char buf[32768];
	struct timeval brief = { 0, 20000 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof(brief));
	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
}

/* Every prefix of every kind of message, before and after hello. */
static void prefixes(void)
{
	struct {
		struct ioasis_request request;
		char bytes[64];
	} message;

	for (unsigned op = 0; op <= IOASIS_OP_ANSWER + 1; op++) {
		for (size_t length = 0; length <= sizeof(message); length += length < 48 ? 5 : 16) {
			int fd = reach();

			memset(&message, 0, sizeof(message));
			message.request.op = op;
			message.request.fd = 3;
			message.request.carried = 64;
			if (length % 2)
				hello(fd);
			send(fd, &message, length, MSG_NOSIGNAL);
			if (length % 3 == 0)
				shutdown(fd, SHUT_WR);
			close(fd);
		}
	}
}

static void noise(void)
{
	for (int round = 0; round < 60; round++) {
		uint32_t words[64];
		int fd = reach();

		if (round % 4)
			hello(fd);
		for (int n = 0; n < 20; n++) {
			for (int i = 0; i < 64; i++)
				words[i] = chance() * chance();
			words[0] = chance() % 14;
			words[11] = (chance() % 40) * 4;
			send(fd, words, 48 + (chance() % 5 ? words[11] : chance() % 200), MSG_NOSIGNAL | MSG_DONTWAIT);
		}
		close(fd);
	}
}

/* Sends and sends, and never reads. */
static void deaf(void)
{
	struct ioasis_request request = { .op = IOASIS_OP_LENT, .fd = -1 };
	int fd = reach();

	hello(fd);
	for (int n = 0; n < 5000; n++)
		if (send(fd, &request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
}

/* Claims a descriptor of somebody else's by its inode, and shows another one when asked. */
static uint64_t stolen;
static void thief(void)
{
	struct ioasis_request request = { .op = IOASIS_OP_IOCTL, .cmd = ADD, .token = stolen, .fd = 0 };
	struct ioasis_request refusal = { .op = IOASIS_OP_ANSWER, .cmd = EBADF, .fd = -1 };
	struct ioasis_answer answer;
	int fd = reach();

	hello(fd);
	CHECK(send(fd, &request, sizeof(request), 0) == sizeof(request));
	CHECK(recv(fd, &answer, sizeof(answer), 0) == sizeof(answer) && answer.verb == IOASIS_VERB_TAKE);
	CHECK(send(fd, &refusal, sizeof(refusal), 0) == sizeof(refusal));
	CHECK(recv(fd, &answer, sizeof(answer), 0) == sizeof(answer));
	CHECK(answer.verb == IOASIS_VERB_DONE && answer.error == ENODEV);
	listen_to(fd);
}

/* Is asked for a descriptor and never answers. */
static void silent(void)
{
	struct ioasis_request request = { .op = IOASIS_OP_IDENTIFY, .token = 1, .fd = 0 };
	struct ioasis_answer answer;
	int fd = reach();

	hello(fd);
	CHECK(send(fd, &request, sizeof(request), 0) == sizeof(request));
	CHECK(recv(fd, &answer, sizeof(answer), 0) == sizeof(answer));
	CHECK(recv(fd, &answer, sizeof(answer), 0) == 0);
}

int main(void)
{
	struct stat status;

	honest = fake_open();
	CHECK(syscall(SYS_newfstatat, honest, "", &status, 0x1000) == 0);
	stolen = status.st_ino;
	in_child(prefixes);
	in_child(noise);
	in_child(deaf);
	in_child(thief);
	in_child(silent);
	return 0;
}
