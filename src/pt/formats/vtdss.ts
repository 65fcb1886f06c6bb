/**
 * VT-d's second stage, 3 to 5 levels: VT-d specification, 9.8 (second-stage paging entries) and 3.7; entries are
 * written as Linux' generic_pt writes them. Level 0 holds SS-PTEs, level 4 SS-PML5Es. No bit says "present": an
 * entry that allows nothing is none. EMT and IPAT choose a memory type and do not change a translation.
 */
import {
  COHERENT,
  EMPTY,
  EXEC,
  ITEMS_LG2,
  LEAF,
  READ,
  TABLE,
  USER,
  WRITE,
  type PageTableFormat,
} from '../format.js';
import { maskFromHi, maskFromLo } from '../words.js';

/** Low word. R, W and X lie where READ, WRITE and EXEC do. */
const R = 1 << 0;
const W = 1 << 1;
const X = 1 << 2;
/** Of levels above 0; an SS-PTE ignores it. */
const PS = 1 << 7;
const A = 1 << 8;
const D = 1 << 9;
const SNP = 1 << 11;
const ADDRESS_LO = -1 << 12;
/** High word. */
const ADDRESS_HI = 0x000f_ffff;
/** Once TM, the transient mapping. */
const RESERVED_62 = 1 << (62 - 32);

const GRANULE_LG2 = 12;
const MAX_TOP_LEVEL = 4;
/** SS-PDPTE: 1 GiB. */
const MAX_LEAF_LEVEL = 2;

/** What a unit decides about the bits. */
export interface VtdssConfig {
  /** HAW: address bits from here up are reserved. */
  readonly maxOaLg2?: number;
  /** ECAP.SC: otherwise SNP is reserved. */
  readonly hasSnoopControl?: boolean;
  /** Whether X is looked at; otherwise every entry allows execution. */
  readonly hasExecute?: boolean;
  /** SSLPS: 0 for 4 KiB only, 1 for 2 MiB too, 2 for 1 GiB too. PS is reserved above. */
  readonly maxLeafLevel?: number;
}

export class Vtdss implements PageTableFormat {
  readonly name = 'vtdss';
  readonly granuleLg2 = GRANULE_LG2;
  readonly maxVaLg2 = 57;
  readonly maxOaLg2: number;
  readonly minTopLevel = 2;
  readonly maxTopLevel = MAX_TOP_LEVEL;
  readonly hasDynamicTop = false;
  readonly isSignExtended = false;
  readonly accessedHi = 0;
  readonly accessedLo = A;
  readonly dirtyHi = 0;
  readonly dirtyLo = D;
  readonly #maxLeafLevel: number;
  /** The bits that can allow something, and what is allowed without one. */
  readonly #allowing: number;
  readonly #always: number;
  readonly #reservedHi: number;
  /** By level; of entries without PS, then of those with. */
  readonly #reservedLo = new Int32Array(2 * (MAX_TOP_LEVEL + 1));

  constructor(config: VtdssConfig = {}) {
    this.maxOaLg2 = config.maxOaLg2 ?? 52;
    this.#maxLeafLevel = config.maxLeafLevel ?? MAX_LEAF_LEVEL;
    this.#allowing = config.hasExecute === true ? R | W | X : R | W;
    this.#always = config.hasExecute === true ? USER : USER | EXEC;
    this.#reservedHi = (ADDRESS_HI & maskFromHi(this.maxOaLg2)) | RESERVED_62;
    const snoop = config.hasSnoopControl === false ? SNP : 0;
    for (let level = 0; level <= MAX_TOP_LEVEL; level += 1) {
      const belowLeaf = ~maskFromLo(GRANULE_LG2 + ITEMS_LG2 * level) & ADDRESS_LO;
      this.#reservedLo[2 * level] = snoop;
      this.#reservedLo[2 * level + 1] = snoop | (level <= this.#maxLeafLevel ? belowLeaf : PS);
    }
  }

  possibleSizes(level: number): bigint {
    return level <= this.#maxLeafLevel ? 1n << BigInt(GRANULE_LG2 + ITEMS_LG2 * level) : 0n;
  }

  kind(_hi: number, lo: number, level: number): number {
    if ((lo & this.#allowing) === 0) return EMPTY;
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

  protOf(_hi: number, lo: number): number {
    return (lo & this.#allowing) | this.#always;
  }

  makeLeafHi(oaHi: number, _oaLo: number, _sizeLg2: number, _level: number): number {
    return oaHi & ADDRESS_HI;
  }

  makeLeafLo(_oaHi: number, oaLo: number, _sizeLg2: number, level: number): number {
    return (oaLo & ADDRESS_LO) | (level === 0 ? 0 : PS);
  }

  attrHi(_prot: number): number {
    return 0;
  }

  attrLo(prot: number): number {
    return (
      ((prot & READ) === 0 ? 0 : R) | ((prot & WRITE) === 0 ? 0 : W) | ((prot & COHERENT) === 0 ? 0 : SNP)
    );
  }

  makeTableHi(tableHi: number, _tableLo: number, _level: number): number {
    return tableHi & ADDRESS_HI;
  }

  makeTableLo(_tableHi: number, tableLo: number, _level: number): number {
    return (tableLo & ADDRESS_LO) | R | W;
  }
}

/** With everything that the format has but X, which Linux does not write; {@link VtdssConfig} changes that. */
export const vtdss: PageTableFormat = new Vtdss();
