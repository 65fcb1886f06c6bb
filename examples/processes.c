/*
 * Many processes on one device, and one process on many devices. Four children of this program have the same page at the
 * same address, each with bytes of its own, and the device has a PASID for each. What it stores under a PASID is found by
 * that child and by nobody else. Then they end, one after the other: by exit, by exec, by SIGKILL in the middle of a
 * transfer, and one more whose pid is given to another process at once. An ended process is out of the device's reach,
 * and so is whatever has its pid or its place now.
 *
 *     ioasis header > ioasis.h && cc -o processes processes.c -pthread
 *     ioasis run --profile vtd -- ./processes
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "owners.h"

#define CHILDREN 4
#define OWN_PASID 100
/* At the same address in every child, and in the program that one of them becomes. */
#define PLACE ((char *)0x10000000000ul)
#define LARGE (256ul << 20)

static int ioasids, devices[2];
static struct child {
	pid_t pid;
	int pidfd;
	/* It does what a byte tells it, and answers with one. */
	int tell, hear;
} children[CHILDREN];

enum order { SAY_BYTE = 'b', EXIT = 'x', EXEC = 'e' };

static char *at_place(uint64_t length)
{
	void *at = mmap(PLACE, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	must(at == PLACE, "mmap");
	return at;
}

/* ---- In a child ---- */

static void obey(int orders, int answers, const char *program)
{
	char order;

	while (read(orders, &order, 1) == 1) {
		switch (order) {
		case EXIT:
			_exit(0);
		case EXEC:
			dup2(orders, STDIN_FILENO);
			dup2(answers, STDOUT_FILENO);
			execl(program, program, "another", NULL);
			_exit(1);
		default:
			must(write(answers, PLACE, 1) == 1, "write");
		}
	}
	_exit(0);
}

/* What the second child becomes: another program, with a page of its own at the same address. */
static int be_another_program(void)
{
	memset(at_place(PAGE), 'n', PAGE);
	must(write(STDOUT_FILENO, PLACE, 1) == 1, "write");
	obey(STDIN_FILENO, STDOUT_FILENO, "");
	return 0;
}

static struct child start(char byte, const char *program)
{
	int down[2], up[2];
	struct child child;

	must(pipe(down) == 0 && pipe(up) == 0, "pipe");
	child = (struct child){ .pid = fork(), .tell = down[1], .hear = up[0] };
	if (child.pid == 0) {
		close(down[1]);
		close(up[0]);
		memset(at_place(LARGE), byte, PAGE);
		must(write(up[1], "", 1) == 1, "write");
		obey(down[0], up[1], program);
	}
	close(down[0]);
	close(up[1]);
	child.pidfd = (int)syscall(SYS_pidfd_open, child.pid, 0);
	must(child.pid > 0 && child.pidfd >= 0, "a child");
	return child;
}

/* ---- In the parent ---- */

static char hear(const struct child *child)
{
	char byte;

	must(read(child->hear, &byte, 1) == 1, "a child's answer");
	return byte;
}

static char ask(const struct child *child, char order)
{
	must(write(child->tell, &order, 1) == 1, "a child's order");
	return hear(child);
}

static void wait_for_end(const struct child *child)
{
	must(waitpid(child->pid, NULL, 0) == child->pid, "waitpid");
}

static uint32_t pasid_of(int number)
{
	return (uint32_t)number + 1;
}

static void share(int number)
{
	must(authorize(devices[0], process_table(ioasids, children[number].pidfd), pasid_of(number)) == 0,
	     "AUTHORIZE_IOASID");
}

/* The device stores a byte of each child's own; each finds its own. */
static void expect_own_bytes(int first, unsigned char value)
{
	for (int i = first; i < CHILDREN; i++)
		must(is_done(store(devices[0], pasid_of(i), (uintptr_t)PLACE, 1, value + i)), "a store into a child");
	for (int i = first; i < CHILDREN; i++)
		must(ask(&children[i], SAY_BYTE) == value + i, "what a child has");
}

static void expect_out_of_reach(int number)
{
	char into[8] = "nothing";

	must(is_refused(store(devices[0], pasid_of(number), (uintptr_t)PLACE, PAGE, 'X')), "a store after the end");
	must(is_refused(load(devices[0], pasid_of(number), (uintptr_t)PLACE, sizeof(into), into)), "a read after it");
	must(strcmp(into, "nothing") == 0, "what was read");
}

static void end_by_exit(int number)
{
	char order = EXIT;

	must(write(children[number].tell, &order, 1) == 1, "write");
	wait_for_end(&children[number]);
	expect_out_of_reach(number);
	printf("   One has exited: nothing is there for its PASID, and the others go on.\n");
}

static void end_by_exec(int number)
{
	must(ask(&children[number], EXEC) == 'n', "another program");
	expect_out_of_reach(number);
	must(ask(&children[number], SAY_BYTE) == 'n', "what the other program has");
	printf("   One runs another program now, with its pid and a page at that address: not in reach.\n");
	kill(children[number].pid, SIGKILL);
	wait_for_end(&children[number]);
}

/* Kills the child once the transfer has begun, which its first byte tells by its own memory file. */
static void *kill_under_way(void *of)
{
	const struct child *child = of;
	char path[64], byte = 0;
	int memory;

	snprintf(path, sizeof(path), "/proc/%d/mem", child->pid);
	memory = open(path, O_RDONLY);
	must(memory >= 0, path);
	while (byte != 'k')
		must(pread(memory, &byte, 1, (off_t)(uintptr_t)PLACE) == 1, "its memory");
	close(memory);
	kill(child->pid, SIGKILL);
	wait_for_end(child);
	return NULL;
}

static void end_under_way(int number)
{
	struct ioasis_dma dma;
	pthread_t killer;

	must(pthread_create(&killer, NULL, kill_under_way, &children[number]) == 0, "pthread_create");
	dma = store(devices[0], pasid_of(number), (uintptr_t)PLACE, LARGE, 'k');
	pthread_join(killer, NULL);
	must(is_refused(dma) && dma.out_bytes > 0 && dma.out_bytes < LARGE, "a transfer under way");
	expect_out_of_reach(number);
	printf("   One was killed while the device stored 256 MiB: the rest of the transfer has failed.\n");
}

/* Only who may choose pids can show this: Linux gives a pid again after thousands of others. */
static void end_and_reuse(int number)
{
	pid_t pid = children[number].pid;
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1 };
	char *heritage = at_place(PAGE);
	pid_t again;

	memset(heritage, 'r', PAGE);
	kill(pid, SIGKILL);
	wait_for_end(&children[number]);
	again = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (again == 0) {
		/* The parent has this one's memory looked at from outside. */
		for (;;)
			pause();
	}
	expect_out_of_reach(number);
	if (again < 0) {
		printf("   One was killed: nothing is there. (No other process could be given its pid: %s)\n",
		       strerror(errno));
		return;
	}
	must(again == pid, "the same pid");
	{
		char path[64], bytes[PAGE];
		int memory;

		snprintf(path, sizeof(path), "/proc/%d/mem", pid);
		memory = open(path, O_RDONLY);
		must(pread(memory, bytes, PAGE, (off_t)(uintptr_t)PLACE) == (ssize_t)PAGE, "its memory");
		close(memory);
		for (unsigned i = 0; i < PAGE; i++)
			must(bytes[i] == 'r', "what the next process has");
	}
	kill(again, SIGKILL);
	waitpid(again, NULL, 0);
	printf("   One was killed, and another process has its pid and a page at that address: not in reach.\n");
}

