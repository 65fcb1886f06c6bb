/*
 * Takes an instruction that stores to memory apart. No byte is read before it is known to belong to the instruction,
 * since what follows may not be there. Names and fields as in the architecture's manuals.
 */
#include <stddef.h>

#include "decode.h"

#if defined(__x86_64__)

#define ENTRIES(table) (sizeof(table) / sizeof((table)[0]))

/* Which of the prefixes 66, F3, F2 a form has; to those that take any it is the operand's size, or repeats. */
enum prefix { NP, P66, PF3, PF2, ANY };
enum encoding { LEGACY = 1, VEX = 2, EVEX = 4 };
enum { LV = LEGACY | VEX, LVE = LEGACY | VEX | EVEX };

/* What is there besides the numbers: width 1; that of the operand; 4, or 8 with W; that of the vector. */
enum { WIDTH_V = 0, WIDTH_W = 100, WIDTH_VECTOR };

enum immediate { NO_IMM, IMM8, IMM_V };

struct form {
	uint8_t map, first, last;	/* opcodes from first to last in this map, 1 being 0F */
	uint8_t prefix, encodings, operation, width, immediate;
};

static const struct form forms[] = {
	{ 0, 0x88, 0x88, ANY, LEGACY, OP_MOV, 1, NO_IMM },
	{ 0, 0x89, 0x89, ANY, LEGACY, OP_MOV, WIDTH_V, NO_IMM },
	{ 0, 0xc6, 0xc6, ANY, LEGACY, OP_MOV_IMM, 1, IMM8 },
	{ 0, 0xc7, 0xc7, ANY, LEGACY, OP_MOV_IMM, WIDTH_V, IMM_V },
	{ 0, 0xa2, 0xa2, ANY, LEGACY, OP_MOV_ACC, 1, NO_IMM },
	{ 0, 0xa3, 0xa3, ANY, LEGACY, OP_MOV_ACC, WIDTH_V, NO_IMM },
	{ 0, 0xa4, 0xa4, ANY, LEGACY, OP_MOVS, 1, NO_IMM },
	{ 0, 0xa5, 0xa5, ANY, LEGACY, OP_MOVS, WIDTH_V, NO_IMM },
	{ 0, 0xaa, 0xaa, ANY, LEGACY, OP_STOS, 1, NO_IMM },
	{ 0, 0xab, 0xab, ANY, LEGACY, OP_STOS, WIDTH_V, NO_IMM },
	{ 0, 0x80, 0x80, ANY, LEGACY, OP_ALU_IMM, 1, IMM8 },
	{ 0, 0x81, 0x81, ANY, LEGACY, OP_ALU_IMM, WIDTH_V, IMM_V },
	{ 0, 0x83, 0x83, ANY, LEGACY, OP_ALU_IMM, WIDTH_V, IMM8 },
	{ 0, 0x86, 0x86, ANY, LEGACY, OP_XCHG, 1, NO_IMM },
	{ 0, 0x87, 0x87, ANY, LEGACY, OP_XCHG, WIDTH_V, NO_IMM },
	{ 0, 0xf6, 0xf6, ANY, LEGACY, OP_NOT_NEG, 1, NO_IMM },
	{ 0, 0xf7, 0xf7, ANY, LEGACY, OP_NOT_NEG, WIDTH_V, NO_IMM },
	{ 0, 0xfe, 0xfe, ANY, LEGACY, OP_INC_DEC, 1, NO_IMM },
	{ 0, 0xff, 0xff, ANY, LEGACY, OP_INC_DEC, WIDTH_V, NO_IMM },
	{ 1, 0x90, 0x9f, ANY, LEGACY, OP_SETCC, 1, NO_IMM },
	{ 1, 0xb0, 0xb0, ANY, LEGACY, OP_CMPXCHG, 1, NO_IMM },
	{ 1, 0xb1, 0xb1, ANY, LEGACY, OP_CMPXCHG, WIDTH_V, NO_IMM },
	{ 1, 0xc0, 0xc0, ANY, LEGACY, OP_XADD, 1, NO_IMM },
	{ 1, 0xc1, 0xc1, ANY, LEGACY, OP_XADD, WIDTH_V, NO_IMM },
	/* movnti, movdiri, movbe, movdir64b */
	{ 1, 0xc3, 0xc3, NP, LEGACY, OP_MOV, WIDTH_W, NO_IMM },
	{ 2, 0xf9, 0xf9, NP, LEGACY, OP_MOV, WIDTH_W, NO_IMM },
	{ 2, 0xf1, 0xf1, NP, LEGACY, OP_MOVBE, WIDTH_V, NO_IMM },
	{ 2, 0xf1, 0xf1, P66, LEGACY, OP_MOVBE, WIDTH_V, NO_IMM },
	{ 2, 0xf8, 0xf8, P66, LEGACY, OP_MOVDIR64B, 64, NO_IMM },
	/* movups, movupd, movss, movsd; movlps, movhps; movaps; movntps */
	{ 1, 0x11, 0x11, NP, LVE, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	{ 1, 0x11, 0x11, P66, LVE, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	{ 1, 0x11, 0x11, PF3, LVE, OP_VECTOR, 4, NO_IMM },
	{ 1, 0x11, 0x11, PF2, LVE, OP_VECTOR, 8, NO_IMM },
	{ 1, 0x13, 0x13, NP, LVE, OP_VECTOR, 8, NO_IMM },
	{ 1, 0x13, 0x13, P66, LVE, OP_VECTOR, 8, NO_IMM },
	{ 1, 0x17, 0x17, NP, LVE, OP_VECTOR_HIGH, 8, NO_IMM },
	{ 1, 0x17, 0x17, P66, LVE, OP_VECTOR_HIGH, 8, NO_IMM },
	{ 1, 0x29, 0x29, NP, LVE, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	{ 1, 0x29, 0x29, P66, LVE, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	{ 1, 0x2b, 0x2b, NP, LVE, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	{ 1, 0x2b, 0x2b, P66, LVE, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	/* movd and movq; movdqa, movdqu; movntdq, movntq */
	{ 1, 0x7e, 0x7e, P66, LVE, OP_VECTOR, WIDTH_W, NO_IMM },
	{ 1, 0x7e, 0x7e, NP, LEGACY, OP_MMX, WIDTH_W, NO_IMM },
	{ 1, 0x7f, 0x7f, P66, LVE, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	{ 1, 0x7f, 0x7f, PF3, LVE, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	{ 1, 0x7f, 0x7f, PF2, EVEX, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	{ 1, 0x7f, 0x7f, NP, LEGACY, OP_MMX, 8, NO_IMM },
	{ 1, 0xd6, 0xd6, P66, LVE, OP_VECTOR, 8, NO_IMM },
	{ 1, 0xe7, 0xe7, P66, LVE, OP_VECTOR, WIDTH_VECTOR, NO_IMM },
	{ 1, 0xe7, 0xe7, NP, LEGACY, OP_MMX, 8, NO_IMM },
	/* pextrb, pextrw, pextrd and pextrq, extractps; vextractf128, vextracti128 */
	{ 3, 0x14, 0x14, P66, LV, OP_EXTRACT, 1, IMM8 },
	{ 3, 0x15, 0x15, P66, LV, OP_EXTRACT, 2, IMM8 },
	{ 3, 0x16, 0x16, P66, LV, OP_EXTRACT, WIDTH_W, IMM8 },
	{ 3, 0x17, 0x17, P66, LV, OP_EXTRACT, 4, IMM8 },
	{ 3, 0x19, 0x19, P66, VEX, OP_EXTRACT, 16, IMM8 },
	{ 3, 0x39, 0x39, P66, VEX, OP_EXTRACT, 16, IMM8 },
};

/* What stands before the opcode. R, X, B extend the register fields; those of VEX and EVEX are stored inverted. */
struct head {
	const uint8_t *at;	/* the next byte */
	uint8_t map, prefix, encoding;
	bool operand16, rex, w, x, b, strange;
	unsigned r;		/* 0, 8, 16, 24 */
	unsigned vector;	/* 16, 32, 64 */
	unsigned mask;
};

static int64_t take(struct head *head, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)head->at[i] << 8 * i;
	head->at += bytes;
	switch (bytes) {
	case 1:
		return (int8_t)value;
	case 2:
		return (int16_t)value;
	case 4:
		return (int32_t)value;
	default:
		return (int64_t)value;
	}
}

static void take_rxb(struct head *head, unsigned inverted)
{
	head->r = inverted & 0x80 ? 0 : 8;
	head->x = !(inverted & 0x40);
	head->b = !(inverted & 0x20);
}

static void take_vex(struct head *head, bool is_long)
{
	unsigned first = *head->at++;
	unsigned last = is_long ? *head->at++ : first;

	head->encoding = VEX;
	head->map = is_long ? first & 0x1f : 1;
	take_rxb(head, is_long ? first : first | 0x60);
	head->w = is_long && last & 0x80;
	head->vector = last & 4 ? 32 : 16;
	head->prefix = last & 3;
}

static void take_evex(struct head *head)
{
	unsigned first = *head->at++, second = *head->at++, third = *head->at++;

	head->encoding = EVEX;
	head->map = first & 7;
	take_rxb(head, first);
	head->r += first & 0x10 ? 0 : 16;
	head->w = second & 0x80;
	head->prefix = second & 3;
	head->vector = 16u << (third >> 5 & 3);
	head->mask = third & 7;
	/* Zeroing, broadcast, and bits that today's stores do not have. */
	head->strange = third & 0x90 || (third & 0x60) == 0x60 || first & 8 || !(second & 4) || !(third & 8);
}

static void take_legacy(struct head *head, uint8_t byte)
{
	if ((byte & 0xf0) == 0x40) {
		head->rex = true;
		head->w = byte & 8;
		head->r = byte & 4 ? 8 : 0;
		head->x = byte & 2;
		head->b = byte & 1;
		byte = *head->at++;
	}
	if (byte == 0x0f) {
		byte = *head->at++;
		head->map = byte == 0x38 ? 2 : byte == 0x3a ? 3 : 1;
		if (head->map == 1)
			head->at--;
	} else {
		head->at--;
	}
}

/* Everything before the opcode. */
static void take_head(struct head *head, struct instruction *into, const uint8_t *begin)
{
	for (;;) {
		uint8_t byte;

		if (head->at - begin >= INSTRUCTION_MAX - 1)
			return;
		byte = *head->at++;
		switch (byte) {
		case 0x66:
			head->operand16 = true;
			if (head->prefix == NP)
				head->prefix = P66;
			break;
		case 0xf2:
		case 0xf3:
			head->prefix = byte == 0xf2 ? PF2 : PF3;
			into->repeats = true;
			break;
		case 0x67:
			into->address32 = true;
			break;
		case 0x64:
		case 0x65:
			into->segment = byte == 0x64 ? SEGMENT_FS : SEGMENT_GS;
			break;
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0xf0:
			break;
		case 0xc4:
		case 0xc5:
			return take_vex(head, byte == 0xc4);
		case 0x62:
			return take_evex(head);
		default:
			return take_legacy(head, byte);
		}
	}
}

static bool is_alu(const struct head *head, uint8_t opcode)
{
	/* 38 and on only compares. */
	return head->encoding == LEGACY && head->map == 0 && opcode < 0x38 && (opcode & 7) <= 1;
}

static const struct form *find_form(const struct head *head, uint8_t opcode)
{
	static const struct form alu8 = { 0, 0, 0, ANY, LEGACY, OP_ALU, 1, NO_IMM };
	static const struct form alu = { 0, 0, 0, ANY, LEGACY, OP_ALU, WIDTH_V, NO_IMM };

	if (is_alu(head, opcode))
		return opcode & 1 ? &alu : &alu8;
	for (unsigned i = 0; i < ENTRIES(forms); i++) {
		const struct form *form = &forms[i];

		if (form->map == head->map && opcode >= form->first && opcode <= form->last &&
		    (form->prefix == ANY || form->prefix == head->prefix) && form->encodings & head->encoding)
			return form;
	}
	return NULL;
}

static unsigned width_of(const struct form *form, const struct head *head)
{
	switch (form->width) {
	case WIDTH_V:
		return head->w ? 8 : head->operand16 ? 2 : 4;
	case WIDTH_W:
		return head->w ? 8 : 4;
	case WIDTH_VECTOR:
		return head->vector;
	default:
		return form->width;
	}
}

/* Bytes for each bit of a mask; 0: a store that has none. */
static unsigned element_of(const struct form *form, const struct head *head)
{
	if (form->operation != OP_VECTOR || form->width != WIDTH_VECTOR)
		return head->prefix == PF3 || head->prefix == PF2 ? form->width : 0;
	/* movups and movaps, the whole numbers of up to two bytes, and of more. */
	if (form->first == 0x11 || form->first == 0x29)
		return head->prefix == P66 ? 8 : 4;
	if (form->first != 0x7f)
		return 0;
	return head->prefix == PF2 ? head->w ? 2 : 1 : head->w ? 8 : 4;
}

/* ModRM, SIB and displacement; false: the operand is no memory. */
static bool take_operand(struct head *head, struct instruction *into)
{
	uint8_t modrm = *head->at++, mod = modrm >> 6, rm = modrm & 7;

	into->reg = (modrm >> 3 & 7) + head->r;
	if (mod == 3)
		return false;
	if (rm == 4) {
		uint8_t sib = *head->at++;

		into->index = (sib >> 3 & 7) + (head->x ? 8 : 0);
		into->scale = 1u << (sib >> 6);
		/* RSP is no index. */
		if (into->index == 4)
			into->index = -1;
		rm = sib & 7;
		if (rm != 5 || mod != 0)
			into->base = rm + (head->b ? 8 : 0);
	} else if (rm == 5 && mod == 0) {
		into->rip_relative = true;
	} else {
		into->base = rm + (head->b ? 8 : 0);
	}
	if (mod == 1)
		/* EVEX counts in operands. */
		into->displacement = take(head, 1) * (head->encoding == EVEX ? (int64_t)into->width : 1);
	else if (mod == 2 || (mod == 0 && rm == 5))
		into->displacement = take(head, 4);
	return true;
}

static bool has_operand(enum operation operation)
{
	return operation != OP_MOV_ACC && operation != OP_STOS && operation != OP_MOVS;
}

/* Not all that share an opcode store. */
static bool is_meant(const struct instruction *in)
{
	switch (in->operation) {
	case OP_MOV_IMM:
		return (in->reg & 7) == 0;
	case OP_ALU_IMM:
		return (in->reg & 7) != 7;
	case OP_NOT_NEG:
		return (in->reg & 7) == 2 || (in->reg & 7) == 3;
	case OP_INC_DEC:
		return (in->reg & 7) <= 1;
	default:
		return true;
	}
}

void decode(const uint8_t *at, struct instruction *into)
{
	struct head head = { .at = at, .encoding = LEGACY, .vector = 16 };
	const struct form *form;
	bool known;

	*into = (struct instruction){ .base = -1, .index = -1, .scale = 1 };
	take_head(&head, into, at);
	into->opcode = *head.at++;
	into->rex = head.rex;
	form = head.strange ? NULL : find_form(&head, into->opcode);
	if (form) {
		into->width = width_of(form, &head);
		known = !has_operand(form->operation) || take_operand(&head, into);
		if (form->operation == OP_MOV_ACC)
			into->displacement = take(&head, into->address32 ? 4 : 8);
		if (form->immediate == IMM8)
			into->immediate = (uint64_t)take(&head, 1);
		else if (form->immediate == IMM_V)
			into->immediate = (uint64_t)take(&head, into->width == 8 ? 4 : into->width);
		into->operation = form->operation;
		into->mask = head.mask;
		into->element = element_of(form, &head);
		if (!known || !is_meant(into) || (into->mask && into->element == 0))
			into->operation = OP_UNKNOWN;
	}
	into->length = (unsigned)(head.at - at);
}

#endif
