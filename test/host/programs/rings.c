/* A client that writes rings itself, and wrongly. After each offence an honest one is still served. */
#include "raw.h"
#include <pthread.h>

/* One image's connection, and what it shares with the daemon. */
static struct {
	int socket, ring, bell;
	struct ioasis_rings *rings;
	struct ioasis_ring *own;
} ours;

static struct ioasis_answer ask(int fd, const struct ioasis_request *request, int *got)
{
	struct ioasis_answer answer;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { &answer, sizeof(answer) };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};

	CHECK(send(fd, request, sizeof(*request), MSG_NOSIGNAL) == sizeof(*request));
	CHECK(recvmsg(fd, &message, MSG_CMSG_CLOEXEC) == sizeof(answer));
	*got = CMSG_FIRSTHDR(&message) ? *(int *)CMSG_DATA(CMSG_FIRSTHDR(&message)) : -1;
	return answer;
}

static struct ioasis_answer hello(int fd, uint64_t cookie)
{
	struct ioasis_request request = {
		.op = IOASIS_OP_HELLO, .cmd = IOASIS_PROTOCOL_VERSION, .arg = cookie, .fd = -1
	};
	int none;
	struct ioasis_answer answer = ask(fd, &request, &none);

	CHECK(answer.error == 0 && none == -1);
	return answer;
}

