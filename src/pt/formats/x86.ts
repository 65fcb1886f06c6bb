/**
 * x86 page tables of 4 and 5 levels, as VT-d's first stage walks them: VT-d specification, 9.7 (first-stage paging
 * entries) and 3.6; entries are written as Linux' generic_pt writes them. Level 0 holds PTEs, level 4 PML5Es.
 * Bits that only choose a memory type (PWT, PCD, PAT) or a lifetime in caches (G) do not change a translation.
 */
import { EMPTY, EXEC, LEAF, READ, TABLE, WRITE, type PageTableFormat } from '../format.js';
import { ADDRESS_LO, IntelFormat, PS } from './intel.js';

/** Low word. */
const P = 1 << 0;
const RW = 1 << 1;
const US = 1 << 2;
const A = 1 << 5;
const D = 1 << 6;
const EA = 1 << 10;
/** Of a leaf above level 0. In a PTE, PAT has the bit that is PS elsewhere. */
const PAT = 1 << 12;
/** High word. */
const XD = 1 << (63 - 32);

/** What a unit, or the PASID-table entry above a root, decides about the bits. Left out, everything is there but EAFE. */
export interface X86Config {
  /** HAW: address bits from here up are reserved. */
  readonly maxOaLg2?: number;
  /** NXE: otherwise XD is reserved. */
  readonly hasExecuteDisable?: boolean;
  /** EAFE: an access sets EA beside A. Otherwise EA is ignored. */
  readonly hasExtendedAccessed?: boolean;
  /** 1 without FS1GP: PS is reserved above this level. */
  readonly maxLeafLevel?: number;
}

export class X86 extends IntelFormat implements PageTableFormat {
  readonly name = 'x86';
  readonly minTopLevel = 3;
  readonly isSignExtended = true;
  readonly accessedLo: number;
  readonly dirtyLo = D;

  constructor(config: X86Config = {}) {
    const { maxOaLg2, maxLeafLevel } = config;
    const reservedHi = config.hasExecuteDisable === false ? XD : 0;
    super({ maxOaLg2, maxLeafLevel, reservedHi, reservedLo: 0, tableReservedLo: 0, largeLeafLo: PAT });
    this.accessedLo = config.hasExtendedAccessed === true ? A | EA : A;
  }

  kind(_hi: number, lo: number, level: number): number {
    if ((lo & P) === 0) return EMPTY;
    return level === 0 || ((lo & PS) !== 0 && level <= this.maxLeafLevel) ? LEAF : TABLE;
  }

  protOf(hi: number, lo: number): number {
    // RW lies where WRITE does, US one below USER, and XD comes down to EXEC.
    return READ | (lo & RW) | ((lo & US) << 1) | ((~hi >>> 29) & EXEC);
  }

  makeLeafLo(_oaHi: number, oaLo: number, _sizeLg2: number, level: number): number {
    return (oaLo & ADDRESS_LO) | (level === 0 ? P : P | PS);
  }

  /** What is present can be read. A and D are set from the start, so this format does not tell what was written. */
  attrLo(prot: number): number {
    return US | A | ((prot & WRITE) === 0 ? 0 : RW | D);
  }

  makeTableLo(_tableHi: number, tableLo: number, _level: number): number {
    return (tableLo & ADDRESS_LO) | P | RW | US | A;
  }
}

export const x86: PageTableFormat = new X86();
