/**
 * Tokens: the descriptors that clients hold for the engine's files. A token is one end of a pipe whose other end is
 * kept here, so dup, fork, exec, SCM_RIGHTS, poll and epoll are the kernel's own work, and the last close of all
 * copies shows as an error on our end. A pipe's inode names its token.
 */
import type { OpenFile } from '../mem/task.js';
import { EPOLLERR, type Epoll } from './epoll.js';
import { TokenKind } from './protocol.js';
import * as sys from './sys.js';

const kinds = {
  none: TokenKind.POLL_NONE,
  in: TokenKind.POLL_IN,
  'in-out': TokenKind.POLL_IN_OUT,
} as const;

/** Bits of an IDENTIFY answer: the kind, and the access mode above it. */
const ACCESS_SHIFT = 4;

const ends = sys.allocate(8);
const oneByte = sys.allocate(8);

/** A file of the engine and our end of its pipe. */
export class Token {
  readonly file: OpenFile;
  readonly inode: number;
  /** Key in the epoll set. */
  key = -1;
  /** Set after a bug of ours in this file: every further call is ENODEV. */
  poisoned = false;
  /** Live mappings of it in clients: each keeps the file open, as a descriptor does. */
  mappings = 0;
  /** The last descriptor is gone. */
  ended = false;
  readonly #access: number;
  #end: number;
  #full = false;

  constructor(file: OpenFile, inode: number, end: number, access: number) {
    this.file = file;
    this.inode = inode;
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

  watch(epoll: Epoll, key: number): boolean {
    this.key = key;
    return epoll.add(this.#end, key, EPOLLERR, false);
  }

  /** Lets go of our end, once; every client's copy is gone already, or the daemon stops. */
  close(): void {
    this.file.onReadableChange = null;
    if (this.#end >= 0) sys.close(this.#end);
    this.#end = -1;
  }

  /** Wakes whoever waits for the file, because the daemon stops: what they do next is answered ENODEV. */
  alarm(): void {
    sys.write(this.#end, oneByte.address, 1);
  }

  /** Makes poll say what the file says: one byte in the pipe is "readable". */
  #show(): void {
    const readable = this.file.pollMode === 'none' || this.file.readable;
    if (readable === this.#full) return;
    this.#full = readable;
    if (readable) sys.write(this.#end, oneByte.address, 1);
    else drain(this.#end);
  }
}

/** Takes the byte out again, by a reader that lives for a moment. */
function drain(end: number): void {
  const reader = sys.open(`/proc/self/fd/${end}`, sys.O_RDONLY | sys.O_NONBLOCK | sys.O_CLOEXEC, 0);
  if (reader < 0) return;
  sys.read(reader, oneByte.address, 8);
  sys.close(reader);
}

/** A new token and the client's end of it, which the caller gives away and closes. */
export interface Minted {
  readonly token: Token;
  readonly clientEnd: number;
}

/** Makes a pipe for `file`; -errno when there is no descriptor left. `flags`: how it was opened. */
export function mint(file: OpenFile, flags: number): Minted | number {
  const made = sys.pipe2(ends.address, sys.O_CLOEXEC | sys.O_NONBLOCK);
  if (made < 0) return made;
  const reader = ends.view.getInt32(0, true);
  const end = ends.view.getInt32(4, true);
  const mode = file.pollMode === 'in' ? sys.O_RDONLY : sys.O_RDWR;
  // A second open, because the client must not share the status flags of our own end, and to have it read-write.
  const clientEnd = sys.open(`/proc/self/fd/${reader}`, mode | (flags & sys.O_NONBLOCK) | sys.O_CLOEXEC, 0);
  sys.close(reader);
  const status = clientEnd < 0 ? null : sys.fstat(clientEnd);
  if (status === null) {
    sys.close(end);
    return clientEnd < 0 ? clientEnd : -sys.Errno.EMFILE;
  }
  return { token: new Token(file, Number(status.ino), end, flags & sys.O_ACCMODE), clientEnd };
}
