/**
 * Tokens: the descriptors that clients hold for the engine's files. A token is one end of a pipe or a pseudo-terminal
 * whose other end is kept here, so dup, fork, exec, SCM_RIGHTS, poll and epoll are the kernel's own work, and the last
 * close of all copies shows on our end. A number names it, see {@link tokenName}.
 */
import type { OpenFile } from '../mem/task.js';
import { EPOLLERR, type Epoll } from './epoll.js';
import { FIRST_TERMINAL, TokenKind } from './protocol.js';
import * as sys from './sys.js';
import { closeEnd, openPipe, openTerminal, type Ends, type TokenEnd } from './token-ends.js';

const kinds = {
  none: TokenKind.POLL_NONE,
  in: TokenKind.POLL_IN,
  'in-out': TokenKind.POLL_IN_OUT,
} as const;

/** Bits of an IDENTIFY answer: the kind, and the access mode above it. */
const ACCESS_SHIFT = 4;

/**
 * What names the token that a descriptor may be, -1 if it cannot be one. A pipe's inode is never used again. A
 * terminal's is, so we set its time of modification, to what no clock will say.
 */
export function tokenName(status: sys.Status): number {
  const type = sys.fileType(status);
  if (type === sys.S_IFIFO) return Number(status.ino);
  return type === sys.S_IFCHR && status.mtime >= FIRST_TERMINAL ? Number(status.mtime) : -1;
}

/** A file of the engine and our end of what stands for it; null where that is a descriptor of the system's own. */
export class Token {
  readonly file: OpenFile;
  readonly name: number;
  /** Key in the epoll set. */
  key = -1;
  /** Set after a bug of ours in this file: every further call is ENODEV. */
  poisoned = false;
  /** Live mappings of it in clients: each keeps the file open, as a descriptor does. */
  mappings = 0;
  /** The last descriptor is gone. */
  ended = false;
  readonly #status: sys.Status;
  readonly #access: number;
  #end: TokenEnd | null;
  #full = false;

  constructor(file: OpenFile, status: sys.Status, end: TokenEnd | null, access: number) {
    this.file = file;
    this.name = tokenName(status);
    this.#status = status;
    this.#end = end;
    this.#access = access;
    file.onReadableChange = () => this.#show();
    this.#show();
  }

  /** Whether it was opened for reading. */
  get canRead(): boolean {
    return this.#access === sys.O_RDONLY || this.#access === sys.O_RDWR;
  }

  get canWrite(): boolean {
    return this.#access === sys.O_WRONLY || this.#access === sys.O_RDWR;
  }

  /** What the shim has to know of it: {@link TokenKind} and the access mode it was opened with. */
  get kind(): number {
    return kinds[this.file.pollMode] | (this.#access << ACCESS_SHIFT);
  }

  /** Whether a descriptor is a copy of it; a name alone can be given to anything. */
  isBehind(status: sys.Status): boolean {
    return status.ino === this.#status.ino && status.dev === this.#status.dev;
  }

  watch(epoll: Epoll, key: number): boolean {
    this.key = key;
    return this.#end !== null && epoll.add(this.#end.fd, key, EPOLLERR, false);
  }

  /** Lets go of our end, once; every client's copy is gone already, or the daemon stops. */
  close(): void {
    this.file.onReadableChange = null;
    if (this.#end !== null) closeEnd(this.#end);
    this.#end = null;
  }

  /** Wakes whoever waits for the file, because the daemon stops: what they do next is answered ENODEV. */
  alarm(): void {
    this.#end?.show(true);
  }

  /** Makes poll say what the file says. */
  #show(): void {
    const readable = this.file.pollMode === 'none' || this.file.readable;
    if (readable === this.#full) return;
    this.#full = readable;
    this.#end?.show(readable);
  }
}

/** A new token and the client's end of it, which the caller gives away and closes. */
export interface Minted {
  readonly token: Token;
  readonly clientEnd: number;
}

/** Makes a token for `file`; -errno when there is no descriptor left. `flags`: how it was opened. */
export function mint(file: OpenFile, flags: number): Minted | number {
  const ends = openEnds(file, flags & sys.O_NONBLOCK);
  if (typeof ends === 'number') return ends;
  const { end, client } = ends;
  const status = sys.fstat(client);
  if (status !== null)
    return { token: new Token(file, status, end, flags & sys.O_ACCMODE), clientEnd: client };
  closeEnd(end);
  return -sys.Errno.EMFILE;
}

function openEnds(file: OpenFile, flags: number): Ends | number {
  if (file.pollMode === 'in') return openPipe(sys.O_RDONLY | flags);
  // Nobody sleeps on a file that is always ready.
  const alwaysReady = file.pollMode === 'none' || file.readable;
  const terminal = alwaysReady ? -1 : openTerminal(sys.O_RDWR | flags);
  return typeof terminal === 'number' ? openPipe(sys.O_RDWR | flags) : terminal;
}
