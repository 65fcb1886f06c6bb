/**
 * Sizes that the whole object model shares, and what becomes of addresses by them. Values are 64 bits wide. Words are
 * used where that is possible, because each step on a bigint makes another one.
 */
import { highWord, joinWords, lowWord } from '../base/words.js';

/** The CPU's page; pins and accounting count these. */
export const PAGE_SIZE = 4096n;
export const PAGE_BYTES = 4096;
/** ULONG_MAX: the last address there is. */
export const U64_MAX = (1n << 64n) - 1n;

/** Down to a multiple of the page size. */
export const pageDown = (at: bigint): bigint => joinWords(highWord(at), lowWord(at) & -PAGE_BYTES);

/** The page that byte `at` lies in, as an index. */
export const pageIndex = (at: bigint): number => (highWord(at) >>> 0) * 2 ** 20 + (lowWord(at) >>> 12);

/** Distance into the page. */
export const pageOffset = (at: bigint): bigint => {
  const offset = lowWord(at) & (PAGE_BYTES - 1);
  return offset === 0 ? 0n : BigInt(offset);
};

export const pageToBytes = (pages: number): bigint => BigInt(pages) << 12n;

/** True when `at` is not a multiple of `alignment`, a power of two. */
export const misaligned = (at: bigint, alignment: bigint): boolean =>
  alignment !== 1n && (at & (alignment - 1n)) !== 0n;
