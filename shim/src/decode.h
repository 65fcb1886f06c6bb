/*
 * Stores of x86-64, one instruction at a time: what it is (decode.c), and its effect (emulate.c) on memory that lets
 * loads through and stores not. Needs nothing of the shim, so that a test can hold it against the CPU.
 */
#ifndef IOASIS_DECODE_H
#define IOASIS_DECODE_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* Memory that cannot be stored to, and what is called instead: naturally aligned, 1, 2, 4 or 8 bytes, inside. */
struct trapped {
	uintptr_t start, last;
	void (*store)(const struct trapped *trapped, uintptr_t at, unsigned width, uint64_t value);
	uint64_t id, base;	/* of whoever gave `store` */
};

/*
 * Does what the interrupted instruction would have done, stores going to `trapped`, and steps over it, or over as much
 * of it as is done: it may be met again. False: it is none that is known here, and nothing was done.
 */
bool emulate_store(ucontext_t *interrupted, const struct trapped *trapped);

/* The longest that an instruction can be. */
#define INSTRUCTION_MAX 15

enum operation {
	OP_UNKNOWN,
	OP_MOV,		/* a general register */
	OP_MOV_IMM,
	OP_MOV_ACC,	/* the accumulator, to an address that stands in the instruction */
	OP_MOVBE,
	OP_STOS,
	OP_MOVS,
	OP_ALU,		/* a general register; which operation says the opcode */
	OP_ALU_IMM,	/* which operation says the field `reg` */
	OP_NOT_NEG,
	OP_INC_DEC,
	OP_XCHG,
	OP_XADD,
	OP_CMPXCHG,
	OP_SETCC,
	OP_VECTOR,	/* the low `width` bytes of a vector register, or those elements that a mask names */
	OP_VECTOR_HIGH,	/* its second eight bytes */
	OP_EXTRACT,	/* an element of it, which says the immediate */
	OP_MMX,
	OP_MOVDIR64B,
};

enum segment { SEGMENT_NONE, SEGMENT_FS, SEGMENT_GS };

struct instruction {
	unsigned length;
	enum operation operation;
	uint8_t opcode;
	unsigned width;		/* bytes of the operand, of a vector up to 64 */
	bool rex;		/* byte registers 4 to 7 are those of today */
	bool repeats;
	bool address32;
	enum segment segment;
	unsigned reg;		/* register operand, or what else the field says */
	uint64_t immediate;	/* with its sign */
	unsigned mask, element;	/* mask register, or 0 for none; and bytes for each bit of it */
	/* The memory operand: base, index or -1; RIP is that of the next instruction. */
	int base, index;
	unsigned scale;
	bool rip_relative;
	int64_t displacement;
};

/* Takes the instruction at `at` apart; `operation` says if it is known, and `length` how many bytes were looked at. */
void decode(const uint8_t *at, struct instruction *into);

#endif
