/*
 * What shim/src makes of stores, beside what the CPU makes of them: each instruction runs twice from the same registers
 * and memory, once with memory that can be written, once with memory where it faults and is emulated. Everything that
 * is left afterwards has to be the same.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../../shim/src/decode.c"
#include "../../../shim/src/emulate.c"
#include "check.h"

#if defined(__x86_64__)

/* Below 4 GiB, for addresses of 32 bits; instructions run in the page before it. */
#define ARENA 0x20000000ul
#define CODE (ARENA - 4096)
#define BYTES 8192
/* Where operands are: in the middle, so that every displacement of a byte stays inside. */
#define OPERAND (ARENA + 4096)
#define TURNS 24

enum { BASE, SSE41, MOVBE, AVX, AVX2, AVX512, MOVDIRI, MOVDIR64 };

struct example {
	const uint8_t *begin, *end;
	const char *text;
	uint64_t needs;
};
extern const struct example __start_examples[], __stop_examples[];

#define NEEDS(feature, text)                                                                                 \
	__asm__(".pushsection .rodata\n71: " text "\n72: .byte 0xc3\n73: .string \"" text                        \
		"\"\n.popsection\n"                                                                          \
		".pushsection examples,\"aw\"\n.balign 8\n.quad 71b, 72b, 73b, " feature "\n.popsection\n")
#define EXAMPLE(text) NEEDS("0", text)

#define ALL_WIDTHS(name)                                                                                     \
	EXAMPLE(name "b %al, (%rdi)");                                                                       \
	EXAMPLE(name "w %ax, 3(%rdi)");                                                                      \
	EXAMPLE(name "l %eax, 4(%rdi)");                                                                     \
	EXAMPLE(name "q %rax, 8(%rdi)")
#define ALU(name)                                                                                            \
	ALL_WIDTHS(name);                                                                                    \
	EXAMPLE("lock; " name "l %r9d, (%rdi,%rcx,2)");                                                      \
	EXAMPLE(name "b %dh, (%rdi)");                                                                       \
	EXAMPLE(name "b $-5, 1(%rdi)");                                                                      \
	EXAMPLE(name "w $0x7654, 2(%rdi)");                                                                  \
	EXAMPLE(name "l $-3, 4(%rdi)");                                                                      \
	EXAMPLE(name "l $0x12345678, 4(%rdi)");                                                              \
	EXAMPLE(name "q $-0x12345678, 8(%rdi)")

