/*
 * Stores to registers that are mapped: each acts before the next instruction, whoever makes it and however, and what
 * is no such store stays the fault that it was.
 */
#include "fake.h"
#include <pthread.h>
#include <setjmp.h>

#define LENGTH 8192
#define COUNT (0x10 / 4)
#define WIDTH (0x14 / 4)
#define OFFSET (0x18 / 4)
#define THREADS 8
#define STORES 300

static volatile uint32_t *map(int fd, void *at, int prot, int flags)
{
	void *got = mmap(at, LENGTH, prot, MAP_SHARED | flags, fd, 8192);

	CHECK(got != MAP_FAILED);
	return got;
}

static void check_stores(volatile uint32_t *registers)
{
	uint32_t before = registers[COUNT];

	for (uint32_t i = 1; i <= 100; i++) {
		registers[64 + i] = i * 7;
		CHECK(registers[64 + i] == i * 7);
		CHECK(registers[COUNT] == before + i);
		CHECK(registers[OFFSET] == (64 + i) * 4 && registers[WIDTH] == 4);
	}
	*(volatile uint8_t *)&registers[64] = 0x5a;
	CHECK(registers[WIDTH] == 1);
	*(volatile uint16_t *)&registers[65] = 0x5a5a;
	CHECK(registers[WIDTH] == 2);
	*(volatile uint64_t *)&registers[66] = 0x123456789abcdef0;
	CHECK(registers[WIDTH] == 8 && registers[66] == 0x9abcdef0 && registers[67] == 0x12345678);
	/* Not aligned: in pieces that are. */
	before = registers[COUNT];
	*(volatile uint32_t *)((uintptr_t)registers + 0x202) = 0x11223344;
	CHECK(registers[COUNT] == before + 2 && *(volatile uint32_t *)((uintptr_t)registers + 0x202) == 0x11223344);
	before = registers[70];
	__atomic_fetch_add(&registers[70], 5, __ATOMIC_SEQ_CST);
	CHECK(registers[70] == before + 5);
}

/* As libc does it, with whatever this CPU is best at. */
static void check_libc(volatile uint32_t *registers)
{
	uint8_t bytes[3000], *at = (uint8_t *)registers + 4096;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 31);
	for (size_t length = 1; length <= sizeof(bytes); length = length * 3 + 1) {
		memset(at, 0xee, length + 1);
		memcpy(at + 1, bytes, length);
		CHECK(at[0] == 0xee && memcmp(at + 1, bytes, length) == 0);
	}
}

static sigjmp_buf back;
static void *volatile fault_address;
static volatile int faults;
static char *alternate;

static void jump(int number, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(number == SIGSEGV);
	fault_address = info->si_addr;
	faults++;
	siglongjmp(back, 1);
}

static void jump_on_alternate(int number, siginfo_t *info, void *context)
{
	char here;

	CHECK(&here >= alternate && &here < alternate + 65536);
	jump(number, info, context);
}

/* The program's own handler gets what is not ours, with the address, on the stack that it wants. */
static void check_fault_at(volatile uint32_t *at)
{
	int before = faults;

	if (sigsetjmp(back, 1) == 0) {
		*at = 1;
		CHECK(false);
	}
	CHECK(faults == before + 1 && fault_address == (void *)at);
}

static void check_handlers(volatile uint32_t *registers)
{
	struct sigaction own = { .sa_sigaction = jump, .sa_flags = SA_SIGINFO }, was;
	stack_t stack = { .ss_sp = alternate = malloc(65536), .ss_size = 65536 };

	CHECK(sigaction(SIGSEGV, &own, &was) == 0 && was.sa_handler == SIG_DFL);
	check_fault_at((uint32_t *)64);
	check_stores(registers);
	CHECK(sigaltstack(&stack, NULL) == 0);
	own.sa_sigaction = jump_on_alternate;
	own.sa_flags |= SA_ONSTACK;
	CHECK(sigaction(SIGSEGV, &own, &was) == 0 && was.sa_sigaction == jump);
	check_fault_at((uint32_t *)64);
	check_stores(registers);
	CHECK(syscall(SYS_rt_sigaction, SIGSEGV, NULL, &was, 8) == 0 &&
	      was.sa_sigaction == (void *)jump_on_alternate);
	CHECK(signal(SIGSEGV, SIG_DFL) == (void *)jump_on_alternate);
	CHECK(signal(SIGSEGV, SIG_IGN) == SIG_DFL);
	CHECK(raise(SIGSEGV) == 0);
	check_stores(registers);
	own.sa_flags = SA_SIGINFO;
	own.sa_sigaction = jump;
	CHECK(sigaction(SIGSEGV, &own, &was) == 0 && was.sa_handler == SIG_IGN);
}

