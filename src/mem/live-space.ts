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
  /** The page is there for `access` without anybody doing anything about it. */
  isThere(at: bigint, access: number): boolean;
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
    if (!this.pages.isThere(at, access)) return false;
    const hpa = this.#hpaOf(at);
    if (hpa === null) return false;
    page.hpaHi = highWord(hpa);
    page.hpaLo = lowWord(hpa);
    page.sizeLg2 = PAGE_LG2;
    page.permitted = access;
    return true;
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
