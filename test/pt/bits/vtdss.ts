/** VT-d specification, 9.8: second-stage paging entries (SS-PML5E, SS-PML4E, SS-PDPE, SS-PDE, SS-PTE). */
import { bits, type FormatBits } from './judge.js';

export interface VtdssUnit {
  /** Address bits from here up are reserved. */
  readonly haw: number;
  /** ECAP_REG.SC. */
  readonly sc: boolean;
  /** Leaves above this level have a reserved PS: CAP_REG.SSLPS. */
  readonly largest: number;
}

export const everything: VtdssUnit = { haw: 52, sc: true, largest: 2 };

export function vtdssBits(unit: VtdssUnit): FormatBits {
  return {
    grants: (prot) => prot,
    addressShift: 0,
    entry(level, sizeLg2) {
      const isLeaf = sizeLg2 !== null;
      const first = sizeLg2 ?? 12;
      const isPsReserved = level > unit.largest && level > 0;
      const canBeLeaf = level > 0 && level <= unit.largest;
      return {
        read: bits('0'),
        write: bits('1'),
        accessed: bits('8'),
        dirty: isLeaf ? bits('9') : 0n,
        shape: canBeLeaf ? bits('7') : 0n,
        address: bits(`${unit.haw - 1}:${first}`),
        reserved:
          bits('62') |
          (unit.sc && isLeaf ? 0n : bits('11')) |
          (unit.haw < 52 ? bits(`51:${unit.haw}`) : 0n) |
          (first > 12 ? bits(`${first - 1}:12`) : 0n) |
          (isPsReserved ? bits('7') : 0n),
        // EMT and IPAT of a leaf among them, and X, which the default does not look at.
        ignored:
          bits('6:2', '10', '61:52', '63') |
          (unit.sc && isLeaf ? bits('11') : 0n) |
          (level === 0 ? bits('7') : 0n) |
          (isLeaf ? 0n : bits('9')),
      };
    },
  };
}
