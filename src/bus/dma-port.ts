/**
 * How a device masters memory: an address and a length in, bytes moved or a fault out. The port asks a translator for
 * every block, joins what is adjacent in physical memory, and touches memory once for each such run, so that a device
 * cannot reach a byte that the translator did not name. It neither knows what translates nor how.
 * Nothing here allocates for an operation that succeeds.
 */
import { joinWords } from '../base/words.js';
import { compareExchange, fetchAdd, type AtomicWidth } from '../mem/atomic.js';
import type { PhysicalMemory } from '../mem/physical.js';
import { AT_UNTRANSLATED, DMA_READ, DMA_WRITE, NO_PASID, Translation, type Translator } from './dma.js';

/** Why an operation stopped: a translation was refused, or what is mapped there is no memory any more. */
export type DmaStop = 'refused' | 'gone';

/** What translates for a port: a unit, or a cache of the device in front of one. */
export type Resolver = Pick<Translator, 'translate'>;

/** One side of an operation on its way through the address space. */
class Cursor {
  access = 0;
  /** The next byte to ask for, and how many there are from it on. */
  hi = 0;
  lo = 0;
  left = 0;
  /** The run in hand. */
  hpaHi = 0;
  hpaLo = 0;
  length = 0;
  /** What was translated and is not joined to the run; 0: nothing. */
  aheadHi = 0;
  aheadLo = 0;
  ahead = 0;
  /** The translation of (hi, lo) was refused. */
  isRefused = false;
  reason = 0;
  recoverable = false;

  start(hi: number, lo: number, length: number, access: number): void {
    this.hi = hi;
    this.lo = lo;
    this.left = length;
    this.access = access;
    this.length = 0;
    this.ahead = 0;
    this.isRefused = false;
  }

  /** Uses up `length` bytes of the run. */
  advance(length: number): void {
    this.hpaHi += carry(this.hpaLo, length);
    this.hpaLo = (this.hpaLo + length) | 0;
    this.length -= length;
  }

  /** Makes what was translated ahead the run. */
  take(): void {
    this.hpaHi = this.aheadHi;
    this.hpaLo = this.aheadLo;
    this.length = this.ahead;
    this.ahead = 0;
  }

  /** Joins what was translated ahead to the run, if it follows it. */
  join(): boolean {
    const followsLo = (this.hpaLo + this.length) | 0;
    if (this.aheadLo !== followsLo || this.aheadHi !== this.hpaHi + carry(this.hpaLo, this.length))
      return false;
    this.length += this.ahead;
    this.ahead = 0;
    return true;
  }
}

/** The longest operation at once: sums of two lengths stay small integers. */
const MAX_DMA_BYTES = 1 << 29;

/** Whoever wants to know what a device has written. */
export interface WriteObserver {
  /** `length` bytes from (hi, lo) on were written. */
  wrote(hi: number, lo: number, length: number): void;
}

export class DmaPort {
  /** Told after every operation that has written something. */
  observer: WriteObserver | null = null;
  /** Attributes of what is asked next: the PASID, and DMA_EXEC and DMA_PRIV as they apply. */
  pasid = NO_PASID;
  attributes = 0;
  /** Bytes that the last operation moved; all of them when it returned true. */
  done = 0;
  /** What stopped it, where, and with which access; the unit's reason, and whether a page request may cure it. */
  stop: DmaStop = 'refused';
  stopHi = 0;
  stopLo = 0;
  stopAccess = 0;
  reason = 0;
  recoverable = false;
  /** What an atomic operation found. */
  old = 0n;
  readonly #request = new Translation();
  readonly #source = new Cursor();
  readonly #target = new Cursor();

  constructor(
    readonly sourceId: number,
    readonly resolver: Resolver,
    readonly memory: PhysicalMemory,
  ) {}

  /** Reads into all of `into`; false says that it stopped after {@link done} bytes. */
  read(hi: number, lo: number, into: Uint8Array): boolean {
    const source = this.#begin(this.#source, hi, lo, into.length, DMA_READ);
    while (this.done < into.length) {
      if (!this.#gather(source)) return this.#refused(source);
      const { length } = source;
      if (!this.memory.readAt(source.hpaHi, source.hpaLo, into, this.done, length))
        return this.#gone(hi, lo, DMA_READ);
      this.done += length;
      source.length = 0;
    }
    return true;
  }

  /** Writes all of `from`. */
  write(hi: number, lo: number, from: Uint8Array): boolean {
    const isDone = this.#write(hi, lo, from);
    if (this.observer !== null) this.#tell(hi, lo);
    return isDone;
  }

  #tell(hi: number, lo: number): void {
    if (this.done > 0) this.observer!.wrote(hi, lo, this.done);
  }

  #write(hi: number, lo: number, from: Uint8Array): boolean {
    const target = this.#begin(this.#target, hi, lo, from.length, DMA_WRITE);
    while (this.done < from.length) {
      if (!this.#gather(target)) return this.#refused(target);
      const { length } = target;
      if (!this.memory.writeAt(target.hpaHi, target.hpaLo, from, this.done, length))
        return this.#gone(hi, lo, DMA_WRITE);
      this.done += length;
      target.length = 0;
    }
    return true;
  }

  /** Copies upwards, run by run. Where source and target overlap, that shows. */
  copy(hi: number, lo: number, toHi: number, toLo: number, length: number): boolean {
    const isDone = this.#copy(hi, lo, toHi, toLo, length);
    if (this.observer !== null) this.#tell(toHi, toLo);
    return isDone;
  }

