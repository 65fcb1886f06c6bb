/* /proc as the program sees it: locked memory in status, and failure injection. */
#include "fake.h"
#include <dirent.h>

static long status_value(const char *path, const char *name)
{
	char line[200];
	long value = -1;
	FILE *file = fopen(path, "r");

	CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			value = atol(line + strlen(name));
	fclose(file);
	return value;
}

static int points(int fd)
{
	struct fake f = { sizeof(f), 0, 0, 0, 0, 0 };

	return ioctl(fd, POINTS, &f);
}

int main(void)
{
	struct fake f = { sizeof(f), 0, 10, 3, 0, 0 };
	int fd = fake_open(), nth;
	char path[64], buf[300];
	DIR *debug;
	struct dirent *entry;
	int found = 0;

	CHECK(status_value("/proc/self/status", "VmPin:") == 0);
	CHECK(ioctl(fd, ACCOUNT, &f) == 0);
	CHECK(status_value("/proc/self/status", "VmPin:") == 40);
	snprintf(path, sizeof(path), "/proc/%d/status", getpid());
	CHECK(status_value(path, "VmPin:") == 40);
	CHECK(status_value(path, "VmLck:") == 12);
	CHECK(status_value("/proc/1/status", "VmPin:") <= 0);
	f.b = f.c = 0;
	CHECK(ioctl(fd, ACCOUNT, &f) == 0);

	snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", getpid());
	CHECK(access(path, R_OK | W_OK) == 0);
	CHECK((nth = open(path, O_RDWR)) >= 0);
	for (int n = 1; n < 6; n++) {
		snprintf(buf, sizeof(buf), "%d", n);
		CHECK(pwrite(nth, buf, strlen(buf), 0) == (ssize_t)strlen(buf));
		if (n <= 3)
			REFUSED(points(fd), ENOMEM);
		else
			CHECK(points(fd) == 0);
		CHECK(pread(nth, buf, sizeof(buf), 0) == 2);
		CHECK(buf[0] == (n <= 3 ? '0' : '0' + n - 3) && buf[1] == '\n');
		CHECK(pread(nth, buf, sizeof(buf), 2) == 0);
		CHECK(pwrite(nth, "0", 1, 0) == 1);
	}
	REFUSED(pwrite(nth, "x", 1, 0), EINVAL);
	CHECK(points(fd) == 0);

	CHECK((debug = opendir("/sys/kernel/debug/")) != NULL);
	CHECK((fd = openat(dirfd(debug), "failslab/ignore-gfp-wait", O_WRONLY)) >= 0);
	CHECK(write(fd, "N", 1) == 1);
	while ((entry = readdir(debug)))
		found += strncmp(entry->d_name, "fail", 4) == 0;
	CHECK(found >= 3);
	return 0;
}
