/*
 * What shim and daemon say to each other; src/host/protocol.ts is the other half and a test compares the two.
 * One connection is one thread of the client. The client sends a request, then serves verbs until DONE comes.
 */
#ifndef IOASIS_PROTOCOL_H
#define IOASIS_PROTOCOL_H

#include <stdint.h>

#define IOASIS_PROTOCOL_VERSION 1
/* Bytes of the argument that travel with a request, and the most that one message carries. */
#define IOASIS_CARRIED 64
#define IOASIS_CHUNK 16384

/*
 * The daemon's tree of markers lies at the socket's path with this suffix. A symbolic link in it stands for what no
 * user can make: "char:MAJOR:MINOR:MODE" (decimal, MODE octal) for a device, "ask:" for a file of which only the
 * daemon knows whether it is special.
 */
#define IOASIS_TREE_SUFFIX ".tree"
#define IOASIS_MARK_DEVICE "char:"
#define IOASIS_MARK_ASK "ask:"
/* A link that only lists a name: what is there is the system's. */
#define IOASIS_MARK_SYSTEM "system:"
/* There while the tree's part of /sys is not complete. */
#define IOASIS_SYS_PENDING "pending"
/*
 * Directories below /sys and /dev by their mode. OURS: what is not in it does not exist. SHARED: what is not in it is the
 * system's. SYSTEM: it is the system's own, but for what is in it.
 */
#define IOASIS_TREE_OURS 0755
#define IOASIS_TREE_SHARED 01755
#define IOASIS_TREE_SYSTEM 0700
/* The nanoseconds of a file's time of modification: the daemon has its content. */
#define IOASIS_LIVE_NSEC 15625000
/* The daemon's answer to OPEN for a file that is not special after all. */
#define IOASIS_NOT_SPECIAL 38

enum ioasis_op {
	IOASIS_OP_HELLO = 1,	/* cmd: version; arg: cookie of this image or 0; count: tid; token, offset: see LENT */
	IOASIS_OP_OPEN = 2,	/* cmd: flags; the path follows */
	IOASIS_OP_IDENTIFY = 3,	/* is descriptor fd, inode token, one of ours? */
	/* the file name of token, as /proc/self/fd shows it; DONE's count of a device: major << 32 | minor << 12 | mode */
	IOASIS_OP_NAME = 4,
	IOASIS_OP_IOCTL = 5,	/* cmd, arg; offset: see memory_epoch; the bytes at arg follow */
	IOASIS_OP_READ = 6,	/* arg, count, offset (-1: none); cmd: see memory_epoch */
	IOASIS_OP_WRITE = 7,	/* the same; the bytes at arg follow */
	IOASIS_OP_MMAP = 8,	/* arg: address; count: length; offset; cmd: prot | flags << 8 */
	IOASIS_OP_MAPPED = 9,	/* arg: mapping id; cmd: 1 one more mapping of it here, 0 one less */
	IOASIS_OP_LENT = 10,	/* token: effective capabilities, offset: RLIMIT_MEMLOCK; as the program set them */
	IOASIS_OP_ANSWER = 11,	/* a verb is served: cmd: errno, arg: value; bytes may follow */
	IOASIS_OP_DOOR = 12,	/* never answered: this connection brings others, one with each further such message */
	IOASIS_OP_RINGS = 13,	/* gets a descriptor: of the memory of this image's rings (cmd 0), of its bell (cmd 1) */
	IOASIS_OP_CUT = 14,	/* arg, count: addresses that are not what they were; only after a HOLD */
	IOASIS_OP_STORE = 15,	/* to registers: token: mapping id; arg: offset in it; cmd: width; count: value */
	IOASIS_OP_SEEK = 16,	/* offset; cmd: whence. The answer is the position */
	/*
	 * cmd, arg: an ioctl of a machine of the system's KVM, fd, that the kernel has done, or that it does not know. The bytes
	 * at arg follow. Of KVM_CREATE_VM fd is the new one. NOT_SPECIAL: fd is no machine
	 */
	IOASIS_OP_KVM = 17,
};

