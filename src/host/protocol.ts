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
} as const;

export const Verb = { DONE: 0, READ: 1, WRITE: 2, TAKE: 3, GIVE: 4, CLOSE: 5, MAP: 6 } as const;

export const Flag = { CLOEXEC: 1, HAS_FD: 2 } as const;

/** The tree of markers lies at the socket's path with this suffix; what its symbolic links say. */
export const TREE_SUFFIX = '.tree';
export const MARK_DEVICE = 'char:';
export const MARK_ASK = 'ask:';
/** Files of the engine about itself lie here; what they say is made when they are opened. */
export const DEBUG_ROOT = '/sys/kernel/debug/ioasis';

/** Answers OPEN for a file that is not special after all. */
export const NOT_SPECIAL = 38;

/** `offset` of a read or write that has none. */
export const NO_OFFSET = (1n << 64n) - 1n;

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
