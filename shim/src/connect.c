/*
 * How a connection is made: by the socket's path, or where that cannot be reached any more (after chroot, after setuid)
 * through the door, a connection that children inherit: a new one is one end of a pair that is handed over through it.
 * Nothing is answered on the door, so all may share it.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "shim.h"

static _Atomic int door = -1;

bool door_is(int fd)
{
	return atomic_load(&door) == fd;
}

/* The program wants its number. */
void door_move(void)
{
	atomic_store(&door, hidden_move(atomic_load(&door)));
}

static long connect_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	long fd, result;

	memcpy(address.sun_path, shim.socket, sizeof(shim.socket));
	fd = sys3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	do
		result = sys3(SYS_connect, fd, &address, sizeof(address));
	while (result == -EINTR);
	if (result < 0)
		sys1(SYS_close, fd);
	return result < 0 ? result : fd;
}

static long connect_through_door(void)
{
	struct ioasis_request request = { .op = IOASIS_OP_DOOR, .fd = -1 };
	int ends[2];
	long sent = -ENODEV;

	if (atomic_load(&door) < 0)
		return sent;
	sent = sys4(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
	if (sent < 0)
		return sent;
	sent = message_send(atomic_load(&door), &request, sizeof(request), NULL, 0, ends[1]);
	sys1(SYS_close, ends[1]);
	if (sent < 0)
		sys1(SYS_close, ends[0]);
	return sent < 0 ? sent : ends[0];
}

/* Makes the door, unless it is there. */
void door_open(void)
{
	struct ioasis_request request = { .op = IOASIS_OP_DOOR, .fd = -1 };
	int none = -1;
	long fd = atomic_load(&door) < 0 ? connect_socket() : -EEXIST;

	if (fd >= 0)
		fd = hidden_high(fd);
	if (fd < 0)
		return;
	if (message_send((int)fd, &request, sizeof(request), NULL, 0, -1) >= 0 &&
	    atomic_compare_exchange_strong(&door, &none, (int)fd))
		hidden_mark((int)fd, true);
	else
		sys1(SYS_close, fd);
}

/* A new connection where programs seldom look for it, or -errno. */
long connect_daemon(void)
{
	long fd = connect_socket();

	if (fd < 0 && fd != -EMFILE && fd != -ENFILE)
		fd = connect_through_door();
	if (fd >= 0)
		fd = hidden_high(fd);
	return fd < 0 && fd != -EMFILE && fd != -ENFILE ? -ENODEV : fd;
}
