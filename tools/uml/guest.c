/*
 * The first program of the guest. It puts a file system on the NVMe namespace that the guest's stock driver has found,
 * and looks whether what was written is there. What it is to do comes in its environment, from the kernel's command
 * line: scene=whole|write|check, at=a folder to mount on, files from number first on, of so many blocks; what came of it
 * goes to the console.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE "/dev/nvme0n1"
#define BLOCK (1 << 20)

static uint8_t block[BLOCK], found[BLOCK];

static void say(const char *what, long number)
{
	printf("\nguest: %s %ld\n", what, number);
	fflush(stdout);
}

static void end(void)
{
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void need(int holds, const char *what)
{
	if (holds)
		return;
	printf("\nguest: failed: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	end();
}

static long number(const char *name)
{
	const char *text = getenv(name);

	return text ? atol(text) : 0;
}

/* Bytes that are of this block of this file and of no other. */
static void fill(uint8_t *bytes, uint64_t file, uint64_t at)
{
	uint64_t seed = (file + 1) * 0x9e3779b97f4a7c15 ^ (at + 1) * 0xd1342543de82ef95, *words = (uint64_t *)bytes;

	for (size_t i = 0; i < BLOCK / sizeof(*words); i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		words[i] = seed;
	}
}

static void run(const char *program, char *const args[])
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		execv(program, args);
		_exit(127);
	}
	need(child > 0 && waitpid(child, &status, 0) == child && status == 0, program);
}

/* Nothing is left to be initialised later: all of it goes through the controller now. */
static void make_file_system(void)
{
	char *args[] = { "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", DEVICE, NULL };

	run("/sbin/mkfs.ext4", args);
	say("made", 0);
}

static void mount_it(void)
{
	need(mount(DEVICE, getenv("at"), "ext4", 0, "") == 0, "mount");
}

static int open_file(long file, int flags)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/file%ld", getenv("at"), file);
	fd = open(path, flags, 0600);
	need(fd >= 0, path);
	return fd;
}

static void write_file(long file, long blocks)
{
	int fd = open_file(file, O_WRONLY | O_CREAT | O_TRUNC);

	for (long i = 0; i < blocks; i++) {
		fill(block, (uint64_t)file, (uint64_t)i);
		need(write(fd, block, BLOCK) == BLOCK, "write");
	}
	need(close(fd) == 0, "close");
}

static void check_file(long file, long blocks)
{
	int fd = open_file(file, O_RDONLY);

	for (long i = 0; i < blocks; i++) {
		fill(block, (uint64_t)file, (uint64_t)i);
		need(read(fd, found, BLOCK) == BLOCK, "read");
		if (memcmp(block, found, BLOCK) != 0) {
			say("differs", file);
			end();
		}
	}
	need(read(fd, found, 1) == 0, "a file that is longer");
	close(fd);
}

/* All of it once, with everything read back from the device. */
static void whole(long files, long blocks)
{
	make_file_system();
	mount_it();
	for (long i = 0; i < files; i++)
		write_file(i, blocks);
	sync();
	need(umount(getenv("at")) == 0, "umount");
	say("written", files * blocks);
	mount_it();
	for (long i = 0; i < files; i++)
		check_file(i, blocks);
	need(umount(getenv("at")) == 0, "umount");
	say("intact", files * blocks);
}

/* File after file until somebody kills us; of each it is said when it was synced. */
static void write_on(long first, long files, long blocks)
{
	if (first == 0)
		make_file_system();
	mount_it();
	for (long i = first; i < first + files; i++) {
		int fd;

		write_file(i, blocks);
		fd = open_file(i, O_RDONLY);
		need(fsync(fd) == 0, "fsync");
		close(fd);
		sync();
		say("synced", i);
	}
}

static void check(long files, long blocks)
{
	mount_it();
	for (long i = 0; i < files; i++)
		check_file(i, blocks);
	need(umount(getenv("at")) == 0, "umount");
	say("intact", files * blocks);
}

int main(void)
{
	const char *scene = getenv("scene");

	mount("dev", "/dev", "devtmpfs", 0, "");
	mount("proc", "/proc", "proc", 0, "");
	need(scene && getenv("at"), "arguments");
	if (strcmp(scene, "whole") == 0)
		whole(number("files"), number("blocks"));
	else if (strcmp(scene, "write") == 0)
		write_on(number("first"), number("files"), number("blocks"));
	else
		check(number("files"), number("blocks"));
	end();
}
