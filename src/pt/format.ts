/**
 * What a page-table format has to say: where its bits are. The algorithms (walk, map, unmap, dirty) exist once
 * and ask. Level 0 holds leaves only. A *leaf* translates; it may fill several adjacent *items* of its table,
 * all with the same bits. A 64-bit value is two int32 words.
 */

/** What an entry is. */
export const EMPTY = 0;
export const TABLE = 1;
export const LEAF = 2;
/** Present, but no walker of this format would follow it. */
export const INVALID = 3;

/** What an entry allows; READ and WRITE are IOMMU_READ and IOMMU_WRITE. A table that knows no EXEC or no USER allows it. */
export const READ = 1;
export const WRITE = 2;
export const EXEC = 4;
export const USER = 8;
export const EVERYTHING = READ | WRITE | EXEC | USER;
/** Beside READ and WRITE, to a table that can: the device snoops caches, whatever its request says. */
export const COHERENT = 16;

/** Tables are 4 KiB, items 8 bytes, in every format so far. */
export const TABLE_LG2 = 12;
export const ITEMS_LG2 = 9;
export const ITEMS = 1 << ITEMS_LG2;

export interface PageTableFormat {
  readonly name: string;
  /** The smallest leaf, and what one item of level 0 covers. */
  readonly granuleLg2: number;
  readonly maxVaLg2: number;
  readonly maxOaLg2: number;
  /** The levels that can be the root. */
  readonly minTopLevel: number;
  readonly maxTopLevel: number;
  /** Whether the root may move up while the table is in use. */
  readonly hasDynamicTop: boolean;
  /** Whether an address's top bit extends upwards; what ioasis maps is the lower half. */
  readonly isSignExtended: boolean;
  /** Bits that a device's access sets in the leaf, and in every entry on the way where those have them, if its unit is told to. */
  readonly accessedHi: number;
  readonly accessedLo: number;
  /** Bits that a device's write sets in a leaf. */
  readonly dirtyHi: number;
  readonly dirtyLo: number;

  /** Leaf sizes at `level`, as a bitmap. */
  possibleSizes(level: number): bigint;
  /** EMPTY, TABLE, LEAF or INVALID. */
  kind(hi: number, lo: number, level: number): number;
  /** Of an entry that is not EMPTY: whether it has something set that must be 0. Only hardware looks. */
  isReserved(hi: number, lo: number, level: number): boolean;
  /** Size of the leaf that this item is part of. */
  leafLg2(hi: number, lo: number, level: number): number;
  /** Output address of the first byte of the leaf, when it has `1 << sizeLg2` bytes. */
  leafHi(hi: number, lo: number, sizeLg2: number): number;
  leafLo(hi: number, lo: number, sizeLg2: number): number;
  /** Address of the table that a TABLE entry points to. */
  tableHi(hi: number, lo: number): number;
  tableLo(hi: number, lo: number): number;
  /** The level of that table; below `level`. Tables that ioasis makes skip none. */
  nextLevel(hi: number, lo: number, level: number): number;
  /** READ | WRITE | EXEC | USER as this entry alone allows it. */
  protOf(hi: number, lo: number): number;

  /** The words of a leaf of `1 << sizeLg2` bytes at `level`; `attr` words are those of {@link attrHi}. */
  makeLeafHi(oaHi: number, oaLo: number, sizeLg2: number, level: number): number;
  makeLeafLo(oaHi: number, oaLo: number, sizeLg2: number, level: number): number;
  /** The words of READ | WRITE | COHERENT. */
  attrHi(prot: number): number;
  attrLo(prot: number): number;
  /** The words of an entry of `level` that points to a table. */
  makeTableHi(tableHi: number, tableLo: number, level: number): number;
  makeTableLo(tableHi: number, tableLo: number, level: number): number;
}

/** What one item of `level` covers. */
export function itemLg2(format: PageTableFormat, level: number): number {
  return format.granuleLg2 + ITEMS_LG2 * level;
}

/** The level whose items or runs of items hold leaves of `1 << sizeLg2` bytes. */
export function levelOfSize(format: PageTableFormat, sizeLg2: number): number {
  return Math.floor((sizeLg2 - format.granuleLg2) / ITEMS_LG2);
}
