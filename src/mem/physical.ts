/**
 * Emulated host physical memory (HPA), 51 bits of it: tables in the first 64 GiB, windows onto client memory
 * from 1 TiB on; between them, from 512 GiB on, places of address spaces that have no bytes. Everything that a unit or
 * a device touches, it touches here by address. Who changes a table here, bumps the generation of its arena
 * ({@link TableStore.bump}).
 */
import type { Injector } from '../base/inject.js';
import { carry, highWord, joinWords, lowWord } from '../base/words.js';
import type { Backing, DirectView } from './client.js';
import { copyBytes } from './copy-bytes.js';
import { Epoch } from './epoch.js';
import { Providers } from './providers.js';
import { CHUNK_BYTES, TABLE_SPACE_HI, TableStore, type NearChunk } from './table-store.js';
import type { RunList } from './runs.js';
import { Windows, type BackingPlace, type HpaRange } from './windows.js';

const FRAME_MASK = 0xfffn;
/** Of an HPA of tables: where it is in its chunk. */
const CHUNK_MASK = CHUNK_BYTES - 1;
/** Of a low word: where it is in its window of 1 GiB. */
const SLOT_MASK = 0x3fff_ffff;
const ENTRY_BYTES = 8;
/** The largest structure but a table, in words. */
const BLOCK_WORDS = 16;
/** Bytes that are copied at once between places that cannot both be reached directly. */
const BOUNCE = 1 << 18;
/** Somebody who changes an entry all the time gets one of its halves as it was a moment ago. */
const LOAD_TRIES = 8;

/** What a walk needs of memory. */
export type EntryMemory = Pick<
  PhysicalMemory,
  'near' | 'block' | 'blockAt' | 'load64' | 'loadedHi' | 'loadedLo' | 'setBits64' | 'tables' | 'providers'
>;

export class PhysicalMemory {
  readonly epoch = new Epoch();
  readonly tables: TableStore;
  /** {@link TableStore.near}: whoever follows tables looks here before {@link load64}. */
  readonly near: NearChunk;
  readonly providers = new Providers();
  readonly #windows = new Windows(this.epoch);
  /** The entry that {@link load64} found, as two int32 words. */
  loadedHi = 0;
  loadedLo = 0;
  readonly #entry = new Uint8Array(ENTRY_BYTES);
  readonly #entryWords = new Int32Array(this.#entry.buffer);
  readonly #bounce = new Uint8Array(BOUNCE);
  /** Index of the first word of what {@link block} found. */
  blockAt = 0;
  readonly #copied = new Int32Array(BLOCK_WORDS);
  #found: DirectView | null = null;
  directAt = 0;
  /** Whether the last {@link copy} that failed did so where it reads. */
  isSourceGone = false;