ALL_WIDTHS("mov");
EXAMPLE("movb %ah, (%rdi)");
EXAMPLE("movb %sil, (%rdi)");
EXAMPLE("movb %r14b, -128(%rdi)");
EXAMPLE("movl %r15d, 0x7f(%r8)");
EXAMPLE("movq %r15, 0x123(%r8,%rcx,8)");
EXAMPLE("movl %ebx, (%r13)");
EXAMPLE("movl %ebx, (%r12)");
EXAMPLE("movl %ebx, 0x20001200(,%rcx,4)");
EXAMPLE("movl %ebx, 0x20001234");
EXAMPLE("movl %ebx, (%edi)");
EXAMPLE("movl %ebx, -8(%edi,%ecx,8)");
EXAMPLE("movb $0x5a, (%rdi)");
EXAMPLE("movw $0x1234, (%rdi)");
EXAMPLE("movl $0x89abcdef, 5(%rdi)");
EXAMPLE("movq $-2, 1(%rdi)");
/* mov %eax, from here; movb and movw with an immediate behind the displacement */
EXAMPLE(".byte 0x89, 0x05; .long 0x2000 + 0x100");
EXAMPLE(".byte 0xc6, 0x05; .long 0x2000 + 0x100; .byte 0x77");
EXAMPLE(".byte 0x66, 0xc7, 0x05; .long 0x2000 + 0x100; .word 0x7788");
EXAMPLE("movabs %al, 0x20001001");
EXAMPLE("movabs %ax, 0x20001002");
EXAMPLE("movabs %eax, 0x20001004");
EXAMPLE("movabs %rax, 0x20001008");
EXAMPLE("movnti %eax, (%rdi)");
EXAMPLE("movnti %r10, (%rdi)");
NEEDS("2", "movbe %ax, (%rdi)");
NEEDS("2", "movbe %eax, (%rdi)");
NEEDS("2", "movbe %rax, (%rdi)");
NEEDS("6", "movdiri %eax, (%rdi)");
NEEDS("6", "movdiri %rax, (%rdi)");
NEEDS("7", "movdir64b (%rsi), %rdi");
NEEDS("7", "movdir64b 3(%rsi), %rdi");
NEEDS("7", "movdir64b (%esi), %edi");
EXAMPLE("stosb");
EXAMPLE("stosw");
EXAMPLE("stosl");
EXAMPLE("stosq");
EXAMPLE("rep stosb");
EXAMPLE("rep stosw");
EXAMPLE("rep stosl");
EXAMPLE("rep stosq");
EXAMPLE("addr32 rep stosl");
EXAMPLE("std; rep stosq; cld");
EXAMPLE("movsb");
EXAMPLE("movsq");
EXAMPLE("rep movsb");
EXAMPLE("rep movsw");
EXAMPLE("rep movsl");
EXAMPLE("rep movsq");
EXAMPLE("addr32 rep movsb");
EXAMPLE("std; rep movsl; cld");
ALU("add");
ALU("or");
ALU("adc");
ALU("sbb");
ALU("and");
ALU("sub");
ALU("xor");
EXAMPLE("notb (%rdi)");
EXAMPLE("notq (%rdi)");
EXAMPLE("negw (%rdi)");
EXAMPLE("lock; negl (%rdi)");
EXAMPLE("negq (%rdi)");
EXAMPLE("incb (%rdi)");
EXAMPLE("incw (%rdi)");
EXAMPLE("lock; incl (%rdi)");
EXAMPLE("decl 1(%rdi)");
EXAMPLE("decq (%rdi)");
ALL_WIDTHS("xchg");
EXAMPLE("xchgb %bh, (%rdi)");
EXAMPLE("xchgl %r11d, (%rdi)");
ALL_WIDTHS("xadd");
EXAMPLE("lock; xaddl %r11d, (%rdi)");
EXAMPLE("cmpxchgb %dl, (%rdi)");
EXAMPLE("lock; cmpxchgl %edx, (%rdi)");
EXAMPLE("movl (%rdi), %eax; lock; cmpxchgl %edx, (%rdi)");
EXAMPLE("movq (%rdi), %rax; cmpxchgq %rdx, (%rdi)");
EXAMPLE("movw (%rdi), %ax; cmpxchgw %dx, (%rdi)");
EXAMPLE("seto (%rdi)");
EXAMPLE("setnc (%rdi)");
EXAMPLE("setz (%rdi)");
EXAMPLE("setna (%rdi)");
EXAMPLE("sets (%rdi)");
EXAMPLE("setnp (%rdi)");
EXAMPLE("setl (%rdi)");
EXAMPLE("setg (%rdi)");
EXAMPLE("fs movl %eax, (%r9)");
EXAMPLE("movups %xmm3, 1(%rdi)");
EXAMPLE("movupd %xmm12, (%rdi)");
EXAMPLE("movaps %xmm4, (%rdi)");
EXAMPLE("movapd %xmm4, (%rdi)");
EXAMPLE("movdqa %xmm9, (%rdi)");
EXAMPLE("movdqu %xmm9, 3(%rdi)");
EXAMPLE("movntps %xmm5, (%rdi)");
EXAMPLE("movntpd %xmm5, (%rdi)");
EXAMPLE("movntdq %xmm5, (%rdi)");
EXAMPLE("movss %xmm6, (%rdi)");
EXAMPLE("movsd %xmm6, (%rdi)");
EXAMPLE("movlps %xmm7, (%rdi)");
EXAMPLE("movhps %xmm7, (%rdi)");
EXAMPLE("movlpd %xmm7, (%rdi)");
EXAMPLE("movhpd %xmm7, (%rdi)");
EXAMPLE("movd %xmm8, (%rdi)");
EXAMPLE("movq %xmm8, (%rdi)");
EXAMPLE(".byte 0x66, 0x4c, 0x0f, 0x7e, 0x07");
EXAMPLE("movd %mm1, (%rdi)");
EXAMPLE("movq %mm2, (%rdi)");
EXAMPLE("movntq %mm3, (%rdi)");
NEEDS("1", "pextrb $9, %xmm1, (%rdi)");
NEEDS("1", "pextrw $3, %xmm1, (%rdi)");
NEEDS("1", "pextrd $2, %xmm11, (%rdi)");
NEEDS("1", "pextrq $1, %xmm11, (%rdi)");
NEEDS("1", "extractps $3, %xmm1, (%rdi)");
NEEDS("3", "vmovups %xmm2, (%rdi)");
NEEDS("3", "vmovups %ymm2, 1(%rdi)");
NEEDS("3", "vmovaps %ymm13, (%r8)");
NEEDS("3", "vmovdqu %ymm13, (%r8,%rcx,4)");
NEEDS("3", "vmovdqa %ymm3, (%rdi)");
NEEDS("3", "vmovntdq %ymm3, (%rdi)");
NEEDS("3", "vmovntps %ymm3, (%rdi)");
NEEDS("3", "vmovss %xmm3, (%rdi)");
NEEDS("3", "vmovsd %xmm13, (%rdi)");
NEEDS("3", "vmovd %xmm3, (%rdi)");
NEEDS("3", "vmovq %xmm3, (%rdi)");
NEEDS("3", "vmovhps %xmm3, (%rdi)");
NEEDS("3", "vextractf128 $1, %ymm4, (%rdi)");
NEEDS("3", "vextractf128 $0, %ymm4, (%rdi)");
NEEDS("3", "vpextrd $1, %xmm4, (%rdi)");
NEEDS("4", "vextracti128 $1, %ymm14, (%r8)");
NEEDS("5", "vmovdqu64 %zmm5, 64(%rdi)");
NEEDS("5", "vmovdqu32 %zmm25, 1(%rdi)");
NEEDS("5", "vmovdqa64 %zmm15, (%rdi)");
NEEDS("5", "vmovdqu64 %ymm17, 32(%rdi)");
NEEDS("5", "vmovdqu64 %xmm30, 16(%rdi)");
NEEDS("5", "vmovdqu8 %zmm31, 0x234(%rdi,%rcx,8)");
NEEDS("5", "vmovups %zmm1, (%r8)");
NEEDS("5", "vmovntdq %zmm16, (%rdi)");
NEEDS("5", "vmovss %xmm20, 4(%rdi)");
NEEDS("5", "vmovsd %xmm20, 8(%rdi)");
NEEDS("5", "vmovd %xmm20, 4(%rdi)");
NEEDS("5", "vmovq %xmm20, 8(%rdi)");
NEEDS("5", "vmovdqu8 %zmm5, 64(%rdi){%k1}");
NEEDS("5", "vmovdqu8 %ymm25, (%rdi){%k2}");
NEEDS("5", "vmovdqu16 %zmm5, 1(%rdi){%k3}");
NEEDS("5", "vmovdqu32 %zmm15, (%rdi){%k4}");
NEEDS("5", "vmovdqu64 %zmm15, (%rdi){%k5}");
NEEDS("5", "vmovups %xmm15, (%rdi){%k6}");
NEEDS("5", "vmovapd %zmm15, (%rdi){%k7}");
NEEDS("5", "vmovss %xmm15, (%rdi){%k1}");
NEEDS("5", "vmovsd %xmm15, (%rdi){%k1}");
/* What is masked out may lie where nothing is. */
NEEDS("5", "movl $0x00ffff00, %eax; kmovd %eax, %k1; vmovdqu8 %ymm5, 0x0fe8(%rdi){%k1}");