static volatile uint32_t *in_handler;

static void store_in_handler(int number)
{
	(void)number;
	in_handler[100] = 77;
}

/* Blocking SIGSEGV keeps nobody from storing. */
static void check_blocked(volatile uint32_t *registers)
{
	struct sigaction user = { .sa_handler = store_in_handler };
	sigset_t all, was;

	sigfillset(&all);
	sigfillset(&user.sa_mask);
	in_handler = registers;
	registers[100] = 0;
	CHECK(sigaction(SIGUSR1, &user, NULL) == 0 && raise(SIGUSR1) == 0 && registers[100] == 77);
	CHECK(sigaction(SIGUSR1, NULL, &user) == 0 && sigismember(&user.sa_mask, SIGSEGV) == 1);
	CHECK(pthread_sigmask(SIG_SETMASK, &all, &was) == 0 && sigismember(&was, SIGSEGV) == 0);
	check_stores(registers);
	CHECK(sigprocmask(SIG_SETMASK, &was, &all) == 0 && sigismember(&all, SIGSEGV) == 1);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &all) == 0 && sigismember(&all, SIGSEGV) == 0);
	CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &(uint64_t){ 1ull << (SIGSEGV - 1) }, NULL, 8) == 0);
	check_stores(registers);
	CHECK(sigprocmask(SIG_SETMASK, &was, &all) == 0 && sigismember(&all, SIGSEGV) == 1);
}

static void *many(void *registers)
{
	for (int i = 0; i < STORES; i++)
		((volatile uint32_t *)registers)[200] = 1;
	return NULL;
}

static void check_threads(volatile uint32_t *registers)
{
	uint32_t before = registers[COUNT];
	pthread_t threads[THREADS];
	pthread_attr_t small;

	CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 16384) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], &small, many, (void *)registers) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(registers[COUNT] == before + THREADS * STORES);
}

static int status_of(pid_t child)
{
	int status;

	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

static void check_children(volatile uint32_t *registers)
{
	uint32_t before = registers[COUNT];
	pid_t child = fork();

	if (child == 0) {
		many((void *)registers);
		_exit(0);
	}
	CHECK(status_of(child) == 0 && registers[COUNT] == before + STORES);
	child = vfork();
	if (child == 0) {
		registers[200] = 2;
		_exit(0);
	}
	CHECK(status_of(child) == 0 && registers[COUNT] == before + STORES + 1);
}

/* Without a handler of its own a program ends by what is not ours, and so it does by what cannot be carried out. */
static void check_ends(volatile uint32_t *registers)
{
	char said[256] = "";
	int ends[2];
	pid_t child = fork();

	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile int *)64 = 1;
		_exit(0);
	}
	CHECK(WTERMSIG(status_of(child)) == SIGSEGV);
	child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
		_exit(0);
	}
	CHECK(WTERMSIG(status_of(child)) == SIGSEGV);
	CHECK(pipe(ends) == 0);
	child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		dup2(ends[1], 2);
#if defined(__x86_64__)
		__asm__ volatile("shll $3, (%0)" : : "r"(registers) : "memory");
#endif
		_exit(0);
	}
	CHECK(WTERMSIG(status_of(child)) == SIGSEGV);
	CHECK(read(ends[0], said, sizeof(said) - 1) > 0 && strstr(said, "ioasis: ") && strstr(said, " c1 "));
}

static volatile uint32_t *page(volatile uint32_t *at, int number)
{
	return at + number * (4096 / 4) + 20;
}