static uint64_t enter(void)
{
	struct ioasis_request request = { .op = IOASIS_OP_RINGS, .fd = -1 };
	struct ioasis_answer answer;
	int memory;

	ours.socket = reach();
	answer = hello(ours.socket, 0);
	ours.ring = answer.fd;
	CHECK(ours.ring == 0);
	CHECK(ask(ours.socket, &request, &memory).error == 0 && memory >= 0);
	ours.rings = mmap(NULL, sizeof(*ours.rings), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	CHECK(ours.rings != MAP_FAILED);
	ours.own = &ours.rings->ring[ours.ring];
	/* Nobody can take the memory away under the daemon. */
	REFUSED(ftruncate(memory, 0), EPERM);
	REFUSED(ftruncate(memory, 1 << 20), EPERM);
	CHECK(close(memory) == 0);
	CHECK(ask(ours.socket, &request, &memory).error == EEXIST && memory == -1);
	request.cmd = 1;
	CHECK(ask(ours.socket, &request, &ours.bell).error == 0 && ours.bell >= 0);
	return (uint64_t)answer.value;
}

static void ring_bell(void)
{
	uint64_t one = 1;

	CHECK(write(ours.bell, &one, sizeof(one)) == sizeof(one));
}

static void post(const struct ioasis_request *request)
{
	ours.own->request = *request;
	ours.own->state = IOASIS_RING_POSTED;
	ours.rings->pending[0] |= 1u << ours.ring;
	ring_bell();
}

static uint32_t outcome(void)
{
	while (ours.own->state == IOASIS_RING_POSTED || ours.own->state == IOASIS_RING_SLEEPING)
		usleep(100);
	return ours.own->state;
}

static bool hung_up(void)
{
	char byte;

	return recv(ours.socket, &byte, 1, 0) == 0;
}

/* A length that is none ends the link, and whoever waits in the ring learns it. */
static void too_long(void)
{
	static const uint32_t lengths[] = { 65, 4096, 0x7fffffff, 0x80000000, 0xffffffff };
	struct ioasis_request request = { .op = IOASIS_OP_IOCTL, .cmd = ADD, .carried = lengths[chance() % 5] };

	enter();
	post(&request);
	CHECK(outcome() == IOASIS_RING_AGAIN && hung_up());
}

/* What is no call of a program does not come by a ring. */
static void wrong_op(void)
{
	for (uint32_t op = 0; op < 20; op++) {
		struct ioasis_request request = { .op = op, .cmd = IOASIS_PROTOCOL_VERSION, .fd = -1 };
		pid_t pid;
		int status;

		if ((op >= IOASIS_OP_OPEN && op <= IOASIS_OP_LENT) || (op >= IOASIS_OP_CUT && op <= IOASIS_OP_KVM))
			continue;
		pid = fork();
		if (pid == 0) {
			enter();
			post(&request);
			CHECK(outcome() == IOASIS_RING_AGAIN && hung_up());
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
}

/* A token that was not shown yet is asked for over the socket, where the call then ends. */
static void unproven(void)
{
	struct ioasis_request request = { .op = IOASIS_OP_IOCTL, .cmd = ADD, .token = 1, .fd = 0 };
	struct ioasis_request refusal = { .op = IOASIS_OP_ANSWER, .cmd = EBADF, .fd = -1 };
	struct ioasis_answer answer;

	enter();
	post(&request);
	CHECK(outcome() == IOASIS_RING_SOCKET);
	CHECK(recv(ours.socket, &answer, sizeof(answer), 0) == sizeof(answer) && answer.verb == IOASIS_VERB_TAKE);
	CHECK(send(ours.socket, &refusal, sizeof(refusal), 0) == sizeof(refusal));
	CHECK(recv(ours.socket, &answer, sizeof(answer), 0) == sizeof(answer));
	CHECK(answer.verb == IOASIS_VERB_DONE && answer.error == ENODEV);
	CHECK(ours.own->state == IOASIS_RING_SOCKET);
}

static void *scribble(void *unused)
{
	volatile uint32_t *words = (volatile uint32_t *)ours.rings;
	unsigned own = 1;

	for (;;) {
		own = own * 1103515245 + 12345;
		words[(own >> 8) % (sizeof(*ours.rings) / 4)] = own >> 4 & (own & 1 ? 7 : ~0u);
	}
	return unused;
}

/* All of the memory changes all the time, and the bell does not stop. */
static void noise(void)
{
	pthread_t thread;
	int more[20];
	uint64_t cookie = enter();

	for (int i = 0; i < 20; i++)
		hello(more[i] = reach(), cookie);
	CHECK(pthread_create(&thread, NULL, scribble, NULL) == 0);
	for (int i = 0; i < 3000; i++) {
		for (int word = 0; word < 2; word++)
			ours.rings->pending[word] |= chance() | chance() << 16;
		ring_bell();
		if (i % 150 == 0)
			close(more[i / 150]);
	}
}

/* A bell that is rung, read and filled as one likes. */
static void bell(void)
{
	uint64_t many = UINT64_MAX - 1, count;

	enter();
	for (int i = 0; i < 2000; i++)
		ring_bell();
	CHECK(read(ours.bell, &count, sizeof(count)) == sizeof(count));
	CHECK(write(ours.bell, &many, sizeof(many)) == sizeof(many));
	REFUSED(write(ours.bell, &many, sizeof(many)), EAGAIN);
	close(ours.socket);
	for (int i = 0; i < 100; i++)
		read(ours.bell, &count, sizeof(count)), ring_bell();
}

/* Connections beyond the rings have none; a ring whose owner is gone is clean for the next. */
static void seats(void)
{
	int links[IOASIS_RINGS + 8];
	uint64_t cookie = enter();

	for (int i = 1; i < IOASIS_RINGS + 8; i++)
		CHECK(hello(links[i] = reach(), cookie).fd == (i < IOASIS_RINGS ? i : -1));
	ours.rings->ring[5].state = IOASIS_RING_POSTED;
	CHECK(close(links[5]) == 0);
	for (int fd = -1, ring = -1; ring != 5; close(fd)) {
		fd = reach();
		ring = hello(fd, cookie).fd;
		CHECK(ring == -1 || (ring == 5 && ours.rings->ring[5].state == IOASIS_RING_IDLE));
	}
	/* Who says hello again has one ring as before. */
	for (int i = 0; i < 200; i++)
		CHECK(hello(links[7], cookie).fd != -1);
}

/* The shim's own ring, which the honest calls of this program have used. */
static void used(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	struct ioasis_rings *rings = NULL;
	char line[512];
	unsigned long start, end;

	CHECK(maps);
	while (!rings && fgets(line, sizeof(line), maps))
		if (strstr(line, "/memfd:ioasis") && sscanf(line, "%lx-%lx", &start, &end) == 2 &&
		    end - start == sizeof(*rings))
			rings = (struct ioasis_rings *)start;
	fclose(maps);
	CHECK(rings);
	check_add(honest, 76);
	CHECK(rings->ring[0].state == IOASIS_RING_DONE && rings->ring[0].request.cmd == ADD);
	CHECK(rings->ring[0].request.op == IOASIS_OP_IOCTL);
}

int main(void)
{
	honest = fake_open();
	for (int i = 0; i < 3; i++)
		check_add(honest, 1);
	used();
	for (int i = 0; i < 8; i++)
		in_child(too_long);
	in_child(wrong_op);
	in_child(unproven);
	in_child(noise);
	in_child(bell);
	in_child(seats);
	return 0;
}
