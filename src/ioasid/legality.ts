/**
 * What may be done with which kind of page table. One table for every door: /dev/ioasid asks it, the bits that
 * INFO_IOASID reports come from it, and so does the page of documentation.
 */
import { refuse } from '../base/errno.js';
import { rules } from './rules.js';

/** Who owns the table; the order is that of IOASID_KIND_*, from 1 on. */
export const kinds = ['kernel', 'sva', 'kvm', 'user', 'nested'] as const;
export type IoasidKind = (typeof kinds)[number];

/** The order is that of IOASID_CAN_*. */
export const operations = ['map', 'unmap', 'invalidate', 'nest', 'fault'] as const;
export type IoasidOperation = (typeof operations)[number];

/** Map and unmap belong to the one table that ioasis fills; invalidate and faults to those that a program writes. */
export const legal: Readonly<Record<IoasidOperation, readonly IoasidKind[]>> = {
  map: ['kernel'],
  unmap: ['kernel'],
  invalidate: ['user', 'nested'],
  nest: ['kernel'],
  fault: ['user', 'nested'],
};

export const isLegal = (operation: IoasidOperation, kind: IoasidKind): boolean =>
  legal[operation].includes(kind);

/** EOPNOTSUPP, whatever the operation, if it is not for this kind. */
export function checkLegal(operation: IoasidOperation, kind: IoasidKind, ioasid: number): void {
  if (!isLegal(operation, kind)) refuse(rules.operation_kind, { operation, ioasid, kind });
}

/** IOASID_KIND_* */
export const numberOfKind = (kind: IoasidKind): number => kinds.indexOf(kind) + 1;

/** IOASID_CAN_* */
export function operationsOf(kind: IoasidKind): number {
  let bits = 0;
  operations.forEach((operation, bit) => {
    if (isLegal(operation, kind)) bits |= 1 << bit;
  });
  return bits;
}