/* One mprotect over memory, registers and memory again; then over a page of the registers alone. */
static void check_protection(int fd)
{
	volatile uint32_t *all = mmap(NULL, LENGTH * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	map(fd, (void *)page(all, 1) - 80, PROT_READ, MAP_FIXED);
	check_fault_at(page(all, 1));
	CHECK(mprotect((void *)all, LENGTH * 2, PROT_READ | PROT_WRITE) == 0);
	*page(all, 0) = *page(all, 3) = 5;
	CHECK(*page(all, 0) == 5 && *page(all, 3) == 5);
	check_stores(all + 1024);
	CHECK(mprotect((void *)all + 8192, 8192, PROT_READ) == 0);
	check_fault_at(page(all, 2));
	check_fault_at(page(all, 3));
	*page(all, 0) = 6;
	check_stores(all + 1024);
	CHECK(mprotect((void *)all + 4096, LENGTH, PROT_READ | PROT_WRITE) == 0);
	check_fault_at(page(all, 3));
	*page(all, 2) = 7;
	CHECK(*page(all, 2) == 7 && all[1024 + OFFSET] == 4096 + 80);
	CHECK(munmap((void *)all + 12288, 4096) == 0);
	REFUSED(mprotect((void *)all + 4096, 12288, PROT_READ), ENOMEM);
	check_fault_at(page(all, 1));
	check_fault_at(page(all, 2));
	CHECK(munmap((void *)all, LENGTH * 2) == 0);
}

static void check_mapping(int fd, volatile uint32_t *registers)
{
	volatile uint32_t *other = map(fd, NULL, PROT_READ, 0), *moved;
	uint32_t value = 0;
	int ends[2];

	check_fault_at(other + 100);
	CHECK(mprotect((void *)other, LENGTH, PROT_READ | PROT_WRITE) == 0);
	check_stores(other);
	/* No way leads around the daemon. */
	CHECK(mprotect((void *)other, LENGTH, PROT_READ) == 0);
	check_fault_at(other + 100);
	CHECK(mprotect((void *)other, LENGTH, PROT_READ | PROT_WRITE) == 0);
	CHECK(munmap((void *)other, 4096) == 0);
	check_fault_at(other + 100);
	other[1024 + 5] = 99;
	CHECK(registers[OFFSET] == 4096 + 20 && registers[1024 + 5] == 99);
	CHECK(mmap((void *)((uintptr_t)other + 4096), 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	other[1024 + 5] = 98;
	CHECK(registers[1024 + 5] == 99);
	CHECK(munmap((void *)((uintptr_t)other + 4096), 4096) == 0);
	other = map(fd, NULL, PROT_WRITE, 0);
	moved = mmap(NULL, LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mremap((void *)other, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == moved);
	check_stores(moved);
	check_fault_at(other + 100);
	check_protection(fd);
	/* The kernel stores nothing there. */
	CHECK(pipe(ends) == 0 && write(ends[1], &value, 4) == 4);
	REFUSED(read(ends[0], (void *)&moved[100], 4), EFAULT);
	CHECK(munmap((void *)moved, LENGTH) == 0);
}

/* A mapping of a device does not grow (VM_DONTEXPAND); a part of it that goes elsewhere takes its registers along. */
static void check_moves(int fd)
{
	volatile uint32_t *all = map(fd, NULL, PROT_READ | PROT_WRITE, 0), *other = map(fd, NULL, PROT_READ, 0), *part;
	void *second = (void *)(all + 1024), *const failed = MAP_FAILED;
	void *place = mmap(NULL, LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(mremap((void *)all, LENGTH, 2 * LENGTH, MREMAP_MAYMOVE) == failed && errno == EFAULT);
	CHECK(mremap((void *)all, 4096, LENGTH, MREMAP_MAYMOVE) == failed && errno == EFAULT);
	CHECK(mremap((void *)all, 0, LENGTH, MREMAP_MAYMOVE) == failed && errno == EFAULT);
	CHECK(mremap((void *)all, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_DONTUNMAP) == failed && errno == EINVAL);
	CHECK(mremap((void *)all, LENGTH, 0, MREMAP_MAYMOVE) == failed && errno == EINVAL);
	CHECK((void *)syscall(SYS_mremap, second, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
	part = place;
	part[5] = 99;
	CHECK(all[OFFSET] == 4096 + 20 && part[5] == 99);
	all[6] = 1;
	CHECK(all[OFFSET] == 24);
	check_fault_at(all + 1024 + 5);
	/* Over what could only be read. */
	CHECK(mremap(place, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, other) == other);
	other[7] = 98;
	CHECK(all[OFFSET] == 4096 + 28);
	check_fault_at(other + 1024 + 7);
	CHECK(munmap((void *)other, LENGTH) == 0 && munmap((void *)all, 4096) == 0);
	all = map(fd, NULL, PROT_READ | PROT_WRITE, 0);
	CHECK(mremap((void *)all, LENGTH, 4096, 0) == all);
	check_fault_at(all + 1024 + 5);
	all[8] = 2;
	CHECK(all[OFFSET] == 32);
	CHECK(munmap((void *)all, 4096) == 0);
}

int main(void)
{
	int fd = fake_open();
	volatile uint32_t *registers;

	signal(SIGSEGV, SIG_DFL);
	registers = map(fd, NULL, PROT_READ | PROT_WRITE, 0);
	check_stores(registers);
	check_libc(registers);
	check_threads(registers);
	check_children(registers);
	check_ends(registers);
	check_handlers(registers);
	check_blocked(registers);
	check_mapping(fd, registers);
	check_moves(fd);
	return 0;
}
