/**
 * One connection: one thread of a client. Receives its requests and drives it through verbs (read and write
 * memory, take and give descriptors). While a call runs its client is blocked in it, so verbs are synchronous and
 * bounded: a client that does not answer in time is treated as dead, and its process gets less time from then on.
 */
import * as sys from './sys.js';
import { answer, CHUNK, Flag, Op, request, Verb } from './protocol.js';

/** How long an answer to a verb is waited for, by how often the process has been waited for in vain. */
const VERB_PATIENCE_MS = [1000, 100, 10];
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const POLLIN = 1;
const CONTROL_SIZE = 24;
const CONTROL_LENGTH = 20;
const MESSAGE_HEADER_SIZE = 56;

/** The longest request: a header and a path, or a chunk of memory. */
const INBOX = request.size + CHUNK;
/** The request being served. One at a time in the whole daemon, so one block is enough. */
export const inbox = sys.allocate(INBOX);
const verbInbox = sys.allocate(INBOX);
/** The answer being built: its head, then reply bytes. */
export const outbox = sys.allocate(answer.size + CHUNK);
export const outboxReply = outbox.bytes.subarray(answer.size);
const verbOut = sys.allocate(answer.size);
const control = sys.allocate(CONTROL_SIZE);
const vector = sys.allocate(16);
const message = sys.allocate(MESSAGE_HEADER_SIZE);

message.view.setBigUint64(16, BigInt(vector.address), true);
message.view.setBigUint64(24, 1n, true);

function prepareMessage(block: sys.Block, length: number, withControl: boolean): void {
  vector.view.setBigUint64(0, BigInt(block.address), true);
  vector.view.setBigUint64(8, BigInt(length), true);
  message.view.setBigUint64(32, withControl ? BigInt(control.address) : 0n, true);
  // Room for one descriptor: padding would let in a second, which nobody looks at.
  message.view.setBigUint64(40, withControl ? BigInt(CONTROL_LENGTH) : 0n, true);
  message.view.setUint32(48, 0, true);
}

function writeHead(
  block: sys.Block,
  verb: number,
  error: number,
  value: number,
  count: number,
  fd: number,
  flags: number,
): void {
  const { view } = block;
  view.setUint32(answer.verb, verb, true);
  view.setInt32(answer.error, error, true);
  view.setInt32(answer.value, value, true);
  view.setInt32(answer.value + 4, Math.floor(value / 0x100000000), true);
  view.setUint32(answer.count, count, true);
  view.setUint32(answer.count + 4, Math.floor(count / 0x100000000), true);
  view.setInt32(answer.fd, fd, true);
  view.setUint32(answer.flags, flags, true);
}

function sendWithFd(socket: number, block: sys.Block, length: number, fd: number): number {
  prepareMessage(block, length, true);
  control.view.setBigUint64(0, BigInt(CONTROL_LENGTH), true);
  control.view.setInt32(8, SOL_SOCKET, true);
  control.view.setInt32(12, SCM_RIGHTS, true);
  control.view.setInt32(16, fd, true);
  return sys.sendmsg(socket, message.address, MSG_NOSIGNAL | MSG_DONTWAIT);
}

const polled = sys.allocate(8);

/** What is known of a process' habit of answering; shared by its links. */
export interface Manners {
  /** Verbs that were waited for in vain. */
  silences: number;
}

/** Where the request under way came from, if not from the socket, and where its answer may go. */
export interface QuickAnswer {
  /** Answers with the head and `replyLength` bytes of {@link outbox}; false when they do not fit. */
  answer(replyLength: number): boolean;
  /** The call goes on over the socket. */
  elsewhere(): void;
}

export class Link {
  readonly fd: number;
  quick: QuickAnswer | null = null;
  /** The client broke the protocol, does not answer or is gone; nothing more is sent. */
  broken = false;
  /** A verb was waited for since this was last set to false. */
  waited = false;
  manners: Manners = { silences: 0 };

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Takes the next request into {@link inbox}: its length, 0 when there is none, -1 when the client is gone. */
  receive(): number {
    const length = sys.recv(this.fd, inbox.address, INBOX, MSG_DONTWAIT | MSG_TRUNC);
    if (length >= request.size && length <= INBOX) {
      return inbox.view.getUint32(request.carried, true) === length - request.size ? length : -1;
    }
    return length === -sys.Errno.EAGAIN || length === -sys.Errno.EINTR ? 0 : -1;
  }

