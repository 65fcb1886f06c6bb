/**
 * A client in this process: what `host/` is for other processes, without a process. It opens files of the engine,
 * has descriptors for them, and memory that the engine can reach.
 * Invariant: a call runs to its end before the next begins, and so does what it made devices do; what the engine
 * refuses is thrown as Errno.
 */
import { catalogue, refuse } from '../base/errno.js';
import type { WorkQueue } from '../base/work.js';
import type { UserAccount } from '../mem/client.js';
import type { LivePages } from '../mem/live-space.js';
import {
  O_RDWR,
  RLIM_INFINITY,
  type Capability,
  type ForeignFile,
  type MmapRequest,
  type OpenFile,
  type SharedPages,
  type Task,
} from '../mem/task.js';
import { LocalEventFd } from './local-eventfd.js';
import { LocalMemory, SparsePages } from './local-memory.js';

export const rules = catalogue({
  bad_descriptor: ['EBADF', 'descriptor {fd} is not open'],
  no_positions: ['ESPIPE', 'descriptor {fd} is a stream, which has no positions'],
  foreign_descriptor: ['EBADF', 'descriptor {fd} is no file of the engine'],
});

/** What a client needs of an engine. */
export interface Openable {
  /** What calls leave to be done. */
  readonly work?: WorkQueue;
  open(path: string, flags: number, task: Task): OpenFile;
}

export interface ClientOptions {
  /** What `capable` answers yes to. Default: everything. */
  readonly capabilities?: readonly Capability[];
  /** RLIMIT_MEMLOCK in bytes. Default: none. */
  readonly memlockLimit?: bigint;
  /** Clients of one user share its account. Default: a user of its own. */
  readonly user?: UserAccount;
}

/** 0, 1 and 2 are taken in every process. */
const FIRST_FD = 3;
const MAX_FDS = 1 << 20;

export class LocalClient implements Task {
  readonly memory = new LocalMemory();
  readonly user: UserAccount;
  readonly memlockLimit: bigint;
  readonly #engine: Openable;
  readonly #capabilities: readonly Capability[] | null;
  readonly #files = new Map<number, OpenFile | ForeignFile>();

  constructor(engine: Openable, options: ClientOptions = {}) {
    this.#engine = engine;
    this.#capabilities = options.capabilities ?? null;
    this.user = options.user ?? { lockedVm: 0 };
    this.memlockLimit = options.memlockLimit ?? RLIM_INFINITY;
  }

  get mm(): LocalMemory {
    return this.memory;
  }

  capable(capability: Capability): boolean {
    return this.#capabilities?.includes(capability) ?? true;
  }

  reply(at: bigint, bytes: Uint8Array): boolean {
    return this.memory.write(at, bytes);
  }

  installFd(file: OpenFile): number | null {
    return this.#install(file);
  }

  removeFd(fd: number): void {
    this.close(fd);
  }

  fileOf(fd: number): OpenFile | ForeignFile | null {
    return this.#files.get(fd) ?? null;
  }

  /** A LocalClient has no descriptors of processes. */
  processPages(pidfd: number): LivePages | null {
    return pidfd === -1 ? this.memory.live() : null;
  }

  /** open(2); returns the descriptor. */
  open(path: string, flags: number = O_RDWR): number {
    const file = this.#engine.open(path, flags, this);
    const fd = this.#install(file);
    if (fd === null) throw new RangeError('too many descriptors');
    return fd;
  }

  /** A memfd of `bytes` zeros, for IOAS_MAP_FILE; `pages` can be mapped with {@link LocalMemory.alloc}. */
  memfd(bytes: number): { fd: number; pages: SparsePages } {
    const pages = new SparsePages(bytes);
    const size = BigInt(bytes);
    const fd = this.#install({
      isEngineFile: false,
      kind: 'memfd',
      size: () => size,
      backing: pages,
      release: () => {},
    });
    if (fd === null) throw new RangeError('too many descriptors');
    return { fd, pages };
  }

  /** eventfd(2), which interrupts can be sent to. */
  eventfd(): { fd: number; event: LocalEventFd } {
    const event = new LocalEventFd();
    const fd = this.#install(event);
    if (fd === null) throw new RangeError('too many descriptors');
    return { fd, event };
  }

  /** ioctl(2); `arg` is an address in {@link memory} or a number. */
  ioctl(fd: number, cmd: number, arg: bigint): number {
    return this.#settled(this.#engineFile(fd).ioctl(cmd, arg, this));
  }

  /** read(2) of at most `count` bytes. */
  read(fd: number, count: number): Uint8Array {
    const at = this.memory.alloc(Math.max(1, count));
    const file = this.#engineFile(fd);
    try {
      return this.memory.load(at, file.readAt?.(null, at, count, this) ?? file.read(at, count, this));
    } finally {
      this.memory.free(at);
    }
  }

  /** write(2); returns how many of `bytes` were taken. */
  write(fd: number, bytes: Uint8Array): number {
    const at = this.memory.store(bytes);
    const file = this.#engineFile(fd);
    try {
      return this.#settled(
        file.writeAt?.(null, at, bytes.length, this) ?? file.write(at, bytes.length, this),
      );
    } finally {
      this.memory.free(at);
    }
  }

  /** pread(2) of at most `count` bytes, from a file that has positions. */
  pread(fd: number, count: number, offset: bigint): Uint8Array {
    const at = this.memory.alloc(Math.max(1, count));
    try {
      return this.memory.load(at, this.#positioned(fd).readAt!(offset, at, count, this));
    } finally {
      this.memory.free(at);
    }
  }

  /** pwrite(2); returns how many of `bytes` were taken. */
  pwrite(fd: number, bytes: Uint8Array, offset: bigint): number {
    const at = this.memory.store(bytes);
    try {
      return this.#settled(this.#positioned(fd).writeAt!(offset, at, bytes.length, this));
    } finally {
      this.memory.free(at);
    }
  }

  /** mmap(2) of a file of the engine: the pages themselves. Call `closed()` on them where munmap would be. */
  mmap(fd: number, request: MmapRequest): SharedPages {
    const pages = this.#engineFile(fd).mmap(request, this);
    pages.opened();
    return pages;
  }

  /** True if a read would find something. */
  isReadable(fd: number): boolean {
    return this.#engineFile(fd).readable;
  }

  /** close(2). There is no dup here, so the file is released. */
  close(fd: number): void {
    const file = this.#file(fd);
    this.#files.delete(fd);
    if (file.isEngineFile) file.release();
  }

  /** Closes everything, as exit does. */
  exit(): void {
    this.memory.exit();
    for (const fd of this.#files.keys()) this.close(fd);
  }

  /** Here nobody else waits, so that devices do at once all that there is to do. */
  #settled<T>(result: T): T {
    while (this.#engine.work?.step() === true);
    return result;
  }

  #file(fd: number): OpenFile | ForeignFile {
    return this.fileOf(fd) ?? refuse(rules.bad_descriptor, { fd });
  }

  #engineFile(fd: number): OpenFile {
    const file = this.#file(fd);
    if (!file.isEngineFile) return refuse(rules.foreign_descriptor, { fd });
    return file;
  }

  #positioned(fd: number): OpenFile {
    const file = this.#engineFile(fd);
    return file.readAt === undefined ? refuse(rules.no_positions, { fd }) : file;
  }

  /** The lowest free number, as POSIX wants it. */
  #install(file: OpenFile | ForeignFile): number | null {
    for (let fd = FIRST_FD; fd < MAX_FDS; fd++) {
      if (this.#files.has(fd)) continue;
      this.#files.set(fd, file);
      return fd;
    }
    return null;
  }
}