/* Stores that nobody makes to registers: they are to be told apart, not guessed at. */
static const uint8_t unknown[][12] = {
	{ 0xc1, 0x27, 3 },				/* shll $3, (%rdi) */
	{ 0x0f, 0xae, 0x07 },				/* fxsave (%rdi) */
	{ 0x0f, 0xba, 0x2f, 1 },			/* btsl $1, (%rdi) */
	{ 0x0f, 0xc7, 0x0f },				/* cmpxchg8b (%rdi) */
	{ 0x8f, 0x07 },					/* popq (%rdi) */
	{ 0x8c, 0x1f },					/* movw %ds, (%rdi) */
	{ 0xf7, 0x07, 1, 2, 3, 4 },			/* testl, which stores nothing */
	{ 0x38, 0x07 },					/* cmpb, neither */
	{ 0x62, 0xf2, 0x7d, 0x49, 0x8b, 0x07 },		/* vpcompressd %zmm0, (%rdi){%k1} */
	{ 0x62, 0xf1, 0x7e, 0x60, 0x7f, 0x07 },		/* a vector longer than there are */
	{ 0x89, 0xc0 },					/* between registers */
};

/* All that an instruction can see and change; in the order in which `run` takes it. */
struct state {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, flags;
};
struct state before, after;
uint8_t vectors[32 * 64] __attribute__((aligned(64)));
uint64_t has_avx, has_avx512;
void *const code = (void *)CODE;
void run(void);

