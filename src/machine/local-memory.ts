/**
 * The memory of a client that lives in this process: allocations in an address space of its own, page by page.
 * Invariant: memory that is pinned stays what it was after {@link LocalMemory.free}, as Linux keeps pinned pages;
 * only its addresses are gone.
 */
import type { AddressSpace, Backing, DirectView, MmAccount, Run } from '../mem/client.js';
import type { LivePages, LiveWatcher } from '../mem/live-space.js';

const PAGE_SIZE = 4096;
/** Where allocations begin; nothing lies below, so a null pointer is a bad pointer. */
const FIRST_ADDRESS = 0x10_0000_0000;
/** The largest address of an ordinary Linux process, plus one. */
const TASK_SIZE = 0x7fff_ffff_f000;

/** Of an access. */
const WRITE = 2;
const EXEC = 4;

let lastBackingId = 0;
let lastSpaceId = 0;

/** A piece of {@link SparsePages}: small enough to be made for one byte, large enough for a device to copy at once. */
const PIECE_BYTES = 1 << 21;

class Piece implements DirectView {
  readonly alive = true;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;

  constructor(
    readonly start: number,
    length: number,
  ) {
    this.bytes = new Uint8Array(length);
    this.words = new Int32Array(this.bytes.buffer);
  }
}

/** Zero-filled memory whose pieces exist once somebody writes them. */
export class SparsePages implements Backing {
  readonly id = ++lastBackingId;
  /** Bytes. */
  readonly size: number;
  readonly #pieces = new Map<number, Piece>();

  constructor(size: number) {
    this.size = size;
  }

  view(offset: number): DirectView | null {
    if (offset < 0 || offset >= this.size) return null;
    const index = Math.floor(offset / PIECE_BYTES);
    let piece = this.#pieces.get(index);
    if (piece === undefined) {
      const start = index * PIECE_BYTES;
      const end = Math.min(start + PIECE_BYTES, Math.ceil(this.size / PAGE_SIZE) * PAGE_SIZE);
      this.#pieces.set(index, (piece = new Piece(start, end - start)));
    }
    return piece;
  }

  read(offset: bigint, into: Uint8Array): boolean {
    return this.#each(offset, into.length, (start, done, length) => {
      const piece = this.#pieces.get(Math.floor(start / PIECE_BYTES));
      if (piece === undefined) into.fill(0, done, done + length);
      else into.set(piece.bytes.subarray(start - piece.start, start - piece.start + length), done);
    });
  }

  write(offset: bigint, from: Uint8Array): boolean {
    return this.#each(offset, from.length, (start, done, length) => {
      const piece = this.view(start)!;
      piece.bytes.set(from.subarray(done, done + length), start - piece.start);
    });
  }

  /** Visits every piece of a range; false, and no visit, if the range is not all inside. */
  #each(
    offset: bigint,
    length: number,
    visit: (start: number, done: number, length: number) => void,
  ): boolean {
    const first = Number(offset);
    if (first < 0 || first + length > this.size) return false;
    for (let done = 0; done < length;) {
      const start = first + done;
      const piece = Math.min(PIECE_BYTES - (start % PIECE_BYTES), length - done);
      visit(start, done, piece);
      done += piece;
    }
    return true;
  }
}

interface Allocation {
  readonly start: number;
  readonly pages: SparsePages;
  readonly writable: boolean;
  /** Numbers of the pages that somebody has touched; null: all are there. */
  readonly touched: Set<number> | null;
}

export interface AllocateOptions {
  /** Pages are there only once they are touched, as those of mmap(2) are. Default false. */
  readonly lazy?: boolean;
  /** False: PROT_READ only. Default true. */
  readonly writable?: boolean;
  /** Memory that already exists, mapped once more: it has the same identity at both addresses. */
  readonly pages?: SparsePages;
}

export class LocalMemory implements AddressSpace {
  readonly id = ++lastSpaceId;
  readonly account: MmAccount = { pinnedVm: 0, lockedVm: 0 };
  readonly isAlive = true;
  /** By address; they never touch, so that running over the end of one is a fault. */
  readonly #allocations: Allocation[] = [];
  readonly #watchers = new Set<LiveWatcher>();
  #next = FIRST_ADDRESS;