  /** Takes the next message of a door: the descriptor in it (-1: it was lost), null: none, false: the end. */
  receiveDescriptor(): number | null | false {
    prepareMessage(verbInbox, INBOX, true);
    const length = sys.recvmsg(this.fd, message.address, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length === -sys.Errno.EAGAIN || length === -sys.Errno.EINTR) return null;
    const fd = length >= 0 ? receivedFd() : -1;
    if (length === request.size && verbInbox.view.getUint32(request.op, true) === Op.DOOR) return fd;
    if (fd >= 0) sys.close(fd);
    return false;
  }

  /** Ends the call with `value` and the first `replyLength` bytes of {@link outboxReply}, or with an errno. */
  done(value: number, error: number, replyLength: number, count = 0, ring = -1): void {
    if (this.broken) return;
    writeHead(outbox, Verb.DONE, error, value, count, ring, 0);
    if (this.quick?.answer(replyLength) === true) {
      this.quick = null;
      return;
    }
    this.#toSocket();
    const length = answer.size + replyLength;
    const sent = sys.send(this.fd, outbox.address, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent !== length) this.broken = true;
  }

  /** Ends the call with a descriptor, of {@link TokenKind} `kind`: its result is the number that the client gets. */
  doneWithFd(fd: number, cloexec: boolean, kind: number): void {
    if (this.broken) return;
    this.#toSocket();
    writeHead(outbox, Verb.DONE, 0, 0, kind, -1, Flag.HAS_FD | (cloexec ? Flag.CLOEXEC : 0));
    if (sendWithFd(this.fd, outbox, answer.size, fd) !== answer.size) this.broken = true;
  }

