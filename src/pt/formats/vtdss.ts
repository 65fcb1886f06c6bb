/**
 * VT-d's second stage, 3 to 5 levels: VT-d specification, 9.8 (second-stage paging entries) and 3.7; entries are
 * written as Linux' generic_pt writes them. Level 0 holds SS-PTEs, level 4 SS-PML5Es. No bit says "present": an
 * entry that allows nothing is none. EMT and IPAT choose a memory type and do not change a translation.
 */
import { COHERENT, EMPTY, EXEC, LEAF, READ, TABLE, USER, WRITE, type PageTableFormat } from '../format.js';
import { ADDRESS_LO, IntelFormat, PS } from './intel.js';

/** Low word. R, W and X lie where READ, WRITE and EXEC do. */
const R = 1 << 0;
const W = 1 << 1;
const X = 1 << 2;
const A = 1 << 8;
const D = 1 << 9;
const SNP = 1 << 11;
/** High word. Once TM, the transient mapping. */
const RESERVED_62 = 1 << (62 - 32);

/** What a unit decides about the bits. Left out, everything is there but X, which Linux does not write. */
export interface VtdssConfig {
  /** HAW: address bits from here up are reserved. */
  readonly maxOaLg2?: number;
  /** ECAP.SC: otherwise SNP is reserved. */
  readonly hasSnoopControl?: boolean;
  /** Whether X is looked at; otherwise every entry allows execution. */
  readonly hasExecute?: boolean;
  /** SSLPS: 0 for 4 KiB only, 1 for 2 MiB too. PS is reserved above this level. */
  readonly maxLeafLevel?: number;
}

export class Vtdss extends IntelFormat implements PageTableFormat {
  readonly name = 'vtdss';
  readonly minTopLevel = 2;
  readonly isSignExtended = false;
  readonly accessedLo = A;
  readonly dirtyLo = D;
  /** The bits that can allow something, and what is allowed without one. */
  readonly #allowing: number;
  readonly #always: number;

  constructor(config: VtdssConfig = {}) {
    const { maxOaLg2, maxLeafLevel } = config;
    const reservedLo = config.hasSnoopControl === false ? SNP : 0;
    const reserved = { reservedHi: RESERVED_62, reservedLo, tableReservedLo: SNP };
    super({ maxOaLg2, maxLeafLevel, ...reserved, largeLeafLo: 0 });
    this.#allowing = config.hasExecute === true ? R | W | X : R | W;
    this.#always = config.hasExecute === true ? USER : USER | EXEC;
  }

  kind(_hi: number, lo: number, level: number): number {
    if ((lo & this.#allowing) === 0) return EMPTY;
    return level === 0 || ((lo & PS) !== 0 && level <= this.maxLeafLevel) ? LEAF : TABLE;
  }

  protOf(_hi: number, lo: number): number {
    return (lo & this.#allowing) | this.#always;
  }

  makeLeafLo(_oaHi: number, oaLo: number, _sizeLg2: number, level: number): number {
    return (oaLo & ADDRESS_LO) | (level === 0 ? 0 : PS);
  }

  attrLo(prot: number): number {
    const coherent = (prot & COHERENT) === 0 ? 0 : SNP;
    return ((prot & READ) === 0 ? 0 : R) | ((prot & WRITE) === 0 ? 0 : W) | coherent;
  }

  makeTableLo(_tableHi: number, tableLo: number, _level: number): number {
    return (tableLo & ADDRESS_LO) | R | W;
  }
}

export const vtdss: PageTableFormat = new Vtdss();
