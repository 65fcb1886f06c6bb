/* /sys of a machine, by every way in which programs look around in it. Arguments: the address of a PCI device. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "check.h"

#define SYSFS_MAGIC 0x62656572

static char dir[100], real[100], path[200];

static const char *in(const char *base, const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", base, name);
	return path;
}

static int contains(DIR *list, const char *name)
{
	struct dirent *entry;
	int found = 0;

	CHECK(list);
	while ((entry = readdir(list)))
		found += strcmp(entry->d_name, name) == 0;
	closedir(list);
	return found;
}

static void names(const char *device)
{
	char link[PATH_MAX] = "", *whole;
	struct stat by_link, by_path, status;

	CHECK(stat(dir, &by_link) == 0 && S_ISDIR(by_link.st_mode));
	CHECK(lstat(dir, &status) == 0 && S_ISLNK(status.st_mode));
	CHECK(stat(real, &by_path) == 0 && by_path.st_ino == by_link.st_ino && (by_path.st_mode & 07777) == 0755);
	CHECK(readlink(in(dir, "driver"), link, sizeof(link)) > 0 && strstr(link, "/drivers/vfio-pci"));
	CHECK((whole = realpath(dir, NULL)) && strcmp(whole, real) == 0);
	free(whole);
	CHECK((whole = realpath(in(dir, "../../drivers"), NULL)) == NULL && errno == ENOENT);
	CHECK((whole = realpath(in(dir, "iommu_group/devices/.."), NULL)) && strstr(whole, "/sys/kernel/iommu_groups/"));
	free(whole);
	CHECK(contains(opendir("/sys/bus/pci/devices"), device) == 1);
	CHECK(contains(opendir("/sys/bus"), "pci") == 1 && contains(opendir("/sys/class"), "net") == 1);
	CHECK(contains(opendir("/sys/class"), "vfio-dev") == 1);
	CHECK(contains(opendir("/dev/vfio/devices"), "vfio0") == 1);
	CHECK(stat("/sys/class/net/lo", &status) == 0 && access("/sys/class/net/lo/mtu", R_OK) == 0);
	REFUSED(stat("/sys/bus/pci/devices/0000:ff:1f.7", &status), ENOENT);
	REFUSED(stat(in(dir, "vendor/x"), &status), ENOTDIR);
}

static void relative(const char *device)
{
	char name[PATH_MAX], text[16];
	struct stat status;
	int sys = open("/sys", O_RDONLY | O_DIRECTORY), bus, file;
	int root = open("/", O_PATH | O_DIRECTORY);

	CHECK((bus = openat(sys, "bus/pci", O_RDONLY | O_DIRECTORY)) >= 0);
	CHECK(contains(fdopendir(openat(bus, "devices", O_RDONLY)), device) == 1);
	CHECK(fstatat(root, in("sys/bus/pci/devices", device), &status, 0) == 0);
	CHECK((file = openat(openat(bus, "devices", O_PATH), in(device, "vendor"), O_RDONLY)) >= 0);
	CHECK(read(file, text, sizeof(text)) == 7 && text[0] == '0' && text[6] == '\n');
	CHECK((file = openat(bus, "../../class/net/lo/mtu", O_RDONLY)) >= 0 && read(file, text, 16) > 1);
	CHECK(chdir(dir) == 0 && getcwd(name, sizeof(name)) && strcmp(name, real) == 0);
	CHECK(access("config", R_OK) == 0 && stat("config", &status) == 0 && status.st_size == 4096);
	CHECK((file = open("device", O_RDONLY)) >= 0 && read(file, text, sizeof(text)) == 7);
	CHECK(fchdir(bus) == 0 && getcwd(name, sizeof(name)) && strcmp(name, "/sys/bus/pci") == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", bus);
	CHECK(readlink(path, name, sizeof(name)) == 12 && memcmp(name, "/sys/bus/pci", 12) == 0);
	CHECK(chdir("..") == 0 && chdir("..") == 0 && chdir("..") == 0 && getcwd(name, 10) && strcmp(name, "/") == 0);
	CHECK(chdir(".") == 0 && stat("proc/self", &status) == 0 && stat("sys/class/vfio-dev", &status) == 0);
}

static void walked(void)
{
	struct statfs of_fs;
	struct dirent **list;
	glob_t found = { 0 };

	CHECK(glob("/sys/bus/pci/devices/*/vendor", 0, NULL, &found) == 0 && found.gl_pathc >= 1);
	CHECK(strncmp(found.gl_pathv[0], "/sys/bus/pci/devices/0000:", 26) == 0);
	globfree(&found);
	CHECK(scandir("/sys/kernel/iommu_groups", &list, NULL, alphasort) >= 3);
	CHECK(statfs(dir, &of_fs) == 0 && (unsigned)of_fs.f_type == SYSFS_MAGIC);
	CHECK(fstatfs(open(dir, O_RDONLY), &of_fs) == 0 && (unsigned)of_fs.f_type == SYSFS_MAGIC);
}