static void use_many_devices(void)
{
	uint32_t own = process_table(ioasids, -1);
	struct info_ioasid info = { .size = sizeof(info), .ioasid = own };
	char *page = map_pages(1, MAP_PRIVATE);

	for (int i = 0; i < 2; i++)
		must(authorize(devices[i], own, OWN_PASID) == 0, "AUTHORIZE_IOASID");
	must(is_done(store(devices[0], OWN_PASID, (uintptr_t)page, PAGE / 2, 1)), "the first device");
	must(is_done(store(devices[1], OWN_PASID, (uintptr_t)page + PAGE / 2, PAGE / 2, 2)), "the second device");
	must(page[0] == 1 && page[PAGE / 2 - 1] == 1 && page[PAGE / 2] == 2 && page[PAGE - 1] == 2, "what both stored");
	must(ioctl(ioasids, INFO_IOASID, &info) == 0 && info.authorized == 2, "INFO_IOASID");
	must(munmap(page, PAGE) == 0, "munmap");
	for (int i = 0; i < 2; i++)
		must(is_refused(store(devices[i], OWN_PASID, (uintptr_t)page, 1, 3)), "a page that is gone");
	printf("One process, two devices: both store at its addresses, and neither when they are gone.\n");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return be_another_program();
	ioasids = open_ioasids();
	for (int i = 0; i < 2; i++) {
		devices[i] = open_device(i);
		must(bind_device(devices[i], ioasids) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
	}
	use_many_devices();
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = start((char)('a' + i), argv[0]);
		hear(&children[i]);
		share(i);
	}
	expect_own_bytes(0, 'A');
	printf("One device, %d processes: under each PASID it meets that process.\n", CHILDREN);
	end_by_exit(0);
	expect_own_bytes(1, 'F');
	end_by_exec(1);
	expect_own_bytes(2, 'K');
	end_under_way(2);
	expect_own_bytes(3, 'P');
	end_and_reuse(3);
	return 0;
}
