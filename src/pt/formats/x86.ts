/**
 * x86 page tables of 4 and 5 levels, as VT-d's first stage walks them: VT-d specification, 9.7 (first-stage paging
 * entries) and 3.6; entries are written as Linux' generic_pt writes them. Level 0 holds PTEs, level 4 PML5Es.
 * Bits that only choose a memory type (PWT, PCD, PAT) or a lifetime in caches (G) do not change a translation.
 */
import { EMPTY, EXEC, ITEMS_LG2, LEAF, READ, TABLE, WRITE, type PageTableFormat } from '../format.js';
import { maskFromHi, maskFromLo } from '../words.js';

/** Low word. */
const P = 1 << 0;
const RW = 1 << 1;
const US = 1 << 2;
const A = 1 << 5;
const D = 1 << 6;
/** Of levels above 0; a PTE has PAT there. */
const PS = 1 << 7;
const EA = 1 << 10;
const ADDRESS_LO = -1 << 12;
/** A leaf above level 0 has PAT in bit 12. */
const PAT_LARGE = 1 << 12;
/** High word. */
const ADDRESS_HI = 0x000f_ffff;
const XD = 1 << (63 - 32);

const GRANULE_LG2 = 12;
const MAX_TOP_LEVEL = 4;
/** PDPTE: 1 GiB. */
const MAX_LEAF_LEVEL = 2;

/** What a unit, or the PASID-table entry above a root, decides about the bits. */
export interface X86Config {
  /** HAW: address bits from here up are reserved. */
  readonly maxOaLg2?: number;
  /** NXE: otherwise XD is reserved. */
  readonly hasExecuteDisable?: boolean;
  /** EAFE: an access sets EA beside A. Otherwise EA is ignored. */
  readonly hasExtendedAccessed?: boolean;
  /** FS1GP: otherwise PS is reserved in a PDPTE. */
  readonly hasGibLeaves?: boolean;
}

export class X86 implements PageTableFormat {
  readonly name = 'x86';
  readonly granuleLg2 = GRANULE_LG2;
  readonly maxVaLg2 = 57;
  readonly maxOaLg2: number;
  readonly minTopLevel = 3;
  readonly maxTopLevel = MAX_TOP_LEVEL;
  readonly hasDynamicTop = false;
  readonly isSignExtended = true;
  readonly accessedHi = 0;
  readonly accessedLo: number;
  readonly dirtyHi = 0;
  readonly dirtyLo = D;
  readonly #maxLeafLevel: number;
  readonly #reservedHi: number;
  /** By level; of entries without PS, then of those with. */
  readonly #reservedLo = new Int32Array(2 * (MAX_TOP_LEVEL + 1));

  constructor(config: X86Config = {}) {
    this.maxOaLg2 = config.maxOaLg2 ?? 52;
    this.accessedLo = config.hasExtendedAccessed === true ? A | EA : A;
    this.#maxLeafLevel = config.hasGibLeaves === false ? MAX_LEAF_LEVEL - 1 : MAX_LEAF_LEVEL;
    this.#reservedHi =
      (ADDRESS_HI & maskFromHi(this.maxOaLg2)) | (config.hasExecuteDisable === false ? XD : 0);
    for (let level = 1; level <= MAX_TOP_LEVEL; level += 1) {
      const belowLeaf = ~maskFromLo(GRANULE_LG2 + ITEMS_LG2 * level) & ADDRESS_LO & ~PAT_LARGE;
      this.#reservedLo[2 * level + 1] = level <= this.#maxLeafLevel ? belowLeaf : PS;
    }
  }

  possibleSizes(level: number): bigint {
    return level <= this.#maxLeafLevel ? 1n << BigInt(GRANULE_LG2 + ITEMS_LG2 * level) : 0n;
  }

  kind(_hi: number, lo: number, level: number): number {
    if ((lo & P) === 0) return EMPTY;
    return level === 0 || ((lo & PS) !== 0 && level <= this.#maxLeafLevel) ? LEAF : TABLE;
  }

  isReserved(hi: number, lo: number, level: number): boolean {
    return ((hi & this.#reservedHi) | (lo & this.#reservedLo[2 * level + ((lo & PS) >>> 7)]!)) !== 0;
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

  protOf(hi: number, lo: number): number {
    // RW lies where WRITE does, US one below USER, and XD comes down to EXEC.
    return READ | (lo & RW) | ((lo & US) << 1) | ((~hi >>> 29) & EXEC);
  }

  makeLeafHi(oaHi: number, _oaLo: number, _sizeLg2: number, _level: number): number {
    return oaHi & ADDRESS_HI;
  }

  makeLeafLo(_oaHi: number, oaLo: number, _sizeLg2: number, level: number): number {
    return (oaLo & ADDRESS_LO) | (level === 0 ? P : P | PS);
  }

  attrHi(_prot: number): number {
    return 0;
  }

  /** What is present can be read. A and D are set from the start, so this format does not tell what was written. */
  attrLo(prot: number): number {
    return US | A | ((prot & WRITE) === 0 ? 0 : RW | D);
  }

  makeTableHi(tableHi: number, _tableLo: number, _level: number): number {
    return tableHi & ADDRESS_HI;
  }

  makeTableLo(_tableHi: number, tableLo: number, _level: number): number {
    return (tableLo & ADDRESS_LO) | P | RW | US | A;
  }
}

/** With everything that the format has; {@link X86Config} takes away. */
export const x86: PageTableFormat = new X86();