  /** Reads the client's memory through its own thread; false is EFAULT. */
  readMemory(at: bigint, into: Uint8Array): boolean {
    for (let done = 0; done < into.length;) {
      const part = Math.min(CHUNK, into.length - done);
      if (this.#verb(Verb.READ, at + BigInt(done), part, -1) !== 0) return false;
      if (verbInbox.view.getUint32(request.carried, true) !== part) return this.#break();
      into.set(verbInbox.bytes.subarray(request.size, request.size + part), done);
      done += part;
    }
    return true;
  }

  /** Writes the client's memory through its own thread; false is EFAULT. */
  writeMemory(at: bigint, from: Uint8Array): boolean {
    for (let done = 0; done < from.length;) {
      const part = Math.min(CHUNK, from.length - done);
      if (!this.#sendVerb(Verb.WRITE, at + BigInt(done), part, -1, 0)) return false;
      verbInbox.bytes.set(from.subarray(done, done + part));
      const sent = sys.send(this.fd, verbInbox.address, part, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent !== part) return this.#break();
      if (this.#awaitAnswer(false) !== 0) return false;
      done += part;
    }
    return true;
  }

  /** A descriptor of ours for the client's descriptor `fd`, close-on-exec; or -errno. */
  take(fd: number): number {
    if (!this.#sendVerb(Verb.TAKE, 0n, 0, fd, 0)) return -sys.Errno.EBADF;
    const error = this.#awaitAnswer(true);
    const taken = this.#receivedFd;
    this.#receivedFd = -1;
    if (error !== 0 && taken >= 0) sys.close(taken);
    if (error !== 0) return -error;
    return taken < 0 ? -sys.Errno.EMFILE : taken;
  }

  /** Gives the client a descriptor for `fd`, a token of this kind: the number it got, or -errno. */
  give(fd: number, cloexec: boolean, kind: number): number {
    if (this.broken) return -sys.Errno.EMFILE;
    this.#toSocket();
    writeHead(verbOut, Verb.GIVE, 0, 0, kind, -1, cloexec ? Flag.CLOEXEC : 0);
    if (sendWithFd(this.fd, verbOut, answer.size, fd) !== answer.size) this.#break();
    const error = this.#awaitAnswer(false);
    return error === 0 ? verbInbox.view.getInt32(request.arg, true) : -error;
  }

  /** Closes the client's descriptor `fd`. */
  closeRemote(fd: number): void {
    this.#verb(Verb.CLOSE, 0n, 0, fd);
  }

  /** Has the client map `fd` where its mmap call wants it: the address, or -errno. Stores to registers are caught there. */
  mapRemote(fd: number, offset: number, registers: boolean): number {
    if (this.broken) return -sys.Errno.ENODEV;
    this.#toSocket();
    writeHead(verbOut, Verb.MAP, 0, offset, 0, -1, registers ? Flag.REGISTERS : 0);
    if (sendWithFd(this.fd, verbOut, answer.size, fd) !== answer.size) this.#break();
    const error = this.#awaitAnswer(false);
    return error === 0 ? Number(verbInbox.view.getBigInt64(request.arg, true)) : -error;
  }

  /** Has the client make an io_uring that holds its memory: its descriptor there, or -errno. */
  holdPages(at: bigint, length: bigint): number {
    const error = this.#verb(Verb.HOLD, at, Number(length), -1);
    return error === 0 ? verbInbox.view.getInt32(request.arg, true) : -error;
  }

  close(): void {
    this.broken = true;
    sys.close(this.fd);
  }

  #receivedFd = -1;

  #toSocket(): void {
    this.quick?.elsewhere();
    this.quick = null;
  }

  #break(): false {
    this.broken = true;
    return false;
  }

  #sendVerb(verb: number, value: bigint, count: number, fd: number, flags: number): boolean {
    if (this.broken) return false;
    this.#toSocket();
    writeHead(verbOut, verb, 0, 0, count, fd, flags);
    verbOut.view.setBigUint64(answer.value, value, true);
    const sent = sys.send(this.fd, verbOut.address, answer.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent === answer.size || this.#break();
  }

  #verb(verb: number, value: bigint, count: number, fd: number): number {
    return this.#sendVerb(verb, value, count, fd, 0) ? this.#awaitAnswer(false) : sys.Errno.ENODEV;
  }

  /** Waits for something to receive. The client's own time limit on the socket is not to be trusted. */
  #hears(): boolean {
    const limit = VERB_PATIENCE_MS[this.manners.silences];
    if (limit === undefined) return false;
    polled.view.setInt32(0, this.fd, true);
    polled.view.setInt32(4, POLLIN, true);
    let ready: number;
    // Signals for the process, a child's end for one, may be delivered to this thread.
    do ready = sys.poll(polled.address, 1, limit);
    while (ready === -sys.Errno.EINTR);
    if (ready === 0) this.manners.silences += 1;
    return ready > 0;
  }

  /** The errno with which the client answered the verb, 0 for success. */
  #awaitAnswer(withFd: boolean): number {
    if (this.broken) return sys.Errno.ENODEV;
    this.waited = true;
    if (!this.#hears()) {
      this.#break();
      return sys.Errno.ENODEV;
    }
    prepareMessage(verbInbox, INBOX, true);
    const length = sys.recvmsg(this.fd, message.address, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    const fd = length >= 0 ? receivedFd() : -1;
    if (fd >= 0 && !withFd) sys.close(fd);
    this.#receivedFd = withFd ? fd : -1;
    const { view } = verbInbox;
    const wellFormed =
      length >= request.size &&
      (message.view.getUint32(48, true) & MSG_TRUNC) === 0 &&
      view.getUint32(request.op, true) === Op.ANSWER &&
      view.getUint32(request.carried, true) === length - request.size;
    if (wellFormed) return view.getUint32(request.cmd, true);
    this.broken = true;
    return sys.Errno.ENODEV;
  }
}

/** The descriptor that came with the message just received, or -1. */
function receivedFd(): number {
  if (message.view.getUint32(40, true) < CONTROL_LENGTH) return -1;
  const isRights =
    control.view.getInt32(8, true) === SOL_SOCKET && control.view.getInt32(12, true) === SCM_RIGHTS;
  return isRights ? control.view.getInt32(16, true) : -1;
}