#define EACH_REGISTER(operation)                                                                             \
	operation("rax", "0") operation("rbx", "8") operation("rcx", "16") operation("rdx", "24")            \
		operation("rsi", "32") operation("rdi", "40") operation("rbp", "48") operation("r8", "56")   \
			operation("r9", "64") operation("r10", "72") operation("r11", "80")                  \
				operation("r12", "88") operation("r13", "96") operation("r14", "104")        \
					operation("r15", "112")
#define LOAD(name, at) "mov before+" at "(%rip), %" name "\n"
#define SAVE(name, at) "mov %" name ", after+" at "(%rip)\n"

__asm__(".text\nrun:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; sub $8, %rsp\n"
	"lea vectors(%rip), %rax\n"
	".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n movups 64*\\n(%rax), %xmm\\n\n .endr\n"
	".irp n, 0, 1, 2, 3, 4, 5, 6, 7\n movq 64*\\n+8(%rax), %mm\\n\n .endr\n"
	"cmpq $0, has_avx(%rip); je 1f\n"
	".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n vmovups 64*\\n(%rax), %ymm\\n\n .endr\n"
	"cmpq $0, has_avx512(%rip); je 1f\n"
	".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, "
	"27, 28, 29, 30, 31\n vmovups 64*\\n(%rax), %zmm\\n\n .endr\n"
	".irp n, 1, 2, 3, 4, 5, 6, 7\n kmovq 64*\\n+16(%rax), %k\\n\n .endr\n"
	"1: pushq before+120(%rip); popfq\n" EACH_REGISTER(LOAD) "call *code(%rip)\n" EACH_REGISTER(SAVE)
	"pushfq; popq after+120(%rip); emms\n"
	"add $8, %rsp; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

#define SOURCE (ARENA + 0x10000)

static uint8_t *alias;
static unsigned stores;
static const char *under_test = "";

#define HOLDS(condition)                                                                                     \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			printf("%s: %s\n", under_test, #condition);                                          \
			fflush(stdout);                                                                      \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)

static void store_here(const struct trapped *trapped, uintptr_t at, unsigned width, uint64_t value)
{
	HOLDS(at % width == 0 && at >= trapped->start && at + width - 1 <= trapped->last);
	HOLDS(width == 8 || value >> 8 * width == 0);
	memcpy(alias + (at - ARENA), &value, width);
	stores++;
}

static const struct trapped arena = { .start = ARENA, .last = ARENA + BYTES - 1, .store = store_here };

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	HOLDS(emulate_store(context, &arena));
}

static void *map(uintptr_t at, size_t length, int prot, int flags, int fd)
{
	void *got = mmap((void *)at, length, prot, flags, fd, 0);

	CHECK(got != MAP_FAILED);
	return got;
}

static uint64_t supported(void)
{
	unsigned a, b, c, d, c7 = 0, c1 = 0;
	uint64_t features = 1ull << BASE;

	if (__get_cpuid(1, &a, &b, &c, &d))
		c1 = c;
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
		c7 = c;
	features |= (uint64_t)(c1 >> 22 & 1) << MOVBE | (uint64_t)(c7 >> 27 & 1) << MOVDIRI |
		    (uint64_t)(c7 >> 28 & 1) << MOVDIR64;
	features |= (uint64_t)!!__builtin_cpu_supports("sse4.1") << SSE41 |
		    (uint64_t)!!__builtin_cpu_supports("avx") << AVX | (uint64_t)!!__builtin_cpu_supports("avx2") << AVX2;
	if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
		features |= 1ull << AVX512;
	return features;
}