static void read_and_written(void)
{
	unsigned char config[4096], byte = 0x5a;
	char line[100];
	FILE *stream;
	void *mapped;
	int fd;

	CHECK((fd = open(in(dir, "config"), O_RDONLY)) >= 0 && pread(fd, config, 4096, 0) == 4096);
	CHECK((mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0)) != MAP_FAILED);
	CHECK(memcmp(mapped, config, 4096) == 0 && close(fd) == 0);
	CHECK((fd = open(in(dir, "config"), O_RDWR)) >= 0);
	CHECK(pwrite(fd, &byte, 1, 0x3c) == 1 && pread(fd, &byte, 1, 0x3c) == 1 && byte == 0x5a);
	CHECK(lseek(fd, 0x3c, SEEK_SET) == 0x3c && read(fd, config, 2) == 2 && config[0] == 0x5a);
	CHECK(lseek(fd, 0, SEEK_CUR) == 0x3e && lseek(fd, 0, SEEK_END) == 4096 && read(fd, config, 4) == 0);
	REFUSED(lseek(fd, -1, SEEK_SET), EINVAL);
	CHECK(syscall(SYS_lseek, fd, 0x3cL, SEEK_SET) == 0x3c && close(fd) == 0);
	CHECK((stream = fopen(in(dir, "irq"), "r")) && fgets(line, sizeof(line), stream) && strcmp(line, "90\n") == 0);
	CHECK(fileno(stream) > 2 && fclose(stream) == 0);
	CHECK((stream = fopen(in(dir, "config"), "r+")) && fseek(stream, 0x3c, SEEK_SET) == 0);
	CHECK(fgetc(stream) == 0x5a && fclose(stream) == 0);
	CHECK((stream = fopen(in(dir, "numa_node"), "w")) && fprintf(stream, "seven\n") == 6);
	CHECK(fflush(stream) == EOF && errno == EINVAL);
	fclose(stream);
	CHECK((stream = fopen(in(dir, "numa_node"), "w")) && fputs("0\n", stream) >= 0 && fclose(stream) == 0);
	/* No bytes are not given to anybody. */
	CHECK((fd = open(in(dir, "numa_node"), O_WRONLY)) >= 0 && write(fd, line, 0) == 0 && close(fd) == 0);
	CHECK((fd = open(in(dir, "numa_node"), O_RDONLY)) >= 0 && read(fd, line, 9) == 2 && line[0] == '0');
}

static void refused(void)
{
	REFUSED(open(in(dir, "vendor"), O_WRONLY), EACCES);
	REFUSED(open(in(dir, "power_state"), O_RDWR | O_TRUNC), EACCES);
	REFUSED(open(in(dir, "reset"), O_RDONLY), EACCES);
	REFUSED(open(in(dir, "nonesuch"), O_WRONLY | O_CREAT, 0644), EACCES);
	REFUSED(open(in(dir, "nonesuch"), O_WRONLY), ENOENT);
	REFUSED(open(in(dir, "config"), O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	REFUSED(open(in(dir, "config"), O_RDONLY | O_DIRECTORY), ENOTDIR);
	REFUSED(open(dir, O_WRONLY), EISDIR);
}

int main(int count, char **arguments)
{
	CHECK(count == 2);
	snprintf(dir, sizeof(dir), "/sys/bus/pci/devices/%s", arguments[1]);
	snprintf(real, sizeof(real), "/sys/devices/pci0000:00/%s", arguments[1]);
	names(arguments[1]);
	relative(arguments[1]);
	walked();
	read_and_written();
	refused();
	return 0;
}
