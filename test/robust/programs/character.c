/* What Linux 7.2 answered when asked the same of its own /dev/iommu, beside what test/host asks. */
#include "robust.h"
#include <linux/openat2.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static void *mapped(size_t length, int flags, int fd, off_t offset, uintptr_t at)
{
	return mmap((void *)at, length, PROT_READ, flags, fd, offset);
}

static void descriptor(int fd)
{
	struct iovec pieces[2] = { { NULL, 4 }, { NULL, 4 } };
	struct epoll_event event = { .events = EPOLLIN };
	struct pollfd poll_all = { fd, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLPRI | POLLRDHUP, 0 };
	int ends[2], epoll = epoll_create1(0), on = 1;
	char buf[64];
	void *volatile wild = (void *)1;
	volatile int negative = -1;
	void *const failed = MAP_FAILED;

	pieces[0].iov_base = pieces[1].iov_base = buf;
	CHECK(pipe(ends) == 0);
	REFUSED(read(fd, buf, 0), EINVAL);
	REFUSED(read(fd, wild, 8), EINVAL);
	REFUSED(readv(fd, pieces, 2), EINVAL);
	REFUSED(readv(fd, pieces, negative), EINVAL);
	REFUSED(readv(fd, pieces, 0), EINVAL);
	REFUSED(fallocate(fd, 0, 0, 4096), ENODEV);
	CHECK(posix_fallocate(fd, 0, 4096) == ENODEV);
	REFUSED(fallocate(fd, 0, 0, 0), EINVAL);
	REFUSED(readv(fd, wild, 2), EINVAL);
	REFUSED(preadv(fd, pieces, 2, 0), EINVAL);
	REFUSED(open(wild, O_RDWR), EFAULT);
	REFUSED(fsync(fd), EINVAL);
	CHECK(flock(fd, LOCK_EX) == 0 && flock(fd, LOCK_UN) == 0);
	REFUSED(fcntl(fd, F_SETFL, O_DIRECT), EINVAL);
	CHECK(fcntl(fd, F_SETFL, O_ASYNC) == 0 && !(fcntl(fd, F_GETFL) & O_ASYNC));
	REFUSED(fcntl(fd, F_GETPIPE_SZ), EBADF);
	REFUSED(fcntl(fd, F_SETPIPE_SZ, 8192), EBADF);
	REFUSED(splice(fd, NULL, ends[1], NULL, 10, 0), EINVAL);
	REFUSED(splice(fd, NULL, negative, NULL, 10, 0), EBADF);
	CHECK(splice(fd, NULL, ends[1], NULL, 0, 0) == 0);
	REFUSED(tee(ends[0], fd, 10, 0), EINVAL);
	REFUSED(tee(fd, negative, 10, 0), EBADF);
	REFUSED(sendfile(ends[1], fd, NULL, 10), EINVAL);
	REFUSED(sendfile(negative, fd, NULL, 10), EBADF);
	REFUSED(lseek(fd, 0, 77), EINVAL);
	REFUSED(ioctl(fd, FIOASYNC, &on), ENOTTY);
	CHECK(ioctl(fd, FIONBIO, &on) == 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK));
	CHECK(mapped(0, MAP_SHARED, fd, 0, 0) == failed && errno == EINVAL);
	CHECK(mapped(4096, MAP_SHARED, fd, 1, 0) == failed && errno == EINVAL);
	CHECK(mapped(4096, MAP_SHARED | MAP_FIXED, fd, 0, 1) == failed && errno == EINVAL);
	CHECK(mapped(4096, MAP_SHARED, fd, 0, 0) == failed && errno == ENXIO);
	CHECK(poll(&poll_all, 1, 0) == 1);
	CHECK(poll_all.revents == (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM));
	REFUSED(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), EPERM);
	REFUSED(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event), EPERM);
	REFUSED(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event), EPERM);
	REFUSED(fchdir(fd), ENOTDIR);
	REFUSED(openat(fd, "x", O_RDONLY), ENOTDIR);
}

