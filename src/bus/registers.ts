/**
 * Registers as data: bytes, which bits of them a store changes, and which a stored 1 clears. What is not defined is
 * read-only and 0. The same for configuration space and for the image of a BAR. Little-endian.
 */
import { invariant } from '../base/errno.js';
import type { RegisterRegion, StoreWidth } from './region.js';

/** Bits of a register, by what a store does to them; all others stay. */
export interface RegisterBits {
  /** What it is before anybody has stored to it. Default 0. */
  readonly reset?: number;
  /** Default none. */
  readonly writable?: number;
  /** A stored 1 clears. Default none. */
  readonly clears?: number;
}

/** Runs after a store that touched one of its bytes. */
type Act = () => void;

interface Watch {
  readonly first: number;
  readonly last: number;
  readonly act: Act;
}

const WORD = 4;

export class Registers implements RegisterRegion {
  readonly kind = 'registers';
  readonly #view: DataView;
  readonly #writable: Uint8Array;
  readonly #clears: Uint8Array;
  /** What {@link reset} brings back. */
  readonly #initial: Uint8Array;
  /** By the 4 bytes that they touch. */
  readonly #watches: (Watch[] | undefined)[] = [];

  constructor(readonly image: Uint8Array) {
    const { length } = image;
    this.#view = new DataView(image.buffer, image.byteOffset, length);
    this.#writable = new Uint8Array(length);
    this.#clears = new Uint8Array(length);
    this.#initial = new Uint8Array(length);
  }

  /** A register of `length` bytes: what it starts with, and what stores do. */
  define(offset: number, length: 1 | 2 | 4, bits: RegisterBits, act: Act | null = null): void {
    const { reset = 0, writable = 0, clears = 0 } = bits;
    invariant((writable & clears) === 0, `bits of register ${offset} are written and cleared`);
    for (let i = 0; i < length; i++) {
      this.#writable[offset + i] = writable >>> (8 * i);
      this.#clears[offset + i] = clears >>> (8 * i);
    }
    this.fix(offset, length, reset);
    if (act !== null) this.watch(offset, length, act);
  }

  /** `act` runs after each store to one of these bytes. */
  watch(offset: number, length: number, act: Act): void {
    const watch = { first: offset, last: offset + length - 1, act };
    for (let word = Math.floor(offset / WORD); word * WORD <= watch.last; word++) {
      const others = this.#watches[word];
      if (others === undefined) this.#watches[word] = [watch];
      else others.push(watch);
    }
  }

  /** Unsigned. */
  get(offset: number, length: 1 | 2 | 4): number {
    if (length === 4) return this.#view.getUint32(offset, true);
    return length === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint8(offset);
  }

  /** The device changes what loads see. */
  set(offset: number, length: 1 | 2 | 4, value: number): void {
    if (length === 4) this.#view.setUint32(offset, value, true);
    else if (length === 2) this.#view.setUint16(offset, value, true);
    else this.#view.setUint8(offset, value);
  }

  /** The same, for good: a reset brings this value back. */
  fix(offset: number, length: 1 | 2 | 4, value: number): void {
    this.set(offset, length, value);
    this.#initial.set(this.image.subarray(offset, offset + length), offset);
  }

  store(offset: number, width: StoreWidth, lo: number, hi: number): void {
    for (let i = 0; i < width; i++) {
      const stored = (i < WORD ? lo >>> (8 * i) : hi >>> (8 * (i - WORD))) & 0xff;
      const at = offset + i;
      const old = this.image[at]!;
      const writable = this.#writable[at]!;
      this.image[at] = ((old & ~writable) | (stored & writable)) & ~(stored & this.#clears[at]!);
    }
    const word = offset >>> 2;
    this.#tell(word, offset, width);
    if (width === 8) this.#tell(word + 1, offset, width);
  }

  /** What is also in the list of the word before, as a register of 8 bytes, was told there. */
  #tell(word: number, offset: number, width: number): void {
    const watches = this.#watches[word];
    if (watches === undefined) return;
    for (const { first, last, act } of watches) {
      const isTold = first < word * WORD && offset < word * WORD;
      if (!isTold && first < offset + width && last >= offset) act();
    }
  }

  /** As before the first store. Nothing acts. */
  reset(first = 0, last = this.image.length - 1): void {
    this.image.set(this.#initial.subarray(first, last + 1), first);
  }
}
