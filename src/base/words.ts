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
