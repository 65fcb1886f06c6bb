/** Fault reasons in the words of Linux 7.2 (drivers/iommu/intel/dmar.c): what people search the log for. */

import {
  IOMMU_FAULT_REASON_BAD_PASID_ENTRY,
  IOMMU_FAULT_REASON_OOR_ADDRESS,
  IOMMU_FAULT_REASON_PASID_FETCH,
  IOMMU_FAULT_REASON_PASID_INVALID,
  IOMMU_FAULT_REASON_PERMISSION,
  IOMMU_FAULT_REASON_PTE_FETCH,
  IOMMU_FAULT_REASON_UNKNOWN,
  IOMMU_FAULT_REASON_WALK_EABT,
} from '../../../wire/uapi/iommu.js';

const legacy = [
  'Software',
  'Present bit in root entry is clear',
  'Present bit in context entry is clear',
  'Invalid context entry',
  'Access beyond MGAW',
  'PTE Write access is not set',
  'PTE Read access is not set',
  'Next page table ptr is invalid',
  'Root table address invalid',
  'Context table ptr is invalid',
  'non-zero reserved fields in RTP',
  'non-zero reserved fields in CTP',
  'non-zero reserved fields in PTE',
  'PCE for translation request specifies blocking',
];

const interruptRemapping = [
  'Detected reserved fields in the decoded interrupt-remapped request',
  'Interrupt index exceeded the interrupt-remapping table size',
  'Present field in the IRTE entry is clear',
  'Error accessing interrupt-remapping table pointed by IRTA_REG',
  'Detected reserved fields in the IRTE entry',
  'Blocked a compatibility format interrupt request',
  'Blocked an interrupt request due to source-id verification failure',
];

const scalable: Readonly<Record<number, string>> = {
  0x30: 'SM: Invalid Root Table Address',
  0x31: 'SM: TTM 0 for request with PASID',
  0x32: 'SM: TTM 0 for page group request',
  0x38: 'SM: Error attempting to access Root Entry',
  0x39: 'SM: Present bit in Root Entry is clear',
  0x3a: 'SM: Non-zero reserved field set in Root Entry',
  0x40: 'SM: Error attempting to access Context Entry',
  0x41: 'SM: Present bit in Context Entry is clear',
  0x42: 'SM: Non-zero reserved field set in the Context Entry',
  0x43: 'SM: Invalid Context Entry',
  0x44: 'SM: DTE field in Context Entry is clear',
  0x45: 'SM: PASID Enable field in Context Entry is clear',
  0x46: 'SM: PASID is larger than the max in Context Entry',
  0x47: 'SM: PRE field in Context-Entry is clear',
  0x48: 'SM: RID_PASID field error in Context-Entry',
  0x50: 'SM: Error attempting to access the PASID Directory Entry',
  0x51: 'SM: Present bit in Directory Entry is clear',
  0x52: 'SM: Non-zero reserved field set in PASID Directory Entry',
  0x58: 'SM: Error attempting to access PASID Table Entry',
  0x59: 'SM: Present bit in PASID Table Entry is clear',
  0x5a: 'SM: Non-zero reserved field set in PASID Table Entry',
  0x5b: 'SM: Invalid Scalable-Mode PASID Table Entry',
  0x5c: 'SM: ERE field is clear in PASID Table Entry',
  0x5d: 'SM: SRE field is clear in PASID Table Entry',
  0x70: 'SM: Error attempting to access first-level paging entry',
  0x71: 'SM: Present bit in first-level paging entry is clear',
  0x72: 'SM: Non-zero reserved field set in first-level paging entry',
  0x73: 'SM: Error attempting to access FL-PML4 entry',
  0x74: 'SM: First-level entry address beyond MGAW in Nested translation',
  0x75: 'SM: Read permission error in FL-PML4 entry in Nested translation',
  0x76: 'SM: Read permission error in first-level paging entry in Nested translation',
  0x77: 'SM: Write permission error in first-level paging entry in Nested translation',
  0x78: 'SM: Error attempting to access second-level paging entry',
  0x79: 'SM: Read/Write permission error in second-level paging entry',
  0x7a: 'SM: Non-zero reserved field set in second-level paging entry',
  0x7b: 'SM: Invalid second-level page table pointer',
  0x7c: 'SM: A/D bit update needed in second-level entry when set up in no snoop',
  0x80: 'SM: Address in first-level translation is not canonical',
  0x81: 'SM: U/S set 0 for first-level translation with user privilege',
  0x82: 'SM: No execute permission for request with PASID and ER=1',
  0x83: 'SM: Address beyond the DMA hardware max',
  0x84: 'SM: Second-level entry address beyond the max',
  0x85: 'SM: No write permission for Write/AtomicOp request',
  0x86: 'SM: No read permission for Read/AtomicOp request',
  0x87: 'SM: Invalid address-interrupt address',
  0x90: 'SM: A/D bit update needed in first-level entry when set up in no snoop',
};

const INTERRUPT_REMAPPING = 0x20;

export function isInterruptFault(reason: number): boolean {
  return reason >= INTERRUPT_REMAPPING && reason - INTERRUPT_REMAPPING < interruptRemapping.length;
}

export function reasonText(reason: number): string {
  if (isInterruptFault(reason)) return interruptRemapping[reason - INTERRUPT_REMAPPING]!;
  return scalable[reason] ?? legacy[reason] ?? 'Unknown';
}

/** First reason of each block of codes, and what it is in words of every unit; the highest that is not above counts. */
const neutral: readonly (readonly [first: number, reason: number])[] = [
  [0x00, IOMMU_FAULT_REASON_UNKNOWN],
  [0x04, IOMMU_FAULT_REASON_OOR_ADDRESS],
  [0x05, IOMMU_FAULT_REASON_PERMISSION],
  [0x07, IOMMU_FAULT_REASON_WALK_EABT],
  [0x0a, IOMMU_FAULT_REASON_UNKNOWN],
  [0x50, IOMMU_FAULT_REASON_PASID_FETCH],
  [0x51, IOMMU_FAULT_REASON_PASID_INVALID],
  [0x52, IOMMU_FAULT_REASON_BAD_PASID_ENTRY],
  [0x58, IOMMU_FAULT_REASON_PASID_FETCH],
  [0x59, IOMMU_FAULT_REASON_PASID_INVALID],
  [0x5a, IOMMU_FAULT_REASON_BAD_PASID_ENTRY],
  [0x5c, IOMMU_FAULT_REASON_PERMISSION],
  [0x70, IOMMU_FAULT_REASON_WALK_EABT],
  [0x71, IOMMU_FAULT_REASON_PTE_FETCH],
  [0x73, IOMMU_FAULT_REASON_WALK_EABT],
  [0x74, IOMMU_FAULT_REASON_OOR_ADDRESS],
  [0x75, IOMMU_FAULT_REASON_PERMISSION],
  [0x78, IOMMU_FAULT_REASON_WALK_EABT],
  [0x79, IOMMU_FAULT_REASON_PERMISSION],
  [0x7a, IOMMU_FAULT_REASON_PTE_FETCH],
  [0x80, IOMMU_FAULT_REASON_OOR_ADDRESS],
  [0x81, IOMMU_FAULT_REASON_PERMISSION],
  [0x84, IOMMU_FAULT_REASON_OOR_ADDRESS],
  [0x85, IOMMU_FAULT_REASON_PERMISSION],
];

/** enum iommu_fault_reason of a fault reason of VT-d. */
export function neutralReason(reason: number): number {
  let found = IOMMU_FAULT_REASON_UNKNOWN;
  for (const [first, is] of neutral) if (reason >= first) found = is;
  return found;
}
