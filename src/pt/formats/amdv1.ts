/**
 * AMD I/O page tables, version 1: AMD I/O Virtualization Technology (IOMMU) specification 48882, 2.2.3.
 * Level 0 here is mode 1 there. A leaf of the level's own size has Next Level 0; any other power of two has
 * Next Level 7, its size in the trailing ones of the address field, and is repeated in every item that it covers.
 */
import {
  COHERENT,
  EMPTY,
  EXEC,
  INVALID,
  ITEMS_LG2,
  LEAF,
  READ,
  TABLE,
  USER,
  WRITE,
  type PageTableFormat,
} from '../format.js';
import { maskFromHi, maskFromLo } from '../words.js';

/** Low word. */
const PR = 1 << 0;
const A = 1 << 5;
const D = 1 << 6;
const NEXT_LEVEL_SHIFT = 9;
const NEXT_LEVEL_MASK = 7;
const ADDRESS_LO = -1 << 12;
/** High word. */
const ADDRESS_HI = 0x000f_ffff;
const FC = 1 << (60 - 32);
const IR = 1 << (61 - 32);
const IW = 1 << (62 - 32);

/** A leaf has U (59) and FC (60) where a pointer has nothing. */
const RESERVED_LEAF_HI = 0x07f0_0000;
const RESERVED_TABLE_HI = 0x1ff0_0000;

const NEXT_LEVEL_LEAF = 0;
const NEXT_LEVEL_SIZED_LEAF = 7;
/** Bits of the address field that are in the low word. */
const FIELD_LO_BITS = 20;
/** A hardware erratum takes this size away; Linux never uses it. */
const SIZE_512_GIB = 1n << 39n;

interface Shape {
  readonly name: string;
  readonly granuleLg2: number;
  readonly maxVaLg2: number;
  readonly maxOaLg2: number;
  readonly maxTopLevel: number;
  readonly hasDynamicTop: boolean;
}

class AmdV1 implements PageTableFormat {
  readonly name: string;
  readonly granuleLg2: number;
  readonly maxVaLg2: number;
  readonly maxOaLg2: number;
  readonly maxTopLevel: number;
  readonly hasDynamicTop: boolean;
  readonly minTopLevel = 1;
  readonly isSignExtended = false;
  readonly accessedHi = 0;
  readonly accessedLo = A;
  readonly dirtyHi = 0;
  readonly dirtyLo = D;
  /** The address field counts granules from bit 12: how far that shifts an address up (0 or 1). */
  readonly #shift: number;

  constructor(shape: Shape) {
    this.name = shape.name;
    this.granuleLg2 = shape.granuleLg2;
    this.maxVaLg2 = shape.maxVaLg2;
    this.maxOaLg2 = shape.maxOaLg2;
    this.maxTopLevel = shape.maxTopLevel;
    this.hasDynamicTop = shape.hasDynamicTop;
    this.#shift = 12 - shape.granuleLg2;
  }

  possibleSizes(level: number): bigint {
    if (level >= this.maxTopLevel) return 0n;
    const first = this.granuleLg2 + ITEMS_LG2 * level;
    const last = Math.min(51, first + ITEMS_LG2 - 1);
    return ((1n << BigInt(last + 1)) - (1n << BigInt(first))) & ~SIZE_512_GIB;
  }

  kind(_hi: number, lo: number, level: number): number {
    if ((lo & PR) === 0) return EMPTY;
    const nextLevel = (lo >>> NEXT_LEVEL_SHIFT) & NEXT_LEVEL_MASK;
    if (nextLevel === NEXT_LEVEL_LEAF || nextLevel === NEXT_LEVEL_SIZED_LEAF) {
      return level < this.maxTopLevel ? LEAF : INVALID;
    }
    return nextLevel <= level ? TABLE : INVALID;
  }

  isReserved(hi: number, lo: number, level: number): boolean {
    const nextLevel = (lo >>> NEXT_LEVEL_SHIFT) & NEXT_LEVEL_MASK;
    if (nextLevel === NEXT_LEVEL_LEAF) return (hi & RESERVED_LEAF_HI) !== 0;
    if (nextLevel !== NEXT_LEVEL_SIZED_LEAF) return (hi & RESERVED_TABLE_HI) !== 0;
    return (hi & RESERVED_LEAF_HI) !== 0 || !this.#isSizeOf(this.#codedLg2(hi, lo), level);
  }

