/*
 * A call over a thread's socket: the request goes out, and until it is done the daemon is served: it has memory read and
 * written, takes and gives descriptors, has things mapped (verbs, in protocol.h).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "shim.h"

#define NOT_RECEIVED 0xffffffffu

/* `tail` may be empty, pass_fd -1. */
long message_send(int fd, const void *head, size_t head_size, const void *tail, size_t tail_size, int pass_fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov[2] = { { (void *)head, head_size }, { (void *)tail, tail_size } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = tail_size ? 2 : 1 };
	long sent;

	if (pass_fd >= 0) {
		struct cmsghdr *header;

		memset(&control, 0, sizeof(control));
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &pass_fd, sizeof(int));
	}
	do
		sent = sys3(SYS_sendmsg, fd, &message, MSG_NOSIGNAL);
	while (sent == -EINTR);
	return sent;
}

static long send_request(int fd, struct call *call)
{
	struct ioasis_request *request = &call->request;
	uint64_t to_page_end = 4096 - ((uintptr_t)call->carry & 4095);
	long sent;

	for (;;) {
		sent = message_send(fd, request, sizeof(*request), call->carry, request->carried, -1);
		if (sent != -EFAULT || request->carried == 0)
			return sent;
		/* The argument ends before a hole, or is no address at all. */
		request->carried = request->carried > to_page_end ? (uint32_t)to_page_end : 0;
	}
}

static long answer(int fd, long error, int64_t value, const void *bytes, size_t count, int pass_fd)
{
	struct ioasis_request reply = {
		.op = IOASIS_OP_ANSWER,
		.cmd = error < 0 ? (uint32_t)-error : 0,
		.arg = (uint64_t)value,
		.carried = (uint32_t)count,
		.fd = -1,
	};

	return message_send(fd, &reply, sizeof(reply), bytes, count, pass_fd);
}

struct received {
	struct ioasis_answer head;
	int fd;		/* came with it, or -1 */
	bool cut;	/* there were more bytes than room for them */
};

static long receive(int fd, struct received *in, void *tail, size_t tail_max)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov[2] = { { &in->head, sizeof(in->head) }, { tail, tail_max } };
	struct msghdr message = {
		.msg_iov = iov,
		.msg_iovlen = tail_max ? 2 : 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *header;
	long got = sys3(SYS_recvmsg, fd, &message, MSG_CMSG_CLOEXEC);

	in->fd = -1;
	in->cut = got >= 0 && (message.msg_flags & MSG_TRUNC);
	header = got >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&in->fd, CMSG_DATA(header), sizeof(int));
	return got;
}

static long take_message(int fd, struct msghdr *message)
{
	long got;

	do
		got = sys3(SYS_recvmsg, fd, message, 0);
	while (got == -EINTR || got == -EAGAIN);
	return got;
}

/*
 * The bytes of a WRITE come as a message of their own, so that the kernel puts them where they belong. It takes the
 * message and then meets a hole; but for what no program can have an address of it does not even take it.
 */
static long serve_write(int fd, const struct ioasis_answer *verb)
{
	struct iovec iov = { (void *)(uintptr_t)verb->value, verb->count };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	long got = take_message(fd, &message);

	if (got == -EFAULT && sys3(SYS_recvmsg, fd, &message, MSG_PEEK | MSG_DONTWAIT) == -EFAULT) {
		message.msg_iovlen = 0;
		if (take_message(fd, &message) < 0)
			return -EPIPE;
	}
	return got < 0 && got != -EFAULT ? got : answer(fd, got, 0, NULL, 0, -1);
}

static long serve_read(int fd, const struct ioasis_answer *verb)
{
	long sent = answer(fd, 0, 0, (const void *)(uintptr_t)verb->value, verb->count, -1);

	return sent == -EFAULT ? answer(fd, sent, 0, NULL, 0, -1) : sent;
}

/* Whatever the kernel says of it: some files travel in no socket, an io_uring for one. */
static long serve_take(int fd, const struct ioasis_answer *verb)
{
	long sent = hidden_has(verb->fd) || verb->fd < 0 ? -EBADF : answer(fd, 0, 0, NULL, 0, verb->fd);

	return sent < 0 ? answer(fd, sent, 0, NULL, 0, -1) : sent;
}

