/* What a program can do with the device's name and with its descriptor beside ioctl. */
#include "fake.h"
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

static void names(void)
{
	struct stat status;
	char dir[64] = "/tmp/ioasis-dir-XXXXXX", path[128], buf[256];
	int fd, dirfd;

	CHECK(stat("/dev/iommu", &status) == 0);
	CHECK(S_ISCHR(status.st_mode) && (status.st_mode & 0777) == 0660);
	CHECK(major(status.st_rdev) == 10 && minor(status.st_rdev) == 125);
	CHECK(lstat("/dev//iommu", &status) == 0 && S_ISCHR(status.st_mode));
	CHECK(access("/dev/iommu", R_OK | W_OK) == 0);
	CHECK(access("/dev/../dev/./iommu", F_OK) == 0);
	REFUSED(access("/dev/iommu", X_OK), EACCES);
	REFUSED(stat("/dev/iommu/", &status), ENOTDIR);
	REFUSED(stat("/dev/iommu2", &status), ENOENT);
	REFUSED(readlink("/dev/iommu", buf, sizeof(buf)), EINVAL);
	CHECK(strcmp(realpath("/dev/./iommu", buf), "/dev/iommu") == 0);

	CHECK((fd = open("//dev/../dev//iommu", O_RDWR)) >= 0);
	check_add(fd, 1);
	close(fd);
	REFUSED(open("/dev/iommu", O_RDWR | O_DIRECTORY), ENOTDIR);
	REFUSED(open("/dev/iommu", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	REFUSED(open("/dev/iommu/", O_RDWR), ENOTDIR);
	REFUSED(open("/dev/iommu2", O_RDWR), ENOENT);
	CHECK((fd = open("/dev/iommu", O_RDWR | O_CREAT, 0600)) >= 0);
	close(fd);
	CHECK((fd = open("/dev/iommu", O_PATH)) >= 0);
	close(fd);

	/* Through a link, relative to a directory, relative to where we are. */
	CHECK(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/l", dir);
	CHECK(symlink("/dev/iommu", path) == 0);
	CHECK((fd = open(path, O_RDWR)) >= 0);
	check_add(fd, 1);
	close(fd);
	CHECK(stat(path, &status) == 0 && S_ISCHR(status.st_mode));
	CHECK(lstat(path, &status) == 0 && S_ISLNK(status.st_mode));
	CHECK(access(path, R_OK) == 0);
	CHECK((dirfd = open("/dev", O_RDONLY | O_DIRECTORY)) >= 0);
	CHECK((fd = openat(dirfd, "iommu", O_RDWR)) >= 0);
	check_add(fd, 1);
	close(fd);
	CHECK((fd = openat(dirfd, "vfio/devices/vfio0", O_RDWR)) >= 0 || errno == ENOENT);
	close(dirfd);
	CHECK(chdir("/dev") == 0);
	CHECK((fd = open("iommu", O_RDWR)) >= 0);
	close(fd);
	CHECK(fstatat(AT_FDCWD, "iommu", &status, 0) == 0 && S_ISCHR(status.st_mode));
	unlink(path);
	rmdir(dir);

	CHECK(syscall(SYS_openat, AT_FDCWD, "/dev/iommu", O_RDWR) >= 0);
	CHECK(stat("/dev/vfio/devices/vfio0", &status) == 0 && (status.st_mode & 0777) == 0600);
}

static void directory(void)
{
	DIR *found = opendir("/dev/vfio/devices");
	struct dirent *entry;
	int fd = -1;

	CHECK(found != NULL);
	while ((entry = readdir(found)))
		if (strcmp(entry->d_name, "vfio0") == 0)
			fd = openat(dirfd(found), entry->d_name, O_RDWR);
	CHECK(fd >= 0);
	check_add(fd, 4);
	closedir(found);
	close(fd);
}

static void stream(void)
{
	FILE *file = fopen("/dev/iommu", "r+e");

	CHECK(file != NULL);
	CHECK(fcntl(fileno(file), F_GETFD) == FD_CLOEXEC);
	check_add(fileno(file), 7);
	fclose(file);
}

static void descriptor(void)
{
	int fd = fake_open(), epoll = epoll_create1(0), read_only = open("/dev/iommu", O_RDONLY | O_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN };
	struct iovec iov[2];
	struct stat status;
	struct statx extended;
	char buf[64], link[64];
	char *volatile nowhere = (char *)1;
	ssize_t length;
	int ends[2];

	CHECK(fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && minor(status.st_rdev) == 125);
	CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &extended) == 0 && S_ISCHR(extended.stx_mode));
	CHECK(extended.stx_rdev_minor == 125);
	CHECK(statx(AT_FDCWD, "/dev/iommu", 0, STATX_ALL, &extended) == 0 && S_ISCHR(extended.stx_mode));
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	CHECK((length = readlink(link, buf, sizeof(buf))) == 10 && memcmp(buf, "/dev/iommu", 10) == 0);
	REFUSED(read(fd, buf, 1), EINVAL);
	REFUSED(write(fd, buf, 1), EINVAL);
	REFUSED(pread(fd, buf, 1, 0), EINVAL);
	REFUSED(lseek(fd, 0, SEEK_SET), ESPIPE);
	REFUSED(ftruncate(fd, 0), EINVAL);
	REFUSED(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), EPERM);
	REFUSED(syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, fd, &event), EPERM);
	REFUSED(mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0), ENXIO);
	CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
	CHECK((fcntl(read_only, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == (O_RDONLY | O_NONBLOCK));
	CHECK(!isatty(fd));

	CHECK(pipe(ends) == 0);
	fd = give(fd, 2);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	CHECK((length = readlink(link, buf, sizeof(buf))) > 0 && memcmp(buf, "anon_inode:[fake-queue]", length) == 0);
	memset(buf, 0, sizeof(buf));
	CHECK(read(fd, buf, 40) == 40 && buf[39] == 0x52 && buf[40] == 0);
	iov[0] = (struct iovec){ buf, 3 };
	iov[1] = (struct iovec){ buf + 32, 4 };
	memset(buf, 0, sizeof(buf));
	CHECK(readv(fd, iov, 2) == 7 && buf[2] == 0x52 && buf[3] == 0 && buf[35] == 0x52);
	memset(buf, 0x57, sizeof(buf));
	CHECK(write(fd, buf, 64) == 64);
	CHECK(writev(fd, iov, 2) == 7);
	CHECK(syscall(SYS_writev, fd, iov, 2) == 7 && syscall(SYS_pwritev2, fd, iov, 2, -1L, 0, 0) == 7);
	CHECK(syscall(SYS_readv, fd, iov, 2) == 7 && syscall(SYS_preadv2, fd, iov, 2, -1L, 0, 0) == 7);
	REFUSED(syscall(SYS_preadv, fd, iov, 2, 0, 0), ESPIPE);
	REFUSED(syscall(SYS_pwritev, fd, iov, 2, 0, 0), ESPIPE);
	REFUSED(syscall(SYS_vmsplice, fd, iov, 2, 0), EBADF);
	REFUSED(syscall(SYS_splice, fd, NULL, ends[1], NULL, 1, 0), EINVAL);
	REFUSED(syscall(SYS_tee, fd, ends[1], 1, 0), EINVAL);
	REFUSED(syscall(SYS_sendfile, ends[1], fd, NULL, 1), EINVAL);
	REFUSED(syscall(SYS_fallocate, fd, 0, 0, 4096), ENODEV);
	REFUSED(read(fd, nowhere, 40), EFAULT);
	REFUSED(write(fd, nowhere, 40), EFAULT);
	REFUSED(pread(fd, buf, 40, 0), ESPIPE);
	REFUSED(lseek(fd, 0, SEEK_CUR), ESPIPE);
}

int main(void)
{
	names();
	directory();
	stream();
	descriptor();
	return 0;
}
