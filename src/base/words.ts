/**
 * 64-bit values as two int32 words, high and low: what is kept for long, or worked with often, is kept so, because
 * a bigint is an object of its own. Int32 and not uint32, because V8 keeps only the former without an object.
 */

const pair = new BigUint64Array(1);
const words = new Int32Array(pair.buffer);

export function highWord(value: bigint): number {
  pair[0] = value;
  return words[1]!;
}

export function lowWord(value: bigint): number {
  pair[0] = value;
  return words[0]!;
}

export function joinWords(hi: number, lo: number): bigint {
  words[0] = lo;
  words[1] = hi;
  return pair[0]!;
}

const SIGN = -0x80000000;

/** Whether one value is below another, both without a sign. */
export function isBelow(aHi: number, aLo: number, bHi: number, bLo: number): boolean {
  return (aHi ^ SIGN) < (bHi ^ SIGN) || (aHi === bHi && (aLo ^ SIGN) < (bLo ^ SIGN));
}

/** High word of the sum of two values; the low one is `(aLo + bLo) | 0`. What passes 2^64-1 is lost. */
export function sumHigh(aHi: number, aLo: number, bHi: number, bLo: number): number {
  const lo = (aLo + bLo) | 0;
  return (aHi + bHi + ((lo ^ SIGN) < (aLo ^ SIGN) ? 1 : 0)) | 0;
}

/** What the high word gains when `length` (below 4 GiB) is added to the low one. */
export function carry(lo: number, length: number): number {
  return (lo + length) >>> 0 < lo >>> 0 ? 1 : 0;
}

/** High word of the last address of `length` (1 or more) from `start` on; the low one is {@link lastLow}. */
export function lastHigh(startHi: number, startLo: number, lengthHi: number, lengthLo: number): number {
  return sumHigh(startHi, startLo, (lengthHi - (lengthLo === 0 ? 1 : 0)) | 0, (lengthLo - 1) | 0);
}

export function lastLow(startLo: number, lengthLo: number): number {
  return (startLo + lengthLo - 1) | 0;
}
