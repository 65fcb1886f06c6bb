/**
 * Client memory as the engine sees it: an mm (never a pid), and what backs its addresses.
 * `host/` implements this over processes; the TypeScript API over plain arrays.
 */

/** Bytes of a backing that are here as an array: seen and changed without a copy, by the next access on. */
export interface DirectView {
  /** Number of the first 4 KiB page in it: offset / 4096. */
  readonly firstPage: number;
  /** Whole pages; both arrays are the same bytes. */
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
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
   * A view that has page `page` (offset / 4096) in it, if there is one now: the same object each time, so that asking
   * costs nothing. It is true until the caller returns to whoever called it; nobody keeps it. Absent, or null: use
   * {@link read} and {@link write}.
   */
  view?(page: number): DirectView | null;
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
}