static uint64_t dice(void)
{
	static uint64_t seed = 0x9e3779b97f4a7c15;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void throw(uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(dice() >> 11);
}

/* Random, but for addresses: those end in the arena, whichever way they are used. */
static void new_state(void)
{
	uint64_t fs = 0;

	throw((uint8_t *)&before, sizeof(before));
	throw(vectors, sizeof(vectors));
	syscall(SYS_arch_prctl, ARCH_GET_FS, &fs);
	before.rcx = 1 + dice() % 60;
	before.rdi = OPERAND;
	before.rsi = SOURCE + 2048 + dice() % 64;
	before.r8 = before.r12 = before.r13 = OPERAND + 64;
	before.r9 = OPERAND - fs;
	before.flags = (before.flags & STATUS) | 0x202;
	/* Equal values now and then, for what compares. */
	if (dice() % 4 == 0)
		before.rax = before.rdx = dice() % 2;
}

static void check_example(const struct example *example)
{
	static uint8_t image[BYTES], result[BYTES];
	struct state expected;

	under_test = example->text;
	memcpy(code, example->begin, (size_t)(example->end - example->begin) + 1);
	for (int turn = 0; turn < TURNS; turn++) {
		new_state();
		throw(image, sizeof(image));
		memcpy(alias, image, BYTES);
		CHECK(mprotect((void *)ARENA, BYTES, PROT_READ | PROT_WRITE) == 0);
		run();
		expected = after;
		memcpy(result, alias, BYTES);
		memcpy(alias, image, BYTES);
		CHECK(mprotect((void *)ARENA, BYTES, PROT_READ) == 0);
		stores = 0;
		run();
		HOLDS(memcmp(alias, result, BYTES) == 0);
		HOLDS(memcmp(&expected, &after, sizeof(after)) == 0);
		HOLDS(stores > 0 || memcmp(image, result, BYTES) == 0);
	}
}

static void check_unknown(const uint8_t *at)
{
	static uint8_t frame[1024];
	ucontext_t context = { 0 };

	under_test = "an unknown store";
	context.uc_mcontext.fpregs = (void *)frame;
	context.uc_mcontext.gregs[REG_RIP] = (greg_t)at;
	context.uc_mcontext.gregs[REG_RDI] = (greg_t)OPERAND;
	context.uc_mcontext.gregs[REG_RAX] = (greg_t)OPERAND;
	stores = 0;
	HOLDS(!emulate_store(&context, &arena));
	HOLDS(stores == 0 && context.uc_mcontext.gregs[REG_RIP] == (greg_t)at);
}

/* Half of it would be beyond the end. */
static void check_outside(void)
{
	static const uint8_t mov[] = { 0x48, 0x89, 0x07 };
	ucontext_t context = { 0 };

	under_test = "a store that is only partly inside";
	context.uc_mcontext.gregs[REG_RIP] = (greg_t)mov;
	for (int outside = -4; outside <= BYTES - 4; outside += BYTES) {
		context.uc_mcontext.gregs[REG_RDI] = (greg_t)ARENA + outside;
		HOLDS(!emulate_store(&context, &arena));
	}
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	uint64_t features = supported();
	int memory = memfd_create("arena", 0);

	CHECK(memory >= 0 && ftruncate(memory, BYTES) == 0);
	map(ARENA, BYTES, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, memory);
	alias = map(0, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory);
	map(CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1);
	throw(map(SOURCE, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1), 4096);
	CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
	has_avx = features >> AVX & 1;
	has_avx512 = features >> AVX512 & 1;
	for (const struct example *example = __start_examples; example < __stop_examples; example++)
		if (features >> example->needs & 1)
			check_example(example);
	for (size_t i = 0; i < ENTRIES(unknown); i++)
		check_unknown(unknown[i]);
	check_outside();
	return 0;
}

#else

int main(void)
{
	return 0;
}

#endif