static long serve_map(int fd, struct call *call, const struct received *in)
{
	const struct ioasis_request *request = &call->request;
	long prot = request->cmd & 0xff, at = -ENFILE;

	call->registers = in->head.flags & IOASIS_REGISTERS;
	if (call->registers && prot & PROT_WRITE)
		prot = (prot & ~PROT_WRITE) | PROT_READ;
	if (call->registers && !trap_start())
		at = -ENODEV;
	else if (in->fd >= 0)
		at = sys6(SYS_mmap, (long)request->arg, (long)request->count, prot, (long)(request->cmd >> 8), in->fd,
			  (long)in->head.value);
	if (in->fd >= 0)
		sys1(SYS_close, in->fd);
	return answer(fd, at < 0 && at > -4096 ? at : 0, at, NULL, 0, -1);
}

static long serve_hold(int fd, const struct ioasis_answer *verb)
{
	struct iovec pages = { (void *)(uintptr_t)verb->value, verb->count };
	struct io_uring_params params = { 0 };
	long ring = sys2(SYS_io_uring_setup, 1, &params);
	long done = ring < 0 ? ring : sys4(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &pages, 1);

	if (ring >= 0 && done < 0)
		sys1(SYS_close, ring);
	memory_is_held = true;
	return answer(fd, done, ring, NULL, 0, -1);
}

static int accept_fd(const struct received *in)
{
	struct stat status;

	if (in->fd >= 0 && !(in->head.flags & IOASIS_CLOEXEC))
		sys3(SYS_fcntl, in->fd, F_SETFD, 0);
	/* It is known from the start, so that it stays ours even if the daemon is never heard of again. */
	if (in->fd >= 0 && in->head.count != IOASIS_NOT_OURS && sys2(SYS_fstat, in->fd, &status) == 0)
		token_learn(&status, (int)in->head.count);
	return in->fd;
}

static long serve(int fd, struct call *call, const struct received *in)
{
	switch (in->head.verb) {
	case IOASIS_VERB_READ:
		return serve_read(fd, &in->head);
	case IOASIS_VERB_WRITE:
		return serve_write(fd, &in->head);
	case IOASIS_VERB_TAKE:
		return serve_take(fd, &in->head);
	case IOASIS_VERB_GIVE:
		return answer(fd, in->fd < 0 ? -EMFILE : 0, accept_fd(in), NULL, 0, -1);
	case IOASIS_VERB_CLOSE:
		if (!hidden_has(in->head.fd))
			sys1(SYS_close, in->head.fd);
		return answer(fd, 0, 0, NULL, 0, -1);
	case IOASIS_VERB_MAP:
		return serve_map(fd, call, in);
	case IOASIS_VERB_HOLD:
		return serve_hold(fd, &in->head);
	default:
		return -EPROTO;
	}
}

void let_signals_in(const struct call *call)
{
	if (!call->blocks)
		return;
	restore_signals(call->signals);
	block_signals();
}

/*
 * Sends the request, unless it was `asked` already, and serves until it is done. -EPIPE stands for every way to lose
 * the daemon.
 */
long channel_transfer(int fd, struct call *call, bool asked)
{
	struct received in;
	size_t room = call->reply_max;
	bool reset = false;
	long got = asked ? 0 : send_request(fd, call);

	/* Before it hung up the daemon may have said why. */
	if (got == -EPIPE)
		got = 0;

	while (got >= 0 || got == -EAGAIN || got == -EINTR) {
		in.head.verb = NOT_RECEIVED;
		got = receive(fd, &in, call->reply_at, room);
		if (got == -EFAULT && in.head.verb != NOT_RECEIVED)
			return -EFAULT;
		if (got == -EFAULT) {
			/* No user address at all: the kernel did not even take the message. */
			room = 0;
			got = 0;
			continue;
		}
		if (got == -EAGAIN)
			let_signals_in(call);
		if (got == -EAGAIN || got == -EINTR)
			continue;
		if (got == -ECONNRESET && !reset) {
			reset = true;
			got = 0;
			continue;
		}
		if (got < (long)sizeof(in.head))
			break;
		if (in.head.verb == IOASIS_VERB_DONE) {
			call->count = in.head.count;
			call->ring = in.head.fd;
			if (in.head.error)
				return -in.head.error;
			if (in.cut)
				return -EFAULT;
			if (in.head.flags & IOASIS_HAS_FD)
				return in.fd < 0 ? -EMFILE : accept_fd(&in);
			return (long)in.head.value;
		}
		got = serve(fd, call, &in);
	}
	return -EPIPE;
}
