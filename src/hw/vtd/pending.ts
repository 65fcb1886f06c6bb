/** Bits that a walk will set in entries once it is known to succeed; an entry that is passed twice is written once. */
import type { EntryMemory } from '../../mem/physical.js';

/** Levels of a first stage, each through every level of a second, and the second stage of the result. */
const MOST = 5 * (5 + 1) + 5;
const LO = 1;
const EXPECTED = 2;
const BITS = 3;
const STRIDE = 4;

export class Pending {
  readonly #words = new Int32Array(MOST * STRIDE);
  #length = 0;
  /** Whether any of them is in a first-stage entry. */
  hasFirst = false;

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  clear(): void {
    this.#length = 0;
    this.hasFirst = false;
  }

  /** Notes `bits` for the low half of the entry at an HPA, which was read as `expected`. */
  add(hi: number, lo: number, expected: number, bits: number): void {
    const words = this.#words;
    const at = this.#find(hi, lo);
    if (at < this.#length) {
      words[at + BITS] = words[at + BITS]! | bits;
      return;
    }
    words[at] = hi;
    words[at + LO] = lo;
    words[at + EXPECTED] = expected;
    words[at + BITS] = bits;
    this.#length += STRIDE;
  }

  /** Index of an entry, or of where the next one goes. */
  #find(hi: number, lo: number): number {
    const words = this.#words;
    let at = 0;
    while (at < this.#length && (words[at + LO] !== lo || words[at] !== hi)) at += STRIDE;
    return at;
  }

  /** Sets them all. False: an entry is no longer what it was, or cannot be written; some may be set then. */
  apply(memory: EntryMemory): boolean {
    const words = this.#words;
    for (let at = 0; at < this.#length; at += STRIDE) {
      if (!memory.setBits64(words[at]!, words[at + LO]!, words[at + EXPECTED]!, words[at + BITS]!))
        return false;
    }
    return true;
  }
}
