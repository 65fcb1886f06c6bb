/* What clients that speak the protocol themselves have in common. */
#include "fake.h"
#include "../../../shim/src/protocol.h"
#include <sys/socket.h>
#include <sys/un.h>

/* Of a client that does nothing wrong. */
static int honest;

static inline int reach(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, getenv("IOASIS_SOCKET"));
	CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static inline unsigned chance(void)
{
	static unsigned seed = 20231;

	seed = seed * 1103515245 + 12345;
	return seed >> 16;
}

static inline void in_child(void (*offend)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		offend();
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	check_add(honest, chance());
}