  leafLg2(hi: number, lo: number, level: number): number {
    const own = this.granuleLg2 + ITEMS_LG2 * level;
    if (((lo >>> NEXT_LEVEL_SHIFT) & NEXT_LEVEL_MASK) !== NEXT_LEVEL_SIZED_LEAF) return own;
    return Math.min(Math.max(this.#codedLg2(hi, lo), own), own + ITEMS_LG2);
  }

  // UNSPECIFIED (2.2.3): address bits below a leaf of its level's own size. Chosen: ignored.
  leafHi(hi: number, _lo: number, sizeLg2: number): number {
    return ((hi & ADDRESS_HI) >>> this.#shift) & maskFromHi(sizeLg2);
  }

  leafLo(hi: number, lo: number, sizeLg2: number): number {
    return this.tableLo(hi, lo) & maskFromLo(sizeLg2);
  }

  tableHi(hi: number, _lo: number): number {
    return (hi & ADDRESS_HI) >>> this.#shift;
  }

  tableLo(hi: number, lo: number): number {
    return ((lo & ADDRESS_LO) >>> this.#shift) | ((hi & this.#shift) << 31);
  }

  nextLevel(_hi: number, lo: number, _level: number): number {
    return ((lo >>> NEXT_LEVEL_SHIFT) & NEXT_LEVEL_MASK) - 1;
  }

  protOf(hi: number, _lo: number): number {
    return ((hi & IR) === 0 ? 0 : READ) | ((hi & IW) === 0 ? 0 : WRITE) | EXEC | USER;
  }

  makeLeafHi(oaHi: number, oaLo: number, sizeLg2: number, level: number): number {
    const ones = this.#sizeOnes(sizeLg2, level) - FIELD_LO_BITS;
    return this.#fieldHi(oaHi, oaLo) | (ones > 0 ? (1 << ones) - 1 : 0);
  }

  makeLeafLo(_oaHi: number, oaLo: number, sizeLg2: number, level: number): number {
    const address = (oaLo << this.#shift) & ADDRESS_LO;
    const ones = this.#sizeOnes(sizeLg2, level);
    if (ones < 0) return address | PR;
    const field = ones >= FIELD_LO_BITS ? ADDRESS_LO : ((1 << ones) - 1) << 12;
    return address | field | (NEXT_LEVEL_SIZED_LEAF << NEXT_LEVEL_SHIFT) | PR;
  }

  attrHi(prot: number): number {
    const coherent = (prot & COHERENT) === 0 ? 0 : FC;
    return ((prot & READ) === 0 ? 0 : IR) | ((prot & WRITE) === 0 ? 0 : IW) | coherent;
  }

  attrLo(_prot: number): number {
    return 0;
  }

  makeTableHi(tableHi: number, tableLo: number, _level: number): number {
    // Permissions are ANDed along the walk; the leaf alone decides.
    return this.#fieldHi(tableHi, tableLo) | IR | IW;
  }

  makeTableLo(_tableHi: number, tableLo: number, level: number): number {
    return ((tableLo << this.#shift) & ADDRESS_LO) | (level << NEXT_LEVEL_SHIFT) | PR;
  }

  #fieldHi(hi: number, lo: number): number {
    return ((hi << this.#shift) | ((lo >>> 31) & this.#shift)) & ADDRESS_HI;
  }

  /** The size that a leaf with Next Level 7 says it has. */
  #codedLg2(hi: number, lo: number): number {
    return this.granuleLg2 + 1 + trailingOnes(hi & ADDRESS_HI, lo >>> 12);
  }

  /**
   * Whether a leaf of this size lies in items of `level`, and in less than a whole table of them.
   * UNSPECIFIED (2.2.3): a coded size that its level cannot hold. Chosen: refused, as an illegal encoding.
   */
  #isSizeOf(sizeLg2: number, level: number): boolean {
    const own = this.granuleLg2 + ITEMS_LG2 * level;
    return sizeLg2 >= own && sizeLg2 < Math.min(own + ITEMS_LG2, this.maxOaLg2);
  }

  /** How many low ones of the address field say this size; -1 when it is the level's own. */
  #sizeOnes(sizeLg2: number, level: number): number {
    if (sizeLg2 === this.granuleLg2 + ITEMS_LG2 * level) return -1;
    return sizeLg2 - this.granuleLg2 - 1;
  }
}

/** Trailing ones of the 40-bit address field. */
function trailingOnes(fieldHi: number, fieldLo: number): number {
  const zeroLo = ~fieldLo & 0x000f_ffff;
  if (zeroLo !== 0) return 31 - Math.clz32(zeroLo & -zeroLo);
  const zeroHi = ~fieldHi & ADDRESS_HI;
  return zeroHi === 0 ? FIELD_LO_BITS * 2 : FIELD_LO_BITS + 31 - Math.clz32(zeroHi & -zeroHi);
}

/** As in hardware: 4 KiB granule, one to six levels, the root grows. */
export const amdv1: PageTableFormat = new AmdV1({
  name: 'amdv1',
  granuleLg2: 12,
  maxVaLg2: 64,
  maxOaLg2: 52,
  maxTopLevel: 5,
  hasDynamicTop: true,
});

/**
 * As iommufd's selftest has it: a granule of 2 KiB, so that pages of the unit and of the CPU differ; the root
 * stays where it starts (Linux builds it without that feature).
 */
export const amdv1Mock: PageTableFormat = new AmdV1({
  name: 'amdv1_mock',
  granuleLg2: 11,
  maxVaLg2: 56,
  maxOaLg2: 51,
  maxTopLevel: 4,
  hasDynamicTop: false,
});