  #copy(hi: number, lo: number, toHi: number, toLo: number, length: number): boolean {
    const source = this.#begin(this.#source, hi, lo, length, DMA_READ);
    const target = this.#begin(this.#target, toHi, toLo, length, DMA_WRITE);
    while (this.done < length) {
      if (!this.#gather(source)) return this.#refused(source);
      if (!this.#gather(target)) return this.#refused(target);
      const piece = Math.min(source.length, target.length);
      if (!this.memory.copy(source.hpaHi, source.hpaLo, target.hpaHi, target.hpaLo, piece)) {
        if (this.memory.isSourceGone) return this.#gone(hi, lo, DMA_READ);
        return this.#gone(toHi, toLo, DMA_WRITE);
      }
      this.done += piece;
      source.advance(piece);
      target.advance(piece);
    }
    return true;
  }

  /** AtomicOp FetchAdd; the address is a multiple of `width`. What was there is in {@link old}. */
  fetchAdd(hi: number, lo: number, width: AtomicWidth, operand: bigint): boolean {
    const target = this.#begin(this.#target, hi, lo, width, DMA_READ | DMA_WRITE);
    if (!this.#gather(target)) return this.#refused(target);
    const isDone = fetchAdd(this.memory, target.hpaHi, target.hpaLo, width, operand);
    return this.#endAtomic(isDone, hi, lo, width);
  }

  /** AtomicOp CAS, in the same way. */
  compareExchange(hi: number, lo: number, width: AtomicWidth, expected: bigint, value: bigint): boolean {
    const target = this.#begin(this.#target, hi, lo, width, DMA_READ | DMA_WRITE);
    if (!this.#gather(target)) return this.#refused(target);
    const isDone = compareExchange(this.memory, target.hpaHi, target.hpaLo, width, expected, value);
    return this.#endAtomic(isDone, hi, lo, width);
  }

  #endAtomic(isDone: boolean, hi: number, lo: number, width: AtomicWidth): boolean {
    if (!isDone) return this.#gone(hi, lo, DMA_READ | DMA_WRITE);
    const { loadedHi, loadedLo } = this.memory;
    this.old = width === 8 ? joinWords(loadedHi, loadedLo) : BigInt(loadedLo >>> 0);
    this.done = width;
    if (this.observer !== null) this.#tell(hi, lo);
    return true;
  }

  #begin(cursor: Cursor, hi: number, lo: number, length: number, access: number): Cursor {
    this.done = 0;
    cursor.start(hi, lo, length, access | this.attributes);
    return cursor;
  }

  /** Sees to it that there is a run in hand, the longest that there is. False: the first byte of it was refused. */
  #gather(cursor: Cursor): boolean {
    if (cursor.length > 0) return true;
    if (cursor.ahead === 0 && !this.#translate(cursor)) return false;
    cursor.take();
    while (cursor.left > 0 && this.#translate(cursor)) if (!cursor.join()) break;
    return true;
  }

  /** Asks for the next block. */
  #translate(cursor: Cursor): boolean {
    if (cursor.isRefused) return false;
    const request = this.#request;
    request.sourceId = this.sourceId;
    request.pasid = this.pasid;
    request.hi = cursor.hi;
    request.lo = cursor.lo;
    request.access = cursor.access;
    request.addressType = AT_UNTRANSLATED;
    request.reason = 0;
    request.recoverable = false;
    if (!this.resolver.translate(request)) {
      cursor.isRefused = true;
      cursor.reason = request.reason;
      cursor.recoverable = request.recoverable;
      return false;
    }
    const length = Math.min(cursor.left, roomInBlock(cursor.hi, cursor.lo, request.sizeLg2));
    cursor.aheadHi = request.hpaHi;
    cursor.aheadLo = request.hpaLo;
    cursor.ahead = length;
    cursor.left -= length;
    cursor.hi = (cursor.hi + carry(cursor.lo, length)) | 0;
    cursor.lo = (cursor.lo + length) | 0;
    return true;
  }

  #refused(cursor: Cursor): false {
    this.stop = 'refused';
    this.stopHi = cursor.hi;
    this.stopLo = cursor.lo;
    this.stopAccess = cursor.access;
    this.reason = cursor.reason;
    this.recoverable = cursor.recoverable;
    return false;
  }

  /** Memory that is mapped and not there, as of a file that was cut short: somewhere in the run at {@link done}. */
  #gone(hi: number, lo: number, access: number): false {
    this.stop = 'gone';
    this.stopHi = (hi + carry(lo, this.done)) | 0;
    this.stopLo = (lo + this.done) | 0;
    this.stopAccess = access | this.attributes;
    this.reason = 0;
    this.recoverable = false;
    return false;
  }
}

/** What the high word gains when `length` is added to the low one. */
function carry(lo: number, length: number): number {
  return (lo >>> 0) + length > 0xffff_ffff ? 1 : 0;
}

/** Bytes from (hi, lo) to the end of the aligned block of `1 << sizeLg2` bytes around it; no more than are ever asked. */
function roomInBlock(hi: number, lo: number, sizeLg2: number): number {
  if (sizeLg2 < 30) return (1 << sizeLg2) - (lo & ((1 << sizeLg2) - 1));
  const bits = Math.min(sizeLg2, 52);
  const high = bits > 32 ? hi & ((1 << (bits - 32)) - 1) : 0;
  const low = bits >= 32 ? lo >>> 0 : (lo & (2 ** bits - 1)) >>> 0;
  return Math.min(MAX_DMA_BYTES, 2 ** bits - high * 2 ** 32 - low);
}
