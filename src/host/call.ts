/** The call under way, as the engine sees it: a Task over one link. One object serves all calls of its link. */
import type { AddressSpace, UserAccount } from '../mem/client.js';
import type { Capability, ForeignFile, OpenFile, Task } from '../mem/task.js';
import type { LivePages } from '../mem/live-space.js';
import type { ClientProcess } from './client.js';
import { type Link, outboxReply } from './link.js';
import { ProcessPages } from './live-pages.js';
import { mayReach } from './reach.js';

/** What a call needs of the server: making a token for a file and finding the file of a descriptor. */
export interface Descriptors {
  install(call: Call, file: OpenFile, flags: number): number | null;
  find(call: Call, fd: number): OpenFile | ForeignFile | null;
  /** The client that a pidfd of the caller names. */
  findProcess(call: Call, pidfd: number): ClientProcess | null;
}

const PAGE = 4096;

/** Bytes. */
const SHORT = 128;

export class Call implements Task {
  readonly link: Link;
  readonly client: ClientProcess;
  readonly mm: AddressSpace;
  readonly user: UserAccount;
  readonly tid: number;
  /** Bytes of the deferred answer, for address {@link argument}. */
  deferred = 0;
  argument = 0n;
  /** The client's count of what may have made memory unwritable. */
  epoch = 0;
  #mayDefer = false;
  readonly #descriptors: Descriptors;

  constructor(link: Link, client: ClientProcess, tid: number, descriptors: Descriptors) {
    this.link = link;
    this.client = client;
    this.tid = tid;
    this.mm = client.space;
    this.user = client.user;
    this.#descriptors = descriptors;
  }

  /** A new call begins. `argument` is where the shim receives deferred bytes, if `mayDefer`. */
  begin(argument: bigint, carried: number, mayDefer: boolean): void {
    this.argument = argument;
    this.#mayDefer = mayDefer;
    this.deferred = 0;
    this.client.space.enter(this.link, argument, carried);
  }

  end(): void {
    this.client.space.leave();
  }

  get memlockLimit(): bigint {
    return this.client.memlockLimit;
  }

  capable(capability: Capability): boolean {
    return this.client.capable(capability);
  }

  reply(at: bigint, bytes: Uint8Array): boolean {
    const expected = this.deferred === 0 ? this.argument : this.argument + BigInt(this.deferred);
    if (!this.#mayDefer || at !== expected || this.deferred + bytes.length > outboxReply.length) {
      return this.mm.write(at, bytes);
    }
    const { space } = this.client;
    // A page number is exact as a double, and the argument is below 2^57 or not an address at all.
    const start = Number(at);
    const first = Math.floor(start / PAGE);
    const last = Math.floor((start + bytes.length - 1) / PAGE);
    if (!space.mayDefer(first, last, this.epoch)) {
      // The engine undoes what it did if this fails, and it can do so only now.
      this.#mayDefer = false;
      if (!space.write(at, bytes)) return false;
      if (bytes.length <= PAGE) space.written(first, last);
      return true;
    }
    // A loop, because a struct is a few dozen bytes and a call of set() costs as much as copying them.
    const from = this.deferred;
    if (bytes.length <= SHORT) for (let i = 0; i < bytes.length; i++) outboxReply[from + i] = bytes[i]!;
    else outboxReply.set(bytes, from);
    this.deferred += bytes.length;
    return true;
  }

  /** What was put off, to be looked at. */
  deferredBytes(): Uint8Array {
    return outboxReply.subarray(0, this.deferred);
  }

  installFd(file: OpenFile, flags: number): number | null {
    return this.#descriptors.install(this, file, flags);
  }

  removeFd(fd: number): void {
    this.link.closeRemote(fd);
  }

  processPages(pidfd: number): LivePages | 'forbidden' | null {
    const client = pidfd === -1 ? this.client : this.#descriptors.findProcess(this, pidfd);
    if (client === null) return null;
    return mayReach(this.client.pid, client.pid) ? new ProcessPages(client.pid, client.space) : 'forbidden';
  }

  fileOf(fd: number): OpenFile | ForeignFile | null {
    return this.#descriptors.find(this, fd);
  }
}
