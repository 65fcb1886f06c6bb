/** The call under way, as the engine sees it: a Task over one link. One object serves all calls of its link. */
import type { AddressSpace, UserAccount } from '../mem/client.js';
import { RLIM_INFINITY, type Capability, type ForeignFile, type OpenFile, type Task } from '../mem/task.js';
import type { ClientProcess } from './client.js';
import { type Link, outboxReply } from './link.js';

/** What a call needs of the server: making a token for a file and finding the file of a descriptor. */
export interface Descriptors {
  install(call: Call, file: OpenFile, cloexec: boolean): number | null;
  find(call: Call, fd: number): OpenFile | ForeignFile | null;
}

export class Call implements Task {
  readonly link: Link;
  readonly client: ClientProcess;
  readonly mm: AddressSpace;
  readonly user: UserAccount;
  /** Bytes of the deferred answer, for address {@link argument}. */
  deferred = 0;
  #argument = 0n;
  #mayDefer = false;
  readonly #descriptors: Descriptors;

  constructor(link: Link, client: ClientProcess, descriptors: Descriptors) {
    this.link = link;
    this.client = client;
    this.mm = client.space;
    this.user = client.user;
    this.#descriptors = descriptors;
  }

  /** A new call begins. `argument` is where the shim receives deferred bytes, if `mayDefer`. */
  begin(argument: bigint, mayDefer: boolean): void {
    this.#argument = argument;
    this.#mayDefer = mayDefer;
    this.deferred = 0;
  }

  get memlockLimit(): bigint {
    return RLIM_INFINITY;
  }

  capable(_capability: Capability): boolean {
    return true;
  }

  reply(at: bigint, bytes: Uint8Array): boolean {
    const contiguous = this.#mayDefer && at === this.#argument + BigInt(this.deferred);
    if (!contiguous || this.deferred + bytes.length > outboxReply.length) return this.mm.write(at, bytes);
    outboxReply.set(bytes, this.deferred);
    this.deferred += bytes.length;
    return true;
  }

  installFd(file: OpenFile, cloexec: boolean): number | null {
    return this.#descriptors.install(this, file, cloexec);
  }

  removeFd(fd: number): void {
    this.link.closeRemote(fd);
  }

  fileOf(fd: number): OpenFile | ForeignFile | null {
    return this.#descriptors.find(this, fd);
  }
}
