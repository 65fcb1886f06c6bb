/** Sizes that the whole object model shares. */

/** The CPU's page; pins and accounting count these. */
export const PAGE_SIZE = 4096n;
export const PAGE_BYTES = 4096;
/** ULONG_MAX: the last address there is. */
export const U64_MAX = (1n << 64n) - 1n;

/** Down to a multiple of the page size. */
export const pageDown = (at: bigint): bigint => at & ~(PAGE_SIZE - 1n);

/** The page that byte `at` lies in, as an index. */
export const pageIndex = (at: bigint): number => Number(at >> 12n);

/** Distance into the page. */
export const pageOffset = (at: bigint): bigint => at & (PAGE_SIZE - 1n);

export const pageToBytes = (pages: number): bigint => BigInt(pages) << 12n;

/** True when `at` is not a multiple of `alignment`, a power of two. */
export const misaligned = (at: bigint, alignment: bigint): boolean => (at & (alignment - 1n)) !== 0n;