static void opening(void)
{
	struct open_how how = { .flags = O_RDWR };
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct stat status;
	char byte;
	int fd;

	REFUSED(open("/dev/iommu", O_RDWR | O_DIRECT), EINVAL);
	REFUSED(open("/dev/iommu", O_RDWR | O_TMPFILE, 0600), ENOTDIR);
	REFUSED(open("/dev/iommu", O_PATH | O_DIRECTORY), ENOTDIR);
	REFUSED(access("/dev/iommu", 99), EINVAL);
	REFUSED(open("/dev/iommu/x", O_RDWR), ENOTDIR);
	REFUSED(open("/dev/iommu/x/y", O_RDWR | O_CREAT | O_EXCL, 0600), ENOTDIR);
	REFUSED(access("/dev/iommu/x", R_OK), ENOTDIR);
	REFUSED(stat("/dev/iommu/x", &status), ENOTDIR);
	REFUSED(mkdir("/dev/iommu", 0700), EEXIST);
	REFUSED(mkdir("/dev/iommu/x", 0700), ENOTDIR);
	REFUSED(mknod("/dev/iommu", S_IFCHR | 0600, 0), EEXIST);
	REFUSED(symlink("x", "/dev/iommu"), EEXIST);
	CHECK(stat("/dev/null", &status) == 0 && S_ISCHR(status.st_mode));
	CHECK((fd = open("/dev/iommu", O_RDWR | O_NOFOLLOW | O_TRUNC | O_NOCTTY)) >= 0 && works(fd));
	CHECK((fd = open("/dev/iommu", O_ACCMODE)) >= 0);
	REFUSED(read(fd, &byte, 1), EBADF);
	CHECK((fd = open("/dev/iommu", O_PATH)) >= 0);
	REFUSED(ioctl(fd, IOMMU_IOAS_ALLOC, &alloc), EBADF);
	REFUSED(read(fd, &byte, 1), EBADF);
	CHECK((fd = (int)syscall(SYS_openat2, AT_FDCWD, "/dev/iommu", &how, sizeof(how))) >= 0 && works(fd));
}

/* stdio reads and writes inside libc, and meets the same refusals. */
static void streams(void)
{
	char dir[] = "/tmp/robust-link-XXXXXX", link[40];
	int fd = iommu_open(), only_read = open("/dev/iommu", O_RDONLY), null = open("/dev/null", O_RDWR), usual = dup(0);
	FILE *file = fopen("/dev/iommu", "r+");

	CHECK(file && works(fileno(file)));
	REFUSED(fgetc(file), EINVAL);
	CHECK(ferror(file) && !feof(file));
	CHECK(fputc('x', file) == 'x');
	REFUSED(fflush(file), EINVAL);
	REFUSED(fseek(file, 10, SEEK_SET), ESPIPE);
	CHECK(fclose(file) == 0);
	CHECK(fdopen(only_read, "w") == NULL && errno == EINVAL);
	CHECK((file = fdopen(only_read, "r")) && (file = freopen("/dev/null", "r", file)));
	CHECK(fileno(file) == only_read && fgetc(file) == EOF && feof(file));
	CHECK((file = freopen("/dev/iommu", "r", file)) && fileno(file) == only_read && works(only_read));
	CHECK(mkdtemp(dir) && snprintf(link, sizeof(link), "%s/link", dir) > 0 && symlink("/dev/iommu", link) == 0);
	CHECK((file = fopen(link, "r")) && works(fileno(file)) && unlink(link) == 0 && rmdir(dir) == 0);
	CHECK(dup2(fd, 0) == 0);
	REFUSED(fgetc(stdin), EINVAL);
	CHECK(dup2(null, 0) == 0 && fgetc(stdin) == EOF && feof(stdin));
	CHECK(dup2(usual, 0) == 0);
}

int main(void)
{
	descriptor(iommu_open());
	opening();
	streams();
	return 0;
}
