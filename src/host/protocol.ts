/**
 * What shim and daemon say to each other, byte by byte; shim/src/protocol.h is the other half, and a test compares
 * the two. A client's thread sends a request, then serves verbs until DONE comes.
 */

export const PROTOCOL_VERSION = 1;
/** Bytes of a call's argument that travel with the request. */
export const CARRIED = 64;
/** The most bytes of client memory that one message carries. */
export const CHUNK = 16384;

export const Op = {
  HELLO: 1,
  OPEN: 2,
  IDENTIFY: 3,
  NAME: 4,
  IOCTL: 5,
  READ: 6,
  WRITE: 7,
  MMAP: 8,
  MAPPED: 9,
  LENT: 10,
  ANSWER: 11,
  DOOR: 12,
  RINGS: 13,
  CUT: 14,
  STORE: 15,
  SEEK: 16,
  KVM: 17,
} as const;

export const Verb = { DONE: 0, READ: 1, WRITE: 2, TAKE: 3, GIVE: 4, CLOSE: 5, MAP: 6, HOLD: 7 } as const;

export const Flag = { CLOEXEC: 1, HAS_FD: 2, REGISTERS: 4 } as const;

/** The tree of markers lies at the socket's path with this suffix; what its symbolic links say. */
export const TREE_SUFFIX = '.tree';
export const MARK_DEVICE = 'char:';
export const MARK_ASK = 'ask:';
/** A name that the tree only lists: what is there is the system's. */
export const MARK_SYSTEM = 'system:';
/** There while what the tree has of /sys is not complete. */
export const SYS_PENDING = 'pending';
/** Directories of the tree below /sys and /dev, by their mode. */
export const TreeMode = {
  /** What is not in it does not exist. */
  OURS: 0o755,
  /** What is not in it is the system's. */
  SHARED: 0o1755,
  /** It is the system's itself, but for what is in it. */
  SYSTEM: 0o700,
} as const;
/** The time of modification of a file whose content the daemon has: its nanoseconds say so. A 64th of a second is exact. */
export const LIVE_NSEC = 15625000;
/** Files of the engine about itself lie here; what they say is made when they are opened. */
export const DEBUG_ROOT = '/sys/kernel/debug/ioasis';

/** Answers OPEN for a file that is not special after all. */
export const NOT_SPECIAL = 38;

/** `offset` of a read or write that has none. */
export const NO_OFFSET = (1n << 64n) - 1n;

/**
 * A token that is a pseudo-terminal is named by its time of modification, in seconds: this or later. Any other token is
 * a pipe, whose inode names it.
 */
export const FIRST_TERMINAL = 2 ** 48;

export const TokenKind = { NOT_OURS: 0, POLL_NONE: 1, POLL_IN: 2, POLL_IN_OUT: 3 } as const;

/** Byte offsets within `struct ioasis_request`. */
export const request = {
  size: 48,
  op: 0,
  cmd: 4,
  token: 8,
  arg: 16,
  count: 24,
  offset: 32,
  fd: 40,
  carried: 44,
} as const;

/** Byte offsets within `struct ioasis_answer`. */
export const answer = { size: 32, verb: 0, error: 4, value: 8, count: 16, fd: 24, flags: 28 } as const;

/** What a thread (the first two) and the daemon make of a ring. */
export const RingState = { IDLE: 0, POSTED: 1, SLEEPING: 2, DONE: 3, SOCKET: 4, AGAIN: 5 } as const;

/** Byte offsets within `struct ioasis_ring`. */
export const ring = {
  size: 256,
  state: 0,
  cpu: 4,
  replied: 8,
  request: 16,
  carried: 64,
  answer: 128,
  reply: 160,
} as const;
/** The most bytes that an answer in a ring carries. */
export const RING_REPLY = 96;

/** Byte offsets within `struct ioasis_rings`. */
export const rings = { size: 16384, pending: 0, awake: 64, cpu: 68, ring: 256 } as const;
export const RINGS = 63;
