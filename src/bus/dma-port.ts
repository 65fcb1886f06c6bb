/**
 * How a device masters memory: an address and a length in, bytes moved or a fault out. The port asks a translator for
 * every block, joins what is adjacent in physical memory, and touches memory once for each such run, so that a device
 * cannot reach a byte that the translator did not name. It neither knows what translates nor how. One operation at a time:
 * whoever is asked on its behalf, or has the memory, and begins another meanwhile is told so by an exception.
 * Nothing here allocates for an operation that succeeds.
 */
import { carry, joinWords } from '../base/words.js';
import { compareExchange, fetchAdd, type AtomicWidth } from '../mem/atomic.js';
import type { PhysicalMemory } from '../mem/physical.js';
import { copyRuns, readRuns, RunList, writeRuns } from '../mem/runs.js';
import { copyBytes } from '../mem/copy-bytes.js';
import { Cursor } from './cursor.js';
import { AT_UNTRANSLATED, DMA_READ, DMA_WRITE, NO_PASID, Translation, type Translator } from './dma.js';

/** Why an operation stopped: a translation was refused, or what is mapped there is no memory any more. */
export type DmaStop = 'refused' | 'gone';

/** What translates for a port: a unit, or a cache of the device in front of one. */
export type Resolver = Pick<Translator, 'translate' | 'translateRuns'>;

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
  /** An operation is asking or moving: what it has in hand is not for another. */
  #isBusy = false;
  readonly #request = new Translation();
  readonly #source: Cursor;
  readonly #target: Cursor;

  constructor(
    readonly sourceId: number,
    readonly resolver: Resolver,
    readonly memory: PhysicalMemory,
  ) {
    this.#source = new Cursor(memory);
    this.#target = new Cursor(memory);
  }

  /** Reads into all of `into`; false says that it stopped after {@link done} bytes. */
  read(hi: number, lo: number, into: Uint8Array): boolean {
    this.#mustBeAlone();
    return this.#readHeld(hi, lo, into) || this.#transfer(this.#source, hi, lo, into, DMA_READ);
  }

  #mustBeAlone(): void {
    if (this.#isBusy) throw new Error('a device began an operation while it was asked about another');
  }

  #readHeld(hi: number, lo: number, into: Uint8Array): boolean {
    const { held } = this.#source;
    const { length } = into;
    if (!held.has(hi, lo, length, DMA_READ | this.attributes, this.pasid)) return false;
    copyBytes(held.bytes, held.at, into, 0, length);
    this.done = length;
    return held.alive;
  }

  /** Reads into all of `bytes`, or writes all of them, whichever `access` says. */
  #transfer(cursor: Cursor, hi: number, lo: number, bytes: Uint8Array, access: number): boolean {
    this.#isBusy = true;
    try {
      this.#begin(cursor, hi, lo, bytes.length, access);
      while (this.done < bytes.length) {
        if (!this.#gather(cursor, cursor.left)) return this.#refused(cursor);
        const { runs } = cursor;
        const moved =
          access === DMA_READ
            ? readRuns(this.memory, runs, bytes, this.done)
            : writeRuns(this.memory, runs, bytes, this.done);
        this.done += moved;
        if (moved === runs.bytes) cursor.finish(hi, lo, this.done);
        else if (cursor.mayAskAgain(this.done)) cursor.restart(hi, lo, this.done, bytes.length - this.done);
        else return this.#gone(hi, lo, access);
      }
      return true;
    } finally {
      this.#isBusy = false;
    }
  }

  /** Writes all of `from`. */
  write(hi: number, lo: number, from: Uint8Array): boolean {
    this.#mustBeAlone();
    const isDone = this.#writeHeld(hi, lo, from) || this.#transfer(this.#target, hi, lo, from, DMA_WRITE);
    if (this.observer !== null) this.#tell(hi, lo);
    return isDone;
  }

  #tell(hi: number, lo: number): void {
    if (this.done > 0) this.observer!.wrote(hi, lo, this.done);
  }

  #writeHeld(hi: number, lo: number, from: Uint8Array): boolean {
    const { held } = this.#target;
    const { length } = from;
    if (!held.has(hi, lo, length, DMA_WRITE | this.attributes, this.pasid)) return false;
    copyBytes(from, 0, held.bytes, held.at, length);
    this.done = length;
    return held.alive;
  }

  /** Copies upwards, run by run. Where source and target overlap, that shows. */
  copy(hi: number, lo: number, toHi: number, toLo: number, length: number): boolean {
    this.#mustBeAlone();
    const isDone = this.#copyHeld(hi, lo, toHi, toLo, length) || this.#copyAlone(hi, lo, toHi, toLo, length);
    if (this.observer !== null) this.#tell(toHi, toLo);
    return isDone;
  }

  #copyAlone(hi: number, lo: number, toHi: number, toLo: number, length: number): boolean {
    this.#isBusy = true;
    try {
      return this.#copy(hi, lo, toHi, toLo, length);
    } finally {
      this.#isBusy = false;
    }
  }

  #copyHeld(hi: number, lo: number, toHi: number, toLo: number, length: number): boolean {
    const source = this.#source.held;
    const target = this.#target.held;
    const { attributes, pasid } = this;
    if (!source.has(hi, lo, length, DMA_READ | attributes, pasid)) return false;
    if (!target.has(toHi, toLo, length, DMA_WRITE | attributes, pasid)) return false;
    copyBytes(source.bytes, source.at, target.bytes, target.at, length);
    this.done = length;
    return source.alive && target.alive;
  }

  #copy(hi: number, lo: number, toHi: number, toLo: number, length: number): boolean {
    const source = this.#begin(this.#source, hi, lo, length, DMA_READ);
    const target = this.#begin(this.#target, toHi, toLo, length, DMA_WRITE);
    while (this.done < length) {
      if (!this.#gather(source, source.left)) return this.#refused(source);
      // No more than can be moved: what is asked for to be written may become dirty.
      if (!this.#gather(target, source.runs.bytes)) return this.#refused(target);
      const { bytes } = target.runs;
      const moved = copyRuns(this.memory, source.runs, target.runs);
      this.done += moved;
      if (moved < bytes) {
        const { isSourceGone } = this.memory;
        if (!(isSourceGone ? source : target).mayAskAgain(this.done)) {
          return isSourceGone ? this.#gone(hi, lo, DMA_READ) : this.#gone(toHi, toLo, DMA_WRITE);
        }
        source.restart(hi, lo, this.done, length - this.done);
        target.restart(toHi, toLo, this.done, length - this.done);
        continue;
      }
      if (moved === source.runs.bytes) source.finish(hi, lo, this.done);
      else source.drop(moved);
      target.finish(toHi, toLo, this.done);
    }
    return true;
  }

  /** AtomicOp FetchAdd; the address is a multiple of `width`. What was there is in {@link old}. */
  fetchAdd(hi: number, lo: number, width: AtomicWidth, operand: bigint): boolean {
    return this.#atomicAlone(hi, lo, width, null, operand);
  }

  /** AtomicOp CAS, in the same way. */
  compareExchange(hi: number, lo: number, width: AtomicWidth, expected: bigint, value: bigint): boolean {
    return this.#atomicAlone(hi, lo, width, expected, value);
  }

  #atomicAlone(hi: number, lo: number, width: AtomicWidth, expected: bigint | null, value: bigint): boolean {
    this.#mustBeAlone();
    this.#isBusy = true;
    try {
      if (!this.#atomic(hi, lo, width, expected, value)) return false;
    } finally {
      this.#isBusy = false;
    }
    if (this.observer !== null) this.#tell(hi, lo);
    return true;
  }

  #atomic(hi: number, lo: number, width: AtomicWidth, expected: bigint | null, value: bigint): boolean {
    const target = this.#begin(this.#target, hi, lo, width, DMA_READ | DMA_WRITE);
    const { memory } = this;
    for (;;) {
      if (!this.#gather(target, width)) return this.#refused(target);
      const { words } = target.runs;
      const isDone =
        expected === null
          ? fetchAdd(memory, words[0]!, words[1]!, width, value)
          : compareExchange(memory, words[0]!, words[1]!, width, expected, value);
      if (isDone) break;
      if (!target.mayAskAgain(0)) return this.#gone(hi, lo, DMA_READ | DMA_WRITE);
      target.restart(hi, lo, 0, width);
    }
    this.old = width === 8 ? joinWords(memory.loadedHi, memory.loadedLo) : BigInt(memory.loadedLo >>> 0);
    this.done = width;
    return true;
  }

  #begin(cursor: Cursor, hi: number, lo: number, length: number, access: number): Cursor {
    this.done = 0;
    cursor.start(hi, lo, length, access | this.attributes, this.pasid);
    return cursor;
  }

  /** Sees to it that there are runs in hand, of `most` bytes at most. False: the first byte of them was refused. */
  #gather(cursor: Cursor, most: number): boolean {
    const { runs } = cursor;
    if (runs.bytes > 0) return true;
    if (cursor.isRefused) return false;
    if (cursor.recall(most)) return true;
    const request = this.#request;
    request.sourceId = this.sourceId;
    request.pasid = cursor.pasid;
    request.hi = cursor.hi;
    request.lo = cursor.lo;
    request.access = cursor.access;
    request.addressType = AT_UNTRANSLATED;
    request.reason = 0;
    request.recoverable = false;
    const { resolver } = this;
    const isAnswered =
      resolver.translateRuns === undefined
        ? this.#translateRuns(request, most, runs)
        : resolver.translateRuns(request, most, runs);
    cursor.pass(runs.bytes);
    if (isAnswered) return true;
    cursor.isRefused = true;
    cursor.reason = request.reason;
    cursor.recoverable = request.recoverable;
    return runs.bytes > 0;
  }

  /** {@link Translator.translateRuns} for those who answer block by block. */
  #translateRuns(request: Translation, length: number, runs: RunList): boolean {
    const { access } = request;
    let { hi, lo } = request;
    while (length > 0 && !runs.isFull) {
      request.hi = hi;
      request.lo = lo;
      request.access = access;
      request.addressType = AT_UNTRANSLATED;
      if (!this.resolver.translate(request)) return false;
      const block = Math.min(length, roomInBlock(hi, lo, request.sizeLg2));
      runs.add(request.hpaHi, request.hpaLo, block);
      length -= block;
      hi = (hi + carry(lo, block)) | 0;
      lo = (lo + block) | 0;
    }
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

/** Bytes from (hi, lo) to the end of the aligned block of `1 << sizeLg2` bytes around it; no more than are ever asked. */
function roomInBlock(hi: number, lo: number, sizeLg2: number): number {
  if (sizeLg2 < 30) return (1 << sizeLg2) - (lo & ((1 << sizeLg2) - 1));
  const bits = Math.min(sizeLg2, 52);
  const high = bits > 32 ? hi & ((1 << (bits - 32)) - 1) : 0;
  const low = bits >= 32 ? lo >>> 0 : (lo & (2 ** bits - 1)) >>> 0;
  return Math.min(MAX_DMA_BYTES, 2 ** bits - high * 2 ** 32 - low);
}
