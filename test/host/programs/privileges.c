/* What is lent can be seen, given up and handed on. */
#include "fake.h"
#include <linux/capability.h>
#include <sys/resource.h>

int capget(cap_user_header_t header, cap_user_data_t data);
int capset(cap_user_header_t header, const cap_user_data_t data);

static struct fake credentials(int fd)
{
	struct fake f = { sizeof(f), 0, 0, 0, 0, 0 };

	CHECK(ioctl(fd, CREDENTIALS, &f) == 0);
	return f;
}

int main(int argc, char **argv)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	struct rlimit limit = { 1 << 20, 1 << 30 };
	int fd = fake_open(), status;

	if (argc > 1) {
		CHECK((credentials(fd).a & 1) == 0 && credentials(fd).b == 1 << 20);
		return 0;
	}
	CHECK(credentials(fd).a == 7);
	CHECK(capget(&header, data) == 0 && (data[0].effective & (1 << CAP_IPC_LOCK)));
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	CHECK(capset(&header, data) == 0);
	CHECK(credentials(fd).a == 6);
	CHECK(capget(&header, data) == 0 && !(data[0].effective & (1 << CAP_IPC_LOCK)));
	CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	CHECK(credentials(fd).b == 1 << 20);
	CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == 1 << 20);
	if (fork() == 0) {
		CHECK(credentials(fd).a == 6 && credentials(fd).b == 1 << 20);
		execl(argv[0], argv[0], "again", (char *)NULL);
	}
	CHECK(wait(&status) > 0 && status == 0);
	return 0;
}
