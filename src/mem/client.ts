/**
 * Client memory as the engine sees it: an mm (never a pid), and what backs its addresses.
 * `host/` implements this over processes; the TypeScript API over plain arrays.
 */

import type { RunList } from './runs.js';

/**
 * Bytes of a backing that can be reached without a call. Whoever uses it asks {@link alive} before and after: what was
 * read or written while it ended is void.
 */
export interface DirectView {
  /** The byte of the backing that is `bytes[0]`; a multiple of the page size. */
  readonly start: number;
  readonly bytes: Uint8Array;
  /** The same memory by words, for entries of tables and for atomic operations. */
  readonly words: Int32Array;
  /** False: what lies here is the backing's no more (its file was cut short, or the view was taken back). For ever. */
  readonly alive: boolean;
  /**
   * Moves many runs at once, where the host can. The first byte of the view is at the multiple of 1 GiB that is at or below
   * the first of them; a run is three words (runs.ts).
   * False: some run is not of the view, and nothing is known of what was moved.
   */
  gather?(runs: RunList, into: Uint8Array, at: number): boolean;
  scatter?(runs: RunList, from: Uint8Array, at: number): boolean;
  copyRuns?(runs: RunList, target: DirectView, targetRuns: RunList): boolean;
}

/**
 * The identity of memory: equal `id`s and equal offsets are the same bytes, however often they are mapped.
 * A shared file is one backing for everybody; private memory is a backing of its mm, at offset = address.
 */
export interface Backing {
  /** Never reused while the engine runs. */
  readonly id: number;
  /** Copies out `into.length` bytes from byte `offset`; false if any of them is not there. */
  read(offset: bigint, into: Uint8Array): boolean;
  /** Copies in; false if any byte is not there. Never grows a file. */
  write(offset: bigint, from: Uint8Array): boolean;
  /**
   * Keeps `length` bytes from `offset` for as long as they are pinned, whatever their owner does; false is ENOMEM. Only
   * memory that can be taken away has it. Each needs one {@link unhold} of the same range.
   */
  hold?(offset: bigint, length: bigint): boolean;
  unhold?(offset: bigint, length: bigint): void;
  /**
   * A piece of it around byte `offset` that can be read and written directly; null where only {@link read} and
   * {@link write} will do. The same view for the same place while that is alive.
   */
  view?(offset: number): DirectView | null;
  /** No window shows it any more: its views may be taken back. */
  unseen?(): void;
  /**
   * Offsets are addresses of somebody who may put something else there at any time, and each copy finds what is there:
   * whoever was told an older place reaches nothing that is not that owner's now.
   */
  readonly isLive?: true;
}

/** `length` bytes of client memory that one backing holds, contiguous from `offset`. */
export interface Run {
  readonly backing: Backing;
  readonly offset: bigint;
  readonly length: bigint;
}

/** Locked-memory accounts of an mm, in pages: what /proc/PID/status shows as VmPin and VmLck. */
export interface MmAccount {
  pinnedVm: number;
  lockedVm: number;
}

/** Locked-memory account of a user, in pages, shared by all of that user's processes. */
export interface UserAccount {
  lockedVm: number;
}

/** One address space. It may outlive its process as an object; then nothing can be read from it. */
export interface AddressSpace {
  /** Never reused: exec and pid reuse make a new one. */
  readonly id: number;
  readonly account: MmAccount;
  /** The process still runs in it. */
  readonly isAlive: boolean;
  /** copy_from_user: false is EFAULT. */
  read(at: bigint, into: Uint8Array): boolean;
  /** copy_to_user, now: false is EFAULT. */
  write(at: bigint, from: Uint8Array): boolean;
  /**
   * What get_user_pages would find behind `length` bytes from `at` (both multiples of the page size), as runs in
   * address order; null is EFAULT (a hole, no permission, I/O memory, or the mm is gone).
   * With `write` the memory has to be writable.
   */
  resolve(at: bigint, length: bigint, write: boolean): Run[] | null;
  /** Where a program has mapped memory of a device, which {@link resolve} refuses: what is there; null: something else. */
  resolveDevice?(at: bigint, length: bigint): Run[] | null;
}