  /** Maps `bytes` of zeros (rounded up to pages) and returns their address, a multiple of the page size. */
  alloc(bytes: number, options: AllocateOptions = {}): bigint {
    const size = Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
    const start = this.#next;
    if (!(size > 0) || start + size + PAGE_SIZE > TASK_SIZE) {
      throw new RangeError(`cannot allocate ${bytes} bytes of client memory`);
    }
    this.#next = start + size + PAGE_SIZE;
    const { writable = true, pages = new SparsePages(size), lazy = false } = options;
    this.#allocations.push({ start, pages, writable, touched: lazy ? new Set() : null });
    return BigInt(start);
  }

  /** Unmaps the allocation that begins at `address`. */
  free(address: bigint): void {
    const index = this.#indexAtOrBelow(Number(address));
    const found = this.#allocations[index];
    if (found?.start !== Number(address))
      throw new RangeError(`no allocation begins at 0x${address.toString(16)}`);
    for (const watcher of this.#watchers) watcher.changed(address, address + BigInt(found.pages.size) - 1n);
    this.#allocations.splice(index, 1);
  }

  /** Puts `bytes` into memory of their own and returns the address. */
  store(bytes: Uint8Array): bigint {
    const address = this.alloc(Math.max(1, bytes.length));
    this.write(address, bytes);
    return address;
  }

  /** The `length` bytes at `address`. Throws RangeError where there is no memory. */
  load(address: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    if (!this.read(address, bytes)) throw new RangeError(`no client memory at 0x${address.toString(16)}`);
    return bytes;
  }

  read(at: bigint, into: Uint8Array): boolean {
    const found = this.#find(at, into.length);
    return (
      found !== null && touch(found, at, into.length) && found.pages.read(at - BigInt(found.start), into)
    );
  }

  write(at: bigint, from: Uint8Array): boolean {
    const found = this.#find(at, from.length);
    if (found === null || !found.writable) return false;
    return touch(found, at, from.length) && found.pages.write(at - BigInt(found.start), from);
  }

  resolve(at: bigint, length: bigint, write: boolean): Run[] | null {
    const found = this.#find(at, Number(length));
    if (found === null || (write && !found.writable)) return null;
    return [{ backing: found.pages, offset: at - BigInt(found.start), length }];
  }

  /** This address space as a device sees it that shares it. */
  live(): LivePages {
    const watching: LiveWatcher[] = [];
    return {
      name: `client memory ${this.id}`,
      bytes: {
        id: ++lastBackingId,
        read: (offset, into) => this.read(offset, into),
        write: (offset, from) => this.write(offset, from),
      },
      there: (at, _start, _pages, access) => {
        const found = this.#find(at, 1);
        if (found === null || !permits(found, access)) return 0;
        return found.touched === null || found.touched.has(pageOf(at)) ? 1 : 0;
      },
      faultIn: (at, access) => {
        const found = this.#find(at, 1);
        return found !== null && permits(found, access) && touch(found, at, 1);
      },
      watch: (watcher) => {
        watching.push(watcher);
        this.#watchers.add(watcher);
      },
      release: () => {
        for (const watcher of watching) this.#watchers.delete(watcher);
      },
    };
  }

  /** The process is over: whoever shares its memory is told. */
  exit(): void {
    for (const watcher of [...this.#watchers]) watcher.ended();
  }

  /** The allocation that holds all of a range. Allocations never touch, so there is at most one. */
  #find(at: bigint, length: number): Allocation | null {
    if (at >= BigInt(TASK_SIZE)) return null;
    const from = Number(at);
    const found = this.#allocations[this.#indexAtOrBelow(from)];
    return found !== undefined && from + length <= found.start + found.pages.size ? found : null;
  }

  /** Which allocation begins last at or below `address`; -1 if none does. */
  #indexAtOrBelow(address: number): number {
    let low = -1;
    let high = this.#allocations.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#allocations[middle] as Allocation).start <= address) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

const pageOf = (at: bigint): number => Number(at >> 12n);

/** Nothing here is a program. */
const permits = ({ writable }: Allocation, access: number): boolean =>
  (access & EXEC) === 0 && ((access & WRITE) === 0 || writable);

function touch({ touched }: Allocation, at: bigint, length: number): true {
  if (touched === null) return true;
  const last = pageOf(at + BigInt(Math.max(1, length)) - 1n);
  for (let page = pageOf(at); page <= last; page++) touched.add(page);
  return true;
}
