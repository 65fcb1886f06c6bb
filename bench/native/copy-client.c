/* copy-client SOCKET random|sequential SIZE DEPTH: one operation is a read of SIZE bytes; DEPTH of them go at once. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "copy.h"

static int server;
static uint32_t size, depth, done;
static uint64_t next;
static int at_random;

static uint64_t choose(void)
{
	uint64_t from = next;

	if (at_random)
		return next_random() % (DISK / size) * size;
	next = (next + size) % DISK;
	return from;
}

static void read_one(void)
{
	struct piece pieces[MOST];

	if (done == 0) {
		for (uint32_t i = 0; i < depth; i++)
			pieces[i] = (struct piece){ choose(), i * size, size };
		if (send(server, pieces, depth * sizeof(pieces[0]), 0) < 0 ||
		    recv(server, &done, sizeof(done), 0) != sizeof(done))
			die("server");
	}
	done--;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (argc != 5)
		return 2;
	strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
	at_random = strcmp(argv[2], "random") == 0;
	size = (uint32_t)atol(argv[3]);
	depth = (uint32_t)atol(argv[4]);
	server = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (depth > MOST || server < 0 || connect(server, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect");
	serve_batches(read_one);
	return 0;
}