  constructor(injector: Injector) {
    this.tables = new TableStore(injector, this.epoch);
    this.near = this.tables.near;
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

  /** What lies there is found anew at each access, by its address in an address space without a table. */
  isLive(hi: number, lo: number): boolean {
    return this.#windows.isLive(hi, lo);
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
    return this.readAt(highWord(hpa), lowWord(hpa), into, 0, into.length);
  }

  /** Copies in; false if any byte of it is no memory (bytes before that are written). */
  write(hpa: bigint, from: Uint8Array): boolean {
    return this.writeAt(highWord(hpa), lowWord(hpa), from, 0, from.length);
  }

  /** {@link read} of `length` bytes, to index `at` of `into`. One view for each piece that is contiguous here too. */
  readAt(hi: number, lo: number, into: Uint8Array, at: number, length: number): boolean {
    for (let done = 0; done < length;) {
      const piece = Math.min(length - done, this.#roomAt(hi, lo));
      if (!this.#readPiece(hi, lo, into, at + done, piece)) return false;
      done += piece;
      hi += carry(lo, piece);
      lo = (lo + piece) | 0;
    }
    return true;
  }

  /** {@link write} of `length` bytes, from index `at` of `from`. */
  writeAt(hi: number, lo: number, from: Uint8Array, at: number, length: number): boolean {
    for (let done = 0; done < length;) {
      const piece = Math.min(length - done, this.#roomAt(hi, lo));
      if (!this.#writePiece(hi, lo, from, at + done, piece)) return false;
      done += piece;
      hi += carry(lo, piece);
      lo = (lo + piece) | 0;
    }
    return true;
  }

  /** Copies `length` bytes from one place to another, in pieces, upwards; false if any of it is no memory. */
  copy(fromHi: number, fromLo: number, toHi: number, toLo: number, length: number): boolean {
    for (let done = 0; done < length;) {
      let piece = Math.min(length - done, this.#roomAt(toHi, toLo));
      const target = this.#found;
      const targetAt = this.directAt;
      piece = Math.min(piece, this.#roomAt(fromHi, fromLo));
      if (!this.#copyPiece(fromHi, fromLo, toHi, toLo, piece, target, targetAt)) return false;
      done += piece;
      fromHi += carry(fromLo, piece);
      fromLo = (fromLo + piece) | 0;
      toHi += carry(toLo, piece);
      toLo = (toLo + piece) | 0;
    }
    return true;
  }

  /**
   * {@link readAt} of many runs by one call, if they are all of one view and the host can do that. False: nothing is known
   * of what was moved, and they are to be read one by one.
   */
  gather(runs: RunList, into: Uint8Array, at: number): boolean {
    const view = this.#viewOf(runs);
    return view?.gather?.(runs, into, at) === true && view.alive;
  }

  /** The same for {@link writeAt}. */
  scatter(runs: RunList, from: Uint8Array, at: number): boolean {
    const view = this.#viewOf(runs);
    return view?.scatter?.(runs, from, at) === true && view.alive;
  }

  /** And for {@link copy}, of as many bytes as `target` has. */
  copyRuns(source: RunList, target: RunList): boolean {
    const to = this.#viewOf(target);
    const from = this.#viewOf(source);
    // To find one view of a file that has grown ends the other.
    if (from === null || to === null || !to.alive) return false;
    return from.copyRuns?.(source, to, target) === true && from.alive && to.alive;
  }

  /** The view that the first run lies in, if it begins where its GiB of HPA does. */
  #viewOf({ words }: RunList): DirectView | null {
    const hi = words[0]!;
    const lo = words[1]!;
    const view = this.direct(hi, lo);
    return view === null || this.directAt !== (lo & SLOT_MASK) ? null : view;
  }

  /** Loads the 64-bit entry at an 8-byte aligned HPA into {@link loadedHi} and {@link loadedLo}. */
  load64(hi: number, lo: number): boolean {
    if (hi >>> 0 >= TABLE_SPACE_HI) return this.#loadClient(hi, lo);
    const { tables } = this;
    const { near } = tables;
    const frame = (hi << 20) | (lo >>> 12);
    if ((frame - near.first) >>> 0 >= near.frames && !tables.approach(frame)) return false;
    const { words } = near;
    const at = (lo & CHUNK_MASK) >>> 2;
    this.loadedLo = words[at]!;
    this.loadedHi = words[at + 1]!;
    return true;
  }

  /**
   * The words of `count` words at an HPA, from index {@link blockAt} on: those of tables themselves, of client memory a copy.
   * They lie in one frame, and are looked at before the next call. Null: no memory.
   */
  block(hi: number, lo: number, count: number): Int32Array | null {
    if (hi >>> 0 < TABLE_SPACE_HI) {
      const { tables } = this;
      const { near } = tables;
      const frame = (hi << 20) | (lo >>> 12);
      if ((frame - near.first) >>> 0 >= near.frames && !tables.approach(frame)) return null;
      this.blockAt = (lo & CHUNK_MASK) >>> 2;
      return near.words;
    }
    for (let at = 0; at < count; at += 2) {
      if (!this.#loadClient(hi, lo + at * 4)) return null;
      this.#copied[at] = this.loadedLo;
      this.#copied[at + 1] = this.loadedHi;
    }
    this.blockAt = 0;
    return this.#copied;
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
    const view = this.directWord(hi, lo, ENTRY_BYTES);
    if (view !== null) {
      const found = Atomics.compareExchange(view.words, this.directAt >>> 2, expected, expected | bits);
      return found === expected && view.alive;
    }
    // OURS: memory that is reached by system calls only has no compare-and-exchange; a store in between is lost.
    if (!this.load64(hi, lo) || this.loadedLo !== expected) return false;
    return this.store64(hi, lo, this.loadedHi, expected | bits);
  }

  /** How many bytes of what {@link direct} found lie at that byte and after it. */
  get directRoom(): number {
    return this.#windows.foundRoom;
  }

  /** What can be reached directly at an HPA of client memory; the byte is at index {@link directAt}. Null elsewhere. */
  direct(hi: number, lo: number): DirectView | null {
    const windows = this.#windows;
    if (hi >>> 0 < TABLE_SPACE_HI || !windows.find(hi, lo)) return null;
    this.directAt = windows.foundAt;
    return windows.found;
  }

  /** {@link direct} where all `width` bytes of a word are: a file may end within one. */
  directWord(hi: number, lo: number, width: number): DirectView | null {
    const view = this.direct(hi, lo);
    return this.#windows.foundRoom < width ? null : view;
  }

  #loadClient(hi: number, lo: number): boolean {
    const view = this.directWord(hi, lo, ENTRY_BYTES);
    if (view !== null && this.#loadDirect(view)) return true;
    if (!this.#copyClient(joinWords(hi, lo), this.#entry, false)) return false;
    this.loadedLo = this.#entryWords[0]!;
    this.loadedHi = this.#entryWords[1]!;
    return true;
  }

  /** The owner may store while we load: a low word belongs to the high word that was there before and after it. */
  #loadDirect(view: DirectView): boolean {
    const { words } = view;
    const at = this.directAt >>> 2;
    let high = Atomics.load(words, at + 1);
    for (let tries = 0; tries < LOAD_TRIES; tries++) {
      this.loadedHi = high;
      this.loadedLo = Atomics.load(words, at);
      high = Atomics.load(words, at + 1);
      if (high === this.loadedHi) break;
    }
    return view.alive;
  }

  /**
   * Bytes from an HPA to the end of its frame (tables), of what can be reached directly there ({@link #found}), or else
   * of its GiB.
   */
  #roomAt(hi: number, lo: number): number {
    this.#found = this.direct(hi, lo);
    if (this.#found !== null) return this.#windows.foundRoom;
    return hi >>> 0 < TABLE_SPACE_HI ? 0x1000 - (lo & 0xfff) : 0x4000_0000 - (lo & 0x3fff_ffff);
  }

  /** One piece, which {@link #roomAt} was asked for just before. */
  #readPiece(hi: number, lo: number, into: Uint8Array, at: number, length: number): boolean {
    const view = this.#found;
    if (view !== null) {
      copyBytes(view.bytes, this.directAt, into, at, length);
      if (view.alive) return true;
    }
    return this.#transfer(hi, lo, into.subarray(at, at + length), false);
  }

  #writePiece(hi: number, lo: number, from: Uint8Array, at: number, length: number): boolean {
    const view = this.#found;
    if (view !== null) {
      copyBytes(from, at, view.bytes, this.directAt, length);
      if (view.alive) return true;
    }
    return this.#transfer(hi, lo, from.subarray(at, at + length), true);
  }

  /** One piece from what {@link #roomAt} found last to `target`, which it found before that. */
  #copyPiece(
    fromHi: number,
    fromLo: number,
    toHi: number,
    toLo: number,
    length: number,
    target: DirectView | null,
    targetAt: number,
  ): boolean {
    const source = this.#found;
    // To find the source may have ended what was found before: a file that has grown gets another view.
    if (source !== null && target?.alive === true) {
      copyBytes(source.bytes, this.directAt, target.bytes, targetAt, length);
      if (source.alive && target.alive) return true;
    }
    for (let done = 0; done < length; done += BOUNCE) {
      const bytes = this.#bounce.subarray(0, Math.min(BOUNCE, length - done));
      this.isSourceGone = !this.#transfer(fromHi + carry(fromLo, done), (fromLo + done) | 0, bytes, false);
      if (this.isSourceGone) return false;
      if (!this.#transfer(toHi + carry(toLo, done), (toLo + done) | 0, bytes, true)) return false;
    }
    return true;
  }

  /** By calls, where nothing can be reached directly, or what could is no more. */
  #transfer(hi: number, lo: number, piece: Uint8Array, isWrite: boolean): boolean {
    const hpa = joinWords(hi, lo);
    return hi >>> 0 < TABLE_SPACE_HI
      ? this.#copyTable(hpa, piece, isWrite)
      : this.#copyClient(hpa, piece, isWrite);
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
