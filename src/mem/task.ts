/**
 * `current`, and files: what the engine needs of whoever calls it, and what a caller may do with what it opened.
 * The engine never sees a socket or a pid; `host/` and the TypeScript API stand behind these interfaces.
 */
import type { AddressSpace, Backing, UserAccount } from './client.js';
import type { LivePages } from './live-space.js';

/** Flags of a new descriptor, as open(2) has them. */
export const O_RDWR = 2;
export const O_CLOEXEC = 0o2000000;

/** RLIM_INFINITY. */
export const RLIM_INFINITY = (1n << 64n) - 1n;

export type Capability = 'CAP_SYS_RESOURCE' | 'CAP_IPC_LOCK' | 'CAP_SYS_RAWIO';

/** The thread that makes a call, for the duration of that call. */
export interface Task {
  readonly mm: AddressSpace;
  readonly user: UserAccount;
  capable(capability: Capability): boolean;
  /** RLIMIT_MEMLOCK, bytes. */
  readonly memlockLimit: bigint;
  /**
   * Writes (part of) the call's answer. May be put off until the call returns; if the bytes then cannot be
   * written the call's result becomes EFAULT. Returns false when it is known at once.
   */
  reply(at: bigint, bytes: Uint8Array): boolean;
  /** Gives the caller a descriptor for `file`, opened with `flags` (access mode, O_CLOEXEC): its number, or null for EMFILE. */
  installFd(file: OpenFile, flags: number): number | null;
  /** Closes a descriptor that this call installed; its file is released, now or when the call is over. */
  removeFd(fd: number): void;
  /** The file behind one of the caller's descriptors; null is EBADF. */
  fileOf(fd: number): OpenFile | ForeignFile | null;
  /**
   * The pages of a process as they are from moment to moment: the caller's own where `pidfd` is -1. Null: that descriptor
   * names no process that is known here. 'forbidden': the caller may not have that process's memory.
   */
  processPages(pidfd: number): LivePages | 'forbidden' | null;
}

/** A file of the engine's own. `host/` makes a descriptor for it and calls these; all throw Errno. */
export interface OpenFile {
  readonly isEngineFile: true;
  /** As in /proc/PID/fd: `/dev/iommu`, `[iommufd-pgfault]`, ... */
  readonly name: string;
  /**
   * How poll answers: 'none' has no poll operation (always ready, and epoll_ctl says EPERM); 'in' is readable when
   * {@link readable}; 'in-out' is that and always writable.
   */
  readonly pollMode: 'none' | 'in' | 'in-out';
  readonly readable: boolean;
  /** Set by the owner of the descriptor; the file calls it whenever {@link readable} changes. */
  onReadableChange: (() => void) | null;
  /** Returns the (non-negative) result. */
  ioctl(cmd: number, arg: bigint, task: Task): number;
  /** Returns the number of bytes read. */
  read(at: bigint, count: number, task: Task): number;
  /** Returns the number of bytes written. */
  write(at: bigint, count: number, task: Task): number;
  /** A file with positions has both: the same, at `offset`, or where it is null where the last one ended. */
  readAt?(offset: bigint | null, at: bigint, count: number, task: Task): number;
  writeAt?(offset: bigint | null, at: bigint, count: number, task: Task): number;
  /** Moves that position as lseek(2) does, and returns it. */
  seek?(offset: number, whence: number): number;
  mmap(request: MmapRequest, task: Task): SharedPages;
  /** The address space that it stands for, as the file of a virtual machine does; null: not for this caller. */
  addressSpace?(task: Task): LivePages | null;
  /** The last descriptor of this file is gone. */
  release(): void;
}

export interface MmapRequest {
  /** Bytes. */
  readonly offset: bigint;
  readonly length: bigint;
  readonly shared: boolean;
  readonly exec: boolean;
}

/** Memory that a client maps: `host/` hands out a memfd with these bytes and watches the mapping. */
export interface SharedPages {
  readonly bytes: Uint8Array;
  /**
   * Set where these are registers: programs only load from the bytes, and every store of theirs comes here, one by one
   * and in order, as a store to `RegisterRegion` does (src/bus/region.ts). `offset` counts from the first byte.
   */
  readonly store?: (offset: number, width: 1 | 2 | 4 | 8, lo: number, hi: number) => void;
  /** One more / one less live mapping of it in a client. */
  opened(): void;
  closed(): void;
  /** Set by whoever hands it out; called when the memory is no more. */
  onGone: (() => void) | null;
}

/** The counter behind a client's eventfd (eventfd_ctx), held until it is closed, whatever the client does to its own. */
export interface EventCounter {
  /** eventfd_signal: adds 1. Never waits, and is lost where the counter is at its end. */
  signal(): void;
  /**
   * From now on (null: no longer) `onSignal` is told whenever the counter was not 0, and it is 0 again by then, as a
   * virqfd does it. What is in it already counts.
   */
  watch(onSignal: (() => void) | null): void;
  close(): void;
}

/** Any other file: what IOAS_MAP_FILE may ask of it, or whoever wants an eventfd. */
export interface ForeignFile {
  readonly isEngineFile: false;
  /** 'memfd' is what memfd_pin_folios takes: shmem or hugetlbfs. */
  readonly kind: 'memfd' | 'dma-buf' | 'eventfd' | 'other';
  /** Kind 'eventfd' has it: eventfd_ctx_fileget. What it returns outlives {@link release}. */
  openCounter?(): EventCounter;
  /** Bytes, now. */
  size(): bigint;
  readonly backing: Backing;
  /** Every {@link Task.fileOf} that returned this holds the file open until this is called once. */
  release(): void;
}

/** One of which nothing is known, and that is nothing of what anybody wants. */
export const unknownFile: ForeignFile = {
  isEngineFile: false,
  kind: 'other',
  size: () => 0n,
  backing: { id: 0, read: () => false, write: () => false },
  release: () => {},
};
