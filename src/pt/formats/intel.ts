/**
 * What the tables of VT-d's two stages share: granules of 4 KiB, an address in bits 51:12, leaves of one item at
 * levels 0 to 2, and PS (bit 7) that says leaf above level 0.
 */
import { ITEMS_LG2 } from '../format.js';
import { maskFromHi, maskFromLo } from '../words.js';

const GRANULE_LG2 = 12;
/** Low word. */
export const PS = 1 << 7;
const PS_LG2 = 7;
export const ADDRESS_LO = -1 << 12;
/** High word. */
const ADDRESS_HI = 0x000f_ffff;

/** Level 4 holds PML5Es; a PDPTE, level 2, can be a leaf of 1 GiB. */
const MAX_TOP_LEVEL = 4;
const MAX_LEAF_LEVEL = 2;

interface Shape {
  readonly maxOaLg2: number | undefined;
  readonly maxLeafLevel: number | undefined;
  /** Reserved in every entry. */
  readonly reservedHi: number;
  readonly reservedLo: number;
  /** Reserved in entries that lead to a table. */
  readonly tableReservedLo: number;
  /** Not reserved in a leaf above level 0, though below its address. */
  readonly largeLeafLo: number;
}

export abstract class IntelFormat {
  readonly granuleLg2 = GRANULE_LG2;
  readonly maxVaLg2 = 57;
  readonly maxOaLg2: number;
  readonly maxTopLevel = MAX_TOP_LEVEL;
  readonly hasDynamicTop = false;
  readonly accessedHi = 0;
  readonly dirtyHi = 0;
  protected readonly maxLeafLevel: number;
  readonly #reservedHi: number;
  /** By level; of entries without PS, then of those with. */
  readonly #reservedLo = new Int32Array(2 * (MAX_TOP_LEVEL + 1));

  protected constructor(shape: Shape) {
    this.maxOaLg2 = shape.maxOaLg2 ?? 52;
    this.maxLeafLevel = shape.maxLeafLevel ?? MAX_LEAF_LEVEL;
    this.#reservedHi = (ADDRESS_HI & maskFromHi(this.maxOaLg2)) | shape.reservedHi;
    for (let level = 0; level <= MAX_TOP_LEVEL; level += 1) {
      const belowLeaf = ~maskFromLo(GRANULE_LG2 + ITEMS_LG2 * level) & ADDRESS_LO & ~shape.largeLeafLo;
      this.#reservedLo[2 * level] = shape.reservedLo | (level > 0 ? shape.tableReservedLo : 0);
      this.#reservedLo[2 * level + 1] = shape.reservedLo | (level <= this.maxLeafLevel ? belowLeaf : PS);
    }
  }

  possibleSizes(level: number): bigint {
    return level <= this.maxLeafLevel ? 1n << BigInt(GRANULE_LG2 + ITEMS_LG2 * level) : 0n;
  }

  isReserved(hi: number, lo: number, level: number): boolean {
    return ((hi & this.#reservedHi) | (lo & this.#reservedLo[2 * level + ((lo & PS) >>> PS_LG2)]!)) !== 0;
  }

  leafLg2(_hi: number, _lo: number, level: number): number {
    return GRANULE_LG2 + ITEMS_LG2 * level;
  }

  leafHi(hi: number, _lo: number, sizeLg2: number): number {
    return hi & ADDRESS_HI & maskFromHi(sizeLg2);
  }

  leafLo(_hi: number, lo: number, sizeLg2: number): number {
    return lo & maskFromLo(sizeLg2);
  }

  tableHi(hi: number, _lo: number): number {
    return hi & ADDRESS_HI;
  }

  tableLo(_hi: number, lo: number): number {
    return lo & ADDRESS_LO;
  }

  nextLevel(_hi: number, _lo: number, level: number): number {
    return level - 1;
  }

  makeLeafHi(oaHi: number, _oaLo: number, _sizeLg2: number, _level: number): number {
    return oaHi & ADDRESS_HI;
  }

  attrHi(_prot: number): number {
    return 0;
  }

  makeTableHi(tableHi: number, _tableLo: number, _level: number): number {
    return tableHi & ADDRESS_HI;
  }
}
