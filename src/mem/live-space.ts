/**
 * The address space of a process, or of a virtual machine, as a device sees it. It has no table: whether a page is there
 * is asked of its owner each time, and bytes go to whatever lies at the address at that moment. So a translation that is
 * cached for too long reaches nothing that the owner could not reach itself at that address, which is what the kernel's
 * notifiers are for elsewhere.
 * Invariant: HPA and address agree modulo 1 GiB, by windows that exist as long as this does.
 */
import { highWord, joinWords, lowWord } from '../base/words.js';
import type { Backing } from './client.js';
import type { PhysicalMemory } from './physical.js';
import type { OwnedSpace, ProvidedPage } from './providers.js';

const PAGE_LG2 = 12;
/** Blocks that are asked for as a whole. */
const NEAR_LG2 = 16;
const NEAR = 1n << BigInt(NEAR_LG2);
const NEAR_PAGES = 1 << (NEAR_LG2 - PAGE_LG2);
const LARGE_LG2 = 21;
const LARGE = 1n << BigInt(LARGE_LG2);
const LARGE_PAGES = 1 << (LARGE_LG2 - PAGE_LG2);
const GIB = 1n << 30n;
/** READ, WRITE and EXEC of an access. */
const ACCESS = 7;
const ALL = (1n << 64n) - 1n;

/** What an owner says of the page at an address. `access` is READ 1, WRITE 2, EXEC 4. */
export interface LivePages {
  /** For people: `process 17`. */
  readonly name: string;
  /** The bytes at its addresses, as they are when asked for; a store obeys the owner's protection. Not used elsewhere. */
  readonly bytes: Backing;
  /**
   * Whether the page at `at` is there for `access` without anybody doing anything about it, and with it all `pages` pages
   * from `start` on: that number if they are, 1 if it is and nothing more is known, 0 if it is not.
   */
  there(at: bigint, start: bigint, pages: number, access: number): number;
  /** Makes it be there, as a fault of the owner's own would; false where that would be a signal. */
  faultIn(at: bigint, access: number): boolean;
  /** Somebody uses it, and is told when it changes, if that is known, and when it ends. Once. */
  watch(watcher: LiveWatcher): void;
  /** Nobody does any more. */
  release(): void;
}

export interface LiveWatcher {
  /** Pages of `start`..`last` are about to be others. */
  changed(start: bigint, last: bigint): void;
  /** The owner has exited, or is about to run another program: nothing is there any more. */
  ended(): void;
}

export class LiveSpace implements OwnedSpace, LiveWatcher {
  onInvalidate: ((start: bigint, last: bigint) => void) | null = null;
  #isGone = false;
  /** HPA by GiB of addresses. */
  readonly #windows = new Map<bigint, bigint>();
  readonly #bytes: Backing;

  constructor(
    readonly pages: LivePages,
    readonly memory: PhysicalMemory,
  ) {
    const { bytes } = pages;
    this.#bytes = {
      id: bytes.id,
      isLive: true,
      read: (offset, into) => bytes.read(offset, into) || this.#missing(offset, into.length),
      write: (offset, from) => bytes.write(offset, from) || this.#missing(offset, from.length),
    };
    pages.watch(this);
  }

  get name(): string {
    return this.pages.name;
  }

  translate(hi: number, lo: number, access: number, page: ProvidedPage): boolean {
    if (this.#isGone) return false;
    const at = joinWords(hi, lo);
    const sizeLg2 = this.#blockAt(at, access);
    if (sizeLg2 === 0) return false;
    const hpa = this.#hpaOf(at);
    if (hpa === null) return false;
    page.hpaHi = highWord(hpa);
    page.hpaLo = lowWord(hpa);
    page.sizeLg2 = sizeLg2;
    page.permitted = access;
    return true;
  }

  /** lg2 of the block around `at` that is there as a whole; 0: not even its page. To ask for 16 pages costs what one does. */
  #blockAt(at: bigint, access: number): number {
    const { pages } = this;
    const near = pages.there(at, at & -NEAR, NEAR_PAGES, access);
    if (near < NEAR_PAGES) return near === 0 ? 0 : PAGE_LG2;
    return pages.there(at, at & -LARGE, LARGE_PAGES, access) < LARGE_PAGES ? NEAR_LG2 : LARGE_LG2;
  }

  /** Null when HPA has no room for another GiB. */
  #hpaOf(at: bigint): bigint | null {
    const start = at & -GIB;
    let base = this.#windows.get(start);
    if (base === undefined) {
      const found = this.memory.window(this.#bytes, start, GIB);
      if (found === null) return null;
      base = found[0]!.hpa;
      this.#windows.set(start, base);
    }
    return base + (at - start);
  }

  /** A device was led to what is not there, or not for this: by something cached. */
  #missing(offset: bigint, length: number): false {
    this.onInvalidate?.(offset, offset + BigInt(length) - 1n);
    return false;
  }

  resolve(address: bigint, access: number): boolean {
    return !this.#isGone && this.pages.faultIn(address, access & ACCESS);
  }

  changed(start: bigint, last: bigint): void {
    this.onInvalidate?.(start, last);
  }

  ended(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.onInvalidate?.(0n, ALL);
  }

  release(): void {
    this.pages.release();
    for (const start of this.#windows.keys()) this.memory.unwindow(this.#bytes, start, GIB);
    this.#windows.clear();
  }
}
