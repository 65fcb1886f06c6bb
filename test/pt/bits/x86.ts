/** VT-d specification, 9.7: first-stage paging entries (PML5E, PML4E, PDPE, PDE, PTE; of 1 GiB, of 2 MiB). */
import { bits, type FormatBits } from './judge.js';

export interface X86Unit {
  /** Address bits from here up are reserved. */
  readonly haw: number;
  /** Of the PASID-table entry. */
  readonly nxe: boolean;
  readonly eafe: boolean;
  /** Of CAP_REG. */
  readonly fs1gp: boolean;
}

export const everything: X86Unit = { haw: 52, nxe: true, eafe: false, fs1gp: true };

export function x86Bits(unit: X86Unit): FormatBits {
  return {
    // P alone allows reading.
    grants: (prot) => prot | 1,
    addressShift: 0,
    entry(level, sizeLg2) {
      const isLeaf = sizeLg2 !== null;
      const first = sizeLg2 ?? 12;
      const hasPs = level === 1 || (level === 2 && unit.fs1gp);
      return {
        present: bits('0'),
        write: bits('1'),
        user: bits('2'),
        accessed: unit.eafe ? bits('5', '10') : bits('5'),
        dirty: isLeaf ? bits('6') : 0n,
        shape: hasPs ? bits('7') : 0n,
        exec: unit.nxe ? bits('63') : 0n,
        address: bits(`${unit.haw - 1}:${first}`),
        reserved:
          (unit.nxe ? 0n : bits('63')) |
          (unit.haw < 52 ? bits(`51:${unit.haw}`) : 0n) |
          (first > 12 ? bits(`${first - 1}:13`) : 0n) |
          (level > 0 && !hasPs ? bits('7') : 0n),
        // PWT, PCD and G; PAT of a leaf, in bit 7 of a PTE and in bit 12 of larger ones.
        ignored:
          bits('4:3', '9:8', '11', '62:52') |
          (isLeaf ? bits(level === 0 ? '7' : '12') : bits('6')) |
          (unit.eafe ? 0n : bits('10')),
      };
    },
  };
}
