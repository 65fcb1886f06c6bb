/** A bitmap of leaf sizes, answered by table: which one fits, and which comes next. */
import { highWord, lowWord, shiftRight } from './words.js';

export class PageSizes {
  readonly bitmap: bigint;
  readonly smallestLg2: number;
  /** By limit: lg2 of the largest size that is not above it, or -1. */
  readonly #fit = new Int8Array(65);
  /** By size: lg2 of the next larger one, or 64. */
  readonly #above = new Int8Array(65);

  constructor(bitmap: bigint) {
    this.bitmap = bitmap;
    const hi = highWord(bitmap);
    const lo = lowWord(bitmap);
    let largest = -1;
    for (let lg2 = 0; lg2 < 64; lg2 += 1) {
      if ((shiftRight(hi, lo, lg2) & 1) === 1) largest = lg2;
      this.#fit[lg2] = largest;
    }
    this.#fit[64] = largest;
    let next = 64;
    this.#above[64] = next;
    for (let lg2 = 63; lg2 >= 0; lg2 -= 1) {
      this.#above[lg2] = next;
      if ((shiftRight(hi, lo, lg2) & 1) === 1) next = lg2;
    }
    this.smallestLg2 = next;
  }

  /** lg2 of the largest size up to `1 << limitLg2`, or -1. */
  largestUpTo(limitLg2: number): number {
    return this.#fit[limitLg2]!;
  }

  /** lg2 of the next size above `1 << lg2`, or 64. */
  above(lg2: number): number {
    return this.#above[lg2]!;
  }
}
