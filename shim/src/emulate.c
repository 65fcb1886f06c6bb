/* What a store does, done in the registers of whoever was interrupted at it and, for memory, by `trapped->store`. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "decode.h"
#include "sys.h"

#if defined(__x86_64__)
#include <asm/prctl.h>
#include <cpuid.h>

#define CF 0x001
#define PF 0x004
#define AF 0x010
#define ZF 0x040
#define SF 0x080
#define DF 0x400
#define OF 0x800
#define STATUS (CF | PF | AF | ZF | SF | OF)
/* Elements of a string that are done at once; signals are let in between. */
#define STRING_TURN 128
/* The frame's extended state (the kernel's uapi/asm/sigcontext.h): where it says that it has one, and of what. */
#define XSTATE_MAGIC 0x46505853u
#define XSTATE_MAGIC_AT 464
#define XSTATE_FEATURES_AT 512
#define XMM_AT 160
#define MMX_AT 32
enum { YMM_HIGH = 2, MASKS = 5, ZMM_HIGH = 6, ZMM_UPPER = 7 };

static const int gregs[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
			       REG_R8,	REG_R9,	 REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

struct emulation {
	const struct trapped *trapped;
	const struct instruction *in;
	greg_t *registers;
	const uint8_t *vectors;	/* FXSAVE area of the frame, or NULL */
	uintptr_t at;		/* the memory operand */
};

static uint64_t mask_of(unsigned width)
{
	return width >= 8 ? ~0ull : (1ull << 8 * width) - 1;
}

static uint64_t get(const struct emulation *e, int number)
{
	return (uint64_t)e->registers[gregs[number]];
}

/* A general register operand. AH, CH, DH and BH have the numbers of RSP to RDI. */
static uint64_t get_operand(const struct emulation *e, unsigned number, unsigned width)
{
	if (width == 1 && !e->in->rex && number >= 4 && number < 8)
		return get(e, (int)number - 4) >> 8 & 0xff;
	return get(e, (int)number) & mask_of(width);
}

static void set_operand(const struct emulation *e, unsigned number, unsigned width, uint64_t value)
{
	bool high = width == 1 && !e->in->rex && number >= 4 && number < 8;
	greg_t *place = &e->registers[gregs[high ? number - 4 : number]];
	uint64_t mask = high ? 0xff00 : mask_of(width);

	/* Four bytes clear the other four. */
	if (width == 4)
		mask = ~0ull;
	*place = (greg_t)(((uint64_t)*place & ~mask) | ((high ? value << 8 : value) & mask));
}

static bool is_inside(const struct emulation *e, uintptr_t at, unsigned width)
{
	return at >= e->trapped->start && at <= e->trapped->last && e->trapped->last - at >= width - 1;
}

static uint64_t load(uintptr_t at, unsigned width)
{
	uint64_t value = 0;

	memcpy(&value, (const void *)at, width);
	return value;
}

/* In aligned pieces. */
static void store(const struct emulation *e, uintptr_t at, unsigned width, uint64_t value)
{
	while (width > 0) {
		unsigned piece = 8;

		while (piece > width || at & (piece - 1))
			piece /= 2;
		e->trapped->store(e->trapped, at, piece, value & mask_of(piece));
		value = piece == 8 ? 0 : value >> 8 * piece;
		at += piece;
		width -= piece;
	}
}

static void store_bytes(const struct emulation *e, const uint8_t *bytes, unsigned width)
{
	for (unsigned done = 0; done < width; done += 8) {
		unsigned piece = width - done < 8 ? width - done : 8;

		store(e, e->at + done, piece, load((uintptr_t)bytes + done, piece));
	}
}

/* The aligned words around these bytes can be read: libc is not there to ask, the kernel is. */
static bool can_load(uintptr_t at, unsigned width)
{
	for (uintptr_t word = at & ~7ul; word <= at + width - 1; word += 8)
		if (word == 0 || sys4(SYS_rt_sigprocmask, ~0, word, 0, 8) == -14)
			return false;
	return true;
}

static uint64_t segment_base(enum segment segment)
{
	uint64_t base = 0;

	if (segment != SEGMENT_NONE)
		sys2(SYS_arch_prctl, segment == SEGMENT_FS ? ARCH_GET_FS : ARCH_GET_GS, &base);
	return base;
}

static uintptr_t address_of(const struct emulation *e)
{
	const struct instruction *in = e->in;
	uint64_t at = (uint64_t)in->displacement;

	if (in->base >= 0)
		at += get(e, in->base);
	if (in->index >= 0)
		at += get(e, in->index) * in->scale;
	if (in->rip_relative)
		at += (uint64_t)e->registers[REG_RIP] + in->length;
	if (in->address32)
		at &= 0xffffffff;
	return at + segment_base(in->segment);
}

static void set_status(const struct emulation *e, uint64_t flags, uint64_t kept)
{
	uint64_t old = (uint64_t)e->registers[REG_EFL];

	e->registers[REG_EFL] = (greg_t)((old & ~(uint64_t)(STATUS & ~kept)) | (flags & STATUS & ~kept));
}

/* Flags that follow from the result alone. */
static uint64_t flags_of(uint64_t result, unsigned width)
{
	return (result == 0 ? ZF : 0) | (result >> (8 * width - 1) & 1 ? SF : 0) |
	       (__builtin_parity((unsigned)(result & 0xff)) ? 0 : PF);
}

static uint64_t add(const struct emulation *e, uint64_t a, uint64_t b, bool carry, uint64_t kept)
{
	unsigned width = e->in->width;
	uint64_t result = (a + b + carry) & mask_of(width);
	uint64_t overflow = ~(a ^ b) & (a ^ result);

	set_status(e,
		   flags_of(result, width) | (carry ? result <= a : result < a ? CF : 0) | ((a ^ b ^ result) & AF) |
			   (overflow >> (8 * width - 1) & 1 ? OF : 0),
		   kept);
	return result;
}

static uint64_t subtract(const struct emulation *e, uint64_t a, uint64_t b, bool borrow, uint64_t kept)
{
	unsigned width = e->in->width;
	uint64_t result = (a - b - borrow) & mask_of(width);
	uint64_t overflow = (a ^ b) & (a ^ result);

	set_status(e,
		   flags_of(result, width) | ((borrow ? a <= b : a < b) ? CF : 0) | ((a ^ b ^ result) & AF) |
			   (overflow >> (8 * width - 1) & 1 ? OF : 0),
		   kept);
	return result;
}

static uint64_t logic(const struct emulation *e, uint64_t result)
{
	set_status(e, flags_of(result, e->in->width), 0);
	return result;
}

/* `which` as in bits 3 to 5 of the opcode; 7 would compare. */
static uint64_t alu(const struct emulation *e, unsigned which, uint64_t a, uint64_t b)
{
	bool carry = e->registers[REG_EFL] & CF;

	switch (which) {
	case 0:
		return add(e, a, b, false, 0);
	case 1:
		return logic(e, a | b);
	case 2:
		return add(e, a, b, carry, 0);
	case 3:
		return subtract(e, a, b, carry, 0);
	case 4:
		return logic(e, a & b);
	case 5:
		return subtract(e, a, b, false, 0);
	default:
		return logic(e, a ^ b);
	}
}

/* The condition in the low four bits of an opcode. */
static bool condition(uint64_t flags, unsigned code)
{
	bool less = !(flags & SF) != !(flags & OF), holds = false;

	switch (code >> 1) {
	case 0:
		holds = flags & OF;
		break;
	case 1:
		holds = flags & CF;
		break;
	case 2:
		holds = flags & ZF;
		break;
	case 3:
		holds = flags & (CF | ZF);
		break;
	case 4:
		holds = flags & SF;
		break;
	case 5:
		holds = flags & PF;
		break;
	case 6:
		holds = less;
		break;
	default:
		holds = less || flags & ZF;
	}
	return holds != (code & 1);
}

/* Where the frame has part `feature` of the vectors, or NULL: it is all zeros. */
static const uint8_t *state_of(const struct emulation *e, int feature)
{
	static _Atomic unsigned offsets[8];
	unsigned at = offsets[feature], b, c, d;
	uint32_t magic;
	uint64_t features;

	memcpy(&magic, e->vectors + XSTATE_MAGIC_AT, sizeof(magic));
	memcpy(&features, e->vectors + XSTATE_FEATURES_AT, sizeof(features));
	if (magic != XSTATE_MAGIC || !(features >> feature & 1))
		return NULL;
	if (at == 0) {
		__cpuid_count(0xd, feature, b, at, c, d);
		offsets[feature] = at;
	}
	return at ? e->vectors + at : NULL;
}

static void part_of(uint8_t *into, const uint8_t *from, size_t size)
{
	if (from)
		memcpy(into, from, size);
	else
		memset(into, 0, size);
}

/* All 64 bytes of a vector register. */
static void get_vector(const struct emulation *e, unsigned number, unsigned width, uint8_t *into)
{
	const uint8_t *high;

	if (number >= 16) {
		high = state_of(e, ZMM_UPPER);
		part_of(into, high ? high + 64 * (number - 16) : NULL, 64);
		return;
	}
	memcpy(into, e->vectors + XMM_AT + 16 * number, 16);
	if (width > 16) {
		high = state_of(e, YMM_HIGH);
		part_of(into + 16, high ? high + 16 * number : NULL, 16);
	}
	if (width > 32) {
		high = state_of(e, ZMM_HIGH);
		part_of(into + 32, high ? high + 32 * number : NULL, 32);
	}
}

/* The bytes that a masked store writes, by bit. */
static uint64_t masked_bytes(const struct emulation *e)
{
	const struct instruction *in = e->in;
	const uint8_t *masks = state_of(e, MASKS);
	uint64_t mask = masks ? load((uintptr_t)masks + 8 * in->mask, 8) : 0, bytes = 0;

	for (unsigned at = 0; at < in->width; at++)
		bytes |= (mask >> at / in->element & 1) << at;
	return bytes;
}

static void store_masked(const struct emulation *e, const uint8_t *bytes, uint64_t which)
{
	const struct instruction *in = e->in;

	for (unsigned at = 0; at < in->width; at += in->element)
		if (which >> at & 1)
			store(e, e->at + at, in->element, load((uintptr_t)bytes + at, in->element));
}

/* All that is written has to be inside, not all that could be. */
static bool is_masked_inside(const struct emulation *e)
{
	uint64_t bytes = masked_bytes(e);
	unsigned first = bytes ? (unsigned)__builtin_ctzll(bytes) : 0, last = bytes ? 63 - (unsigned)__builtin_clzll(bytes) : 0;

	return bytes == 0 || is_inside(e, e->at + first, last - first + 1);
}

static void store_vector(const struct emulation *e)
{
	const struct instruction *in = e->in;
	uint8_t bytes[64];

	switch (in->operation) {
	case OP_MMX:
		return store_bytes(e, e->vectors + MMX_AT + 16 * (in->reg & 7), in->width);
	case OP_VECTOR_HIGH:
		get_vector(e, in->reg, 16, bytes);
		return store_bytes(e, bytes + 8, 8);
	case OP_EXTRACT:
		get_vector(e, in->reg, 32, bytes);
		return store_bytes(
			e, bytes + in->width * (in->immediate & ((in->width == 16 ? 32 : 16) / in->width - 1)),
			in->width);
	default:
		get_vector(e, in->reg, in->width, bytes);
		if (in->mask)
			return store_masked(e, bytes, masked_bytes(e));
		return store_bytes(e, bytes, in->width);
	}
}

/* Adds to a register as strings do: with addresses of 32 bits to its lower half, which clears the upper one. */
static void advance(const struct emulation *e, int number, int64_t by)
{
	uint64_t sum = (uint64_t)e->registers[number] + (uint64_t)by;

	e->registers[number] = (greg_t)(e->in->address32 ? sum & 0xffffffff : sum);
}

static uint64_t string_address(const struct emulation *e, int number)
{
	uint64_t at = (uint64_t)e->registers[number];

	return e->in->address32 ? at & 0xffffffff : at;
}

/*
 * As much of a string as is inside. It is met again while there is more; what cannot be loaded makes it fault by
 * itself. False: not even the first element is inside.
 */
static bool emulate_string(struct emulation *e)
{
	const struct instruction *in = e->in;
	bool moves = in->operation == OP_MOVS;
	int64_t step = e->registers[REG_EFL] & DF ? -(int64_t)in->width : in->width;
	uint64_t from_base = moves ? segment_base(in->segment) : 0;

	if (!is_inside(e, string_address(e, REG_RDI), in->width))
		return false;
	for (int turn = 0; turn < STRING_TURN; turn++) {
		uintptr_t to = string_address(e, REG_RDI), from = string_address(e, REG_RSI) + from_base;

		if (!is_inside(e, to, in->width) || (moves && !can_load(from, in->width)))
			return true;
		store(e, to, in->width, moves ? load(from, in->width) : get(e, 0) & mask_of(in->width));
		advance(e, REG_RDI, step);
		if (moves)
			advance(e, REG_RSI, step);
		if (in->repeats)
			advance(e, REG_RCX, -1);
		if (!in->repeats || string_address(e, REG_RCX) == 0) {
			e->registers[REG_RIP] += in->length;
			return true;
		}
	}
	return true;
}

static void compare_exchange(const struct emulation *e, uint64_t old)
{
	unsigned width = e->in->width;
	uint64_t expected = get_operand(e, 0, width);

	subtract(e, expected, old, false, 0);
	if (expected == old)
		store(e, e->at, width, get_operand(e, e->in->reg, width));
	else
		set_operand(e, 0, width, old);
}

/* Instructions that store to a memory operand what they find in it and in general registers. */
static void emulate_plain(const struct emulation *e)
{
	const struct instruction *in = e->in;
	unsigned width = in->width;
	uint64_t old = load(e->at, width), value = get_operand(e, in->reg & 15, width), result;

	switch (in->operation) {
	case OP_MOV:
		result = value;
		break;
	case OP_MOV_IMM:
		result = in->immediate;
		break;
	case OP_MOV_ACC:
		result = get(e, 0);
		break;
	case OP_MOVBE:
		result = __builtin_bswap64(value) >> (64 - 8 * width);
		break;
	case OP_ALU:
		result = alu(e, in->opcode >> 3 & 7, old, value);
		break;
	case OP_ALU_IMM:
		result = alu(e, in->reg & 7, old, in->immediate & mask_of(width));
		break;
	case OP_NOT_NEG:
		result = (in->reg & 7) == 2 ? ~old : subtract(e, 0, old, false, 0);
		break;
	case OP_INC_DEC:
		result = in->reg & 1 ? subtract(e, old, 1, false, CF) : add(e, old, 1, false, CF);
		break;
	case OP_XCHG:
		result = value;
		set_operand(e, in->reg, width, old);
		break;
	case OP_XADD:
		result = add(e, old, value, false, 0);
		set_operand(e, in->reg, width, old);
		break;
	case OP_CMPXCHG:
		return compare_exchange(e, old);
	default:
		result = condition((uint64_t)e->registers[REG_EFL], in->opcode & 15);
	}
	store(e, e->at, width, result & mask_of(width));
}

/* 64 bytes from the memory operand to where a register points. */
static void move_direct(struct emulation *e)
{
	uint8_t bytes[64];

	memcpy(bytes, (const void *)address_of(e), sizeof(bytes));
	store_bytes(e, bytes, sizeof(bytes));
}

bool emulate_store(ucontext_t *interrupted, const struct trapped *trapped)
{
	struct instruction in;
	struct emulation e = {
		.trapped = trapped,
		.in = &in,
		.registers = interrupted->uc_mcontext.gregs,
		.vectors = (const uint8_t *)interrupted->uc_mcontext.fpregs,
	};

	decode((const uint8_t *)e.registers[REG_RIP], &in);
	if (in.operation == OP_UNKNOWN || (in.operation >= OP_VECTOR && !e.vectors))
		return false;
	if (in.operation == OP_STOS || in.operation == OP_MOVS)
		return emulate_string(&e);
	e.at = in.operation == OP_MOVDIR64B ? get(&e, (int)in.reg) : address_of(&e);
	if (in.mask ? !is_masked_inside(&e) : !is_inside(&e, e.at, in.width))
		return false;
	if (in.operation == OP_MOVDIR64B && !can_load(address_of(&e), in.width))
		return true;
	if (in.operation == OP_MOVDIR64B)
		move_direct(&e);
	else if (in.operation >= OP_VECTOR)
		store_vector(&e);
	else
		emulate_plain(&e);
	e.registers[REG_RIP] += in.length;
	return true;
}

#else

bool emulate_store(ucontext_t *interrupted, const struct trapped *trapped)
{
	(void)interrupted;
	(void)trapped;
	return false;
}

#endif
