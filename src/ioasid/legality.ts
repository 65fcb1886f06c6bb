/**
 * What may be done with which kind of page table. One table for every door: /dev/ioasid asks it, the bits that
 * INFO_IOASID reports come from it, and so does the page of documentation.
 */
import { refuse } from '../base/errno.js';
import * as uapi from '../wire/uapi/ioasid.js';
import { rules } from './rules.js';

/** Who owns the table. */
export const kinds = ['kernel', 'sva', 'kvm', 'user', 'nested'] as const;
export type IoasidKind = (typeof kinds)[number];

export const operations = ['map', 'unmap', 'invalidate', 'nest', 'fault'] as const;
export type IoasidOperation = (typeof operations)[number];

/** Map and unmap belong to the one table that ioasis fills; invalidate and faults to those that a program writes. */
const legal: Readonly<Record<IoasidOperation, readonly IoasidKind[]>> = {
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
  if (!isLegal(operation, kind)) refuse(rules.ioasid_operation, { operation, ioasid, kind });
}

const kindNumbers: Readonly<Record<IoasidKind, number>> = {
  kernel: uapi.IOASID_KIND_KERNEL,
  sva: uapi.IOASID_KIND_SVA,
  kvm: uapi.IOASID_KIND_KVM,
  user: uapi.IOASID_KIND_USER_PAGE_TABLE,
  nested: uapi.IOASID_KIND_NESTED_PAGE_TABLE,
};

const operationBits: Readonly<Record<IoasidOperation, number>> = {
  map: uapi.IOASID_CAN_MAP,
  unmap: uapi.IOASID_CAN_UNMAP,
  invalidate: uapi.IOASID_CAN_INVALIDATE,
  nest: uapi.IOASID_CAN_NEST,
  fault: uapi.IOASID_CAN_FAULT,
};

/** IOASID_KIND_* */
export const numberOfKind = (kind: IoasidKind): number => kindNumbers[kind];

/** IOASID_CAN_* */
export function operationsOf(kind: IoasidKind): number {
  let bits = 0;
  for (const operation of operations) if (isLegal(operation, kind)) bits |= operationBits[operation];
  return bits;
}
