/*
 * echo-server SOCKET blocking|epoll: sends every message back. "blocking" serves one client with recv and send and
 * nothing else, the least that a server can do; "epoll" serves any number, one message of each at a time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "batch.h"

/* False once the client is gone. */
static bool echo(int client, int flags)
{
	char message[64];
	ssize_t got = recv(client, message, sizeof(message), flags);

	if (got < 0 && errno == EAGAIN)
		return true;
	return got > 0 && send(client, message, (size_t)got, MSG_NOSIGNAL) == got;
}

static void serve_blocking(int listener)
{
	for (;;) {
		int client = accept(listener, NULL, NULL);

		while (client >= 0 && echo(client, 0))
			;
		close(client);
	}
}

static void serve_epoll(int listener)
{
	struct epoll_event events[64], event = { .events = EPOLLIN, .data.fd = listener };
	int set = epoll_create1(0);

	epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		int count = epoll_wait(set, events, 64, -1);

		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;

			if (fd == listener) {
				event.data.fd = accept(listener, NULL, NULL);
				epoll_ctl(set, EPOLL_CTL_ADD, event.data.fd, &event);
			} else if (!echo(fd, MSG_DONTWAIT)) {
				close(fd);
			}
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener;

	if (argc != 3)
		return 2;
	strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
	listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 64) < 0)
		die("listen");
	printf("ready\n");
	fflush(stdout);
	if (strcmp(argv[2], "epoll") == 0)
		serve_epoll(listener);
	else
		serve_blocking(listener);
	return 0;
}