enum ioasis_verb {
	/* the call returns value, or -1 and error; bytes for reply_at may follow; fd: HELLO's ring, or -1 */
	IOASIS_VERB_DONE = 0,
	IOASIS_VERB_READ = 1,	/* send count bytes from address value */
	IOASIS_VERB_WRITE = 2,	/* the next message is count bytes for address value */
	IOASIS_VERB_TAKE = 3,	/* send descriptor fd */
	IOASIS_VERB_GIVE = 4,	/* here is a descriptor, count is its kind; answer its number */
	IOASIS_VERB_CLOSE = 5,	/* close descriptor fd */
	IOASIS_VERB_MAP = 6,	/* map the descriptor that comes with this, from offset value, where mmap wants it */
	IOASIS_VERB_HOLD = 7,	/* make an io_uring whose only buffer is count bytes at value; answer its number */
};

/* Flags of an answer. */
#define IOASIS_CLOEXEC 1	/* GIVE, DONE with a descriptor: close on exec */
#define IOASIS_HAS_FD 2		/* DONE: the value is the number of the descriptor that comes with it, count its kind */
#define IOASIS_REGISTERS 4	/* MAP: what is mapped can be loaded from; stores have to be caught and sent */

/*
 * A token that is a pseudo-terminal is named by its time of modification, in seconds: this or later. Any other token is
 * a pipe, whose inode names it. Requests call either an inode.
 */
#define IOASIS_FIRST_TERMINAL (1ll << 48)

/* Kinds of token, the value of a DONE to IDENTIFY. The access mode (O_ACCMODE) is in bits 4..5. */
#define IOASIS_NOT_OURS 0
#define IOASIS_POLL_NONE 1
#define IOASIS_POLL_IN 2
#define IOASIS_POLL_IN_OUT 3

struct ioasis_request {
	uint32_t op;
	uint32_t cmd;
	uint64_t token;
	uint64_t arg;
	uint64_t count;
	uint64_t offset;
	int32_t fd;
	uint32_t carried;
};

struct ioasis_answer {
	uint32_t verb;
	int32_t error;
	int64_t value;
	uint64_t count;
	int32_t fd;
	uint32_t flags;
};

/*
 * A short call needs no socket: memory that an image and the daemon share has a ring for each of the image's first
 * threads. The thread writes a request and its state, sets its bit in `pending`, and rings the bell (an eventfd)
 * unless the daemon is awake. The daemon answers in the ring, or sends the thread on to the socket, where the call
 * continues as if its request had come there.
 */
#define IOASIS_RINGS 63
#define IOASIS_RING_REPLY 96

enum ioasis_ring_state {
	IOASIS_RING_IDLE = 0,
	IOASIS_RING_POSTED = 1,		/* by the thread, which looks at the state */
	IOASIS_RING_SLEEPING = 2,	/* the same, but it has to be woken (FUTEX_WAKE) */
	IOASIS_RING_DONE = 3,		/* by the daemon: the answer is there */
	IOASIS_RING_SOCKET = 4,		/* by the daemon: the call goes on over the socket */
	IOASIS_RING_AGAIN = 5,		/* by the daemon: nothing was done, ask over the socket */
};

struct ioasis_ring {
	_Atomic uint32_t state;
	uint32_t cpu;		/* where the thread runs */
	uint32_t replied;	/* bytes of the answer's reply */
	uint32_t unused;
	struct ioasis_request request;
	uint8_t carried[IOASIS_CARRIED];
	struct ioasis_answer answer;
	uint8_t reply[IOASIS_RING_REPLY];
};

struct ioasis_rings {
	_Atomic uint32_t pending[2];
	uint32_t unused[14];
	_Atomic uint32_t awake;	/* 1: the daemon looks at `pending` without a bell; 2: it never does again */
	_Atomic uint32_t cpu;	/* where the daemon ran last, or ~0 */
	uint32_t unused_too[46];
	struct ioasis_ring ring[IOASIS_RINGS];
};

_Static_assert(sizeof(struct ioasis_request) == 48, "request");
_Static_assert(sizeof(struct ioasis_answer) == 32, "answer");
_Static_assert(sizeof(struct ioasis_rings) == 16384, "rings");

#endif
