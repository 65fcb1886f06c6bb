/*
 * copy-server SOCKET FOLDER: the least that a disk in another process can be. A request names pieces of a memfd that it
 * has; they are copied into FOLDER/buffers, which the client has mapped too, and the request's number of pieces is the
 * answer.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "copy.h"

static char *map(int fd, size_t length)
{
	void *at = fd < 0 || ftruncate(fd, (off_t)length) < 0 ?
			   MAP_FAILED :
			   mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (at == MAP_FAILED)
		die("memory");
	return at;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[sizeof(address.sun_path)];
	char *disk, *buffers;
	int listener, client;

	if (argc != 3)
		return 2;
	strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
	snprintf(path, sizeof(path), "%s/buffers", argv[2]);
	disk = map(memfd_create("disk", 0), DISK);
	memset(disk, 1, DISK);
	buffers = map(open(path, O_RDWR | O_CREAT, 0600), BUFFERS);
	listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 1) < 0)
		die("listen");
	printf("ready\n");
	fflush(stdout);
	while ((client = accept(listener, NULL, NULL)) >= 0) {
		struct piece pieces[MOST];
		ssize_t got;

		while ((got = recv(client, pieces, sizeof(pieces), 0)) > 0) {
			uint32_t count = (uint32_t)((size_t)got / sizeof(pieces[0]));

			for (uint32_t i = 0; i < count; i++)
				memcpy(buffers + pieces[i].to, disk + pieces[i].from, pieces[i].length);
			if (send(client, &count, sizeof(count), MSG_NOSIGNAL) != sizeof(count))
				break;
		}
		close(client);
	}
	return 0;
}
