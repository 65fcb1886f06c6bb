/**
 * Emulated host physical memory (HPA), 51 bits of it: tables in the first 64 GiB, windows onto client memory
 * from 1 TiB on; between them, from 512 GiB on, places of address spaces that have no bytes. Everything that a unit or a device touches, it touches
 * here by address. Who changes a table here, bumps the generation of its arena ({@link TableStore.bump}).
 */
import type { Injector } from '../base/inject.js';
import { joinWords } from '../base/words.js';
import type { Backing, DirectView } from './client.js';
import { Providers } from './providers.js';
import { TableStore } from './table-store.js';
import { Windows, type BackingPlace, type HpaRange } from './windows.js';

const TABLE_SPACE = 1n << 36n;
const FRAME_MASK = 0xfffn;
/** The high word of every table's HPA is below this. */
const TABLE_SPACE_HI = 1 << 4;
/** The high word of every HPA that windows can have is below this. */
const HPA_HI_LIMIT = 1 << 19;
const GIB_PAGES = 1 << 18;
const GIB_MASK = (1 << 30) - 1;
const PAGE_WORDS = 1 << 10;
/** A half that changes at every look belongs to somebody who wants no answer. */
const TORN_TRIES = 4;

/** What a walk needs of memory. */
export type EntryMemory = Pick<
  PhysicalMemory,
  'load64' | 'loadedHi' | 'loadedLo' | 'setBits64' | 'tables' | 'providers'
>;

export class PhysicalMemory {
  readonly tables: TableStore;
  readonly providers = new Providers();
  readonly #windows = new Windows();
  /** The entry that {@link load64} found, as two int32 words. */
  loadedHi = 0;
  loadedLo = 0;
  #viewWord = 0;
  readonly #entry = new Uint8Array(8);
  readonly #entryWords = new Int32Array(this.#entry.buffer);

  constructor(injector: Injector) {
    this.tables = new TableStore(injector);
  }

  /** GiB of client memory that have HPA; 0 when nothing leaks. */
  get liveWindows(): number {
    return this.#windows.live;
  }

  /**
   * Gives HPA to `length` (> 0) bytes of client memory from `offset`, or counts one more use of what they have.
   * Returns the pieces in order, adjacent ones merged; null is ENOMEM, and then nothing has changed.
   */
  window(backing: Backing, offset: bigint, length: bigint): HpaRange[] | null {
    return this.#windows.acquire(backing, offset, length);
  }

  /** Ends one use: a range that {@link window} took. A GiB counts uses by call, so no parts and no unions. */
  unwindow(backing: Backing, offset: bigint, length: bigint): void {
    this.#windows.release(backing, offset, length);
  }

  /** Where byte `offset` lies; null when that GiB has no window. */
  hpaOf(backing: Backing, offset: bigint): bigint | null {
    return this.#windows.hpaOf(backing, offset);
  }

  /** What client memory lies at `hpa`; null for tables and for nothing. */
  backingAt(hpa: bigint): BackingPlace | null {
    return this.#windows.placeOf(hpa);
  }

  /** Copies out; false if any byte of it is no memory. */
  read(hpa: bigint, into: Uint8Array): boolean {
    return this.#eachPiece(hpa, into, false);
  }

  /** Copies in; false if any byte of it is no memory (bytes before that are written). */
  write(hpa: bigint, from: Uint8Array): boolean {
    return this.#eachPiece(hpa, from, true);
  }

  /**
   * Loads the 64-bit entry at an 8-byte aligned HPA into {@link loadedHi} and {@link loadedLo}. Where others may store
   * at the same time, both halves are of one store.
   */
  load64(hi: number, lo: number): boolean {
    if (hi >>> 0 < TABLE_SPACE_HI) {
      const frame = (hi << 20) | (lo >>> 12);
      const words = this.tables.wordsOf(frame);
      if (words === null) return false;
      const at = this.tables.wordOf(frame) + ((lo & 0xfff) >>> 2);
      this.loadedLo = words[at]!;
      this.loadedHi = words[at + 1]!;
      return true;
    }
    return this.#loadClient(hi, lo);
  }

