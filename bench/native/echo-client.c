/* echo-client SOCKET: 64 bytes to the server and back, one after the other. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "batch.h"

static int server;

static void round_trip(void)
{
	char message[64] = { 1 };

	if (send(server, message, sizeof(message), 0) != sizeof(message) ||
	    recv(server, message, sizeof(message), 0) != sizeof(message))
		die("echo");
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (argc != 2)
		return 2;
	strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
	server = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (server < 0 || connect(server, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect");
	serve_batches(round_trip);
	return 0;
}
