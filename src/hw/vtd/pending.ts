/** Bits that a walk will set in entries once it is known to succeed; an entry that is passed twice is written once. */
import type { EntryMemory } from '../../mem/physical.js';

/** Levels of a first stage, each through every level of a second, and the second stage of the result. */
const MOST = 5 * (5 + 1) + 5;
const HI = 0;
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
    for (let at = 0; at < this.#length; at += STRIDE) {
      if (words[at + LO] !== lo || words[at + HI] !== hi) continue;
      words[at + BITS] = words[at + BITS]! | bits;
      return;
    }
    words[this.#length + HI] = hi;
    words[this.#length + LO] = lo;
    words[this.#length + EXPECTED] = expected;
    words[this.#length + BITS] = bits;
    this.#length += STRIDE;
  }

  /** Takes bits back that turned out not to be wanted. */
  remove(hi: number, lo: number, bits: number): void {
    const words = this.#words;
    for (let at = 0; at < this.#length; at += STRIDE) {
      if (words[at + LO] === lo && words[at + HI] === hi) words[at + BITS] = words[at + BITS]! & ~bits;
    }
  }

  /** Sets them all. False: an entry is no longer what it was, or cannot be written; some may be set then. */
  apply(memory: EntryMemory): boolean {
    const words = this.#words;
    for (let at = 0; at < this.#length; at += STRIDE) {
      if (words[at + BITS] === 0) continue;
      if (!memory.setBits64(words[at]!, words[at + LO]!, words[at + EXPECTED]!, words[at + BITS]!))
        return false;
    }
    return true;
  }
}