  /** Stores a 64-bit entry at an 8-byte aligned HPA. */
  store64(hi: number, lo: number, entryHi: number, entryLo: number): boolean {
    if (hi >>> 0 < TABLE_SPACE_HI) {
      const frame = (hi << 20) | (lo >>> 12);
      const words = this.tables.wordsOf(frame);
      if (words === null) return false;
      const at = this.tables.wordOf(frame) + ((lo & 0xfff) >>> 2);
      words[at] = entryLo;
      words[at + 1] = entryHi;
      this.tables.bumpFrame(frame);
      return true;
    }
    this.#entryWords[0] = entryLo;
    this.#entryWords[1] = entryHi;
    return this.write(joinWords(hi, lo), this.#entry);
  }

  /**
   * Sets bits in the low half of the entry at an 8-byte aligned HPA, if that half still is `expected`: what hardware
   * does to accessed and dirty bits. It changes no translation, so nobody is told. False: not there, not writable, or
   * changed meanwhile.
   */
  setBits64(hi: number, lo: number, expected: number, bits: number): boolean {
    if (hi >>> 0 < TABLE_SPACE_HI) {
      const frame = (hi << 20) | (lo >>> 12);
      const words = this.tables.wordsOf(frame);
      if (words === null) return false;
      const at = this.tables.wordOf(frame) + ((lo & 0xfff) >>> 2);
      if (words[at] !== expected) return false;
      words[at] = expected | bits;
      return true;
    }
    const view = this.#viewAt(hi, lo);
    if (view !== null) {
      const at = this.#viewWord;
      return Atomics.compareExchange(view.words, at, expected, expected | bits) === expected;
    }
    // OURS: memory that is reached by system calls only has no compare-and-exchange; a store in between is lost.
    if (!this.load64(hi, lo) || this.loadedLo !== expected) return false;
    return this.store64(hi, lo, this.loadedHi, expected | bits);
  }

  #loadClient(hi: number, lo: number): boolean {
    const view = this.#viewAt(hi, lo);
    if (view === null) {
      if (!this.read(joinWords(hi, lo), this.#entry)) return false;
      this.loadedLo = this.#entryWords[0]!;
      this.loadedHi = this.#entryWords[1]!;
      return true;
    }
    const { words } = view;
    const at = this.#viewWord;
    let high = Atomics.load(words, at + 1);
    for (let tries = 0; tries < TORN_TRIES; tries += 1) {
      this.loadedLo = Atomics.load(words, at);
      const again = Atomics.load(words, at + 1);
      if (again === high) break;
      high = again;
    }
    this.loadedHi = high;
    return true;
  }

  /** The view that has this byte of client memory in it, and in {@link #viewWord} where; null when there is none. */
  #viewAt(hi: number, lo: number): DirectView | null {
    if (hi >>> 0 >= HPA_HI_LIMIT) return null;
    const window = this.#windows.at((hi << 2) | (lo >>> 30));
    if (window === null || window.backing.view === undefined) return null;
    const page = window.index * GIB_PAGES + ((lo & GIB_MASK) >>> 12);
    const view = window.backing.view(page);
    if (view !== null) this.#viewWord = (page - view.firstPage) * PAGE_WORDS + ((lo & 0xfff) >>> 2);
    return view;
  }

  #eachPiece(hpa: bigint, bytes: Uint8Array, isWrite: boolean): boolean {
    let done = 0;
    while (done < bytes.length) {
      const at = hpa + BigInt(done);
      const length = Math.min(bytes.length - done, roomAt(at));
      const piece = bytes.subarray(done, done + length);
      if (!(at < TABLE_SPACE ? this.#copyTable(at, piece, isWrite) : this.#copyClient(at, piece, isWrite))) {
        return false;
      }
      done += length;
    }
    return true;
  }

  #copyTable(hpa: bigint, piece: Uint8Array, isWrite: boolean): boolean {
    const frame = Number(hpa >> 12n);
    const words = this.tables.wordsOf(frame);
    if (words === null) return false;
    const from = this.tables.wordOf(frame) * 4 + Number(hpa & FRAME_MASK);
    const bytes = new Uint8Array(words.buffer, from, piece.length);
    if (isWrite) {
      bytes.set(piece);
      this.tables.bumpFrame(frame);
    } else {
      piece.set(bytes);
    }
    return true;
  }

  #copyClient(hpa: bigint, piece: Uint8Array, isWrite: boolean): boolean {
    const place = this.#windows.placeOf(hpa);
    if (place === null) return false;
    return isWrite ? place.backing.write(place.offset, piece) : place.backing.read(place.offset, piece);
  }
}

/** Bytes from `hpa` to the end of its frame (tables) or of its GiB (client memory). */
function roomAt(hpa: bigint): number {
  return hpa < TABLE_SPACE ? 0x1000 - Number(hpa & FRAME_MASK) : 0x4000_0000 - Number(hpa & 0x3fff_ffffn);
}
