/**
 * Why a request was refused: the fault reasons of chapter 7 ("Fault Conditions") with what each of them means for
 * reporting. Texts are those of the kernel's log, word for word, because people search for them.
 *
 * A *qualified* fault is not reported when the structures that were passed have FPD set. A *recoverable* fault of a
 * translation request is answered with a completion without permissions and is not reported at all: a page request may
 * cure it.
 */

export const Reason = {
  ROOT_NOT_PRESENT: 0x01,
  CONTEXT_NOT_PRESENT: 0x02,
  CONTEXT_INVALID: 0x03,
  BEYOND_WIDTH: 0x04,
  WRITE: 0x05,
  READ: 0x06,
  NEXT_TABLE: 0x07,
  ROOT_TABLE: 0x08,
  CONTEXT_TABLE: 0x09,
  ROOT_RESERVED: 0x0a,
  CONTEXT_RESERVED: 0x0b,
  PTE_RESERVED: 0x0c,
  TYPE_BLOCKED: 0x0d,
  INTERRUPT_RANGE: 0x0e,
  RTADDR_INVALID: 0x30,
  LEGACY_WITH_PASID: 0x31,
  LEGACY_PAGE_REQUEST: 0x32,
  SM_ROOT_ACCESS: 0x38,
  SM_ROOT_NOT_PRESENT: 0x39,
  SM_ROOT_RESERVED: 0x3a,
  SM_CONTEXT_ACCESS: 0x40,
  SM_CONTEXT_NOT_PRESENT: 0x41,
  SM_CONTEXT_RESERVED: 0x42,
  SM_CONTEXT_INVALID: 0x43,
  DTE_CLEAR: 0x44,
  PASIDE_CLEAR: 0x45,
  PASID_TOO_LARGE: 0x46,
  PRE_CLEAR: 0x47,
  RID_PASID: 0x48,
  PASID_DIR_ACCESS: 0x50,
  PASID_DIR_NOT_PRESENT: 0x51,
  PASID_DIR_RESERVED: 0x52,
  PASID_ACCESS: 0x58,
  PASID_NOT_PRESENT: 0x59,
  PASID_RESERVED: 0x5a,
  PASID_INVALID: 0x5b,
  ERE_CLEAR: 0x5c,
  SRE_CLEAR: 0x5d,
  FS_ACCESS: 0x70,
  FS_NOT_PRESENT: 0x71,
  FS_RESERVED: 0x72,
  FS_ROOT_ACCESS: 0x73,
  FS_BEYOND_MGAW: 0x74,
  FS_ROOT_NESTED_READ: 0x75,
  FS_NESTED_READ: 0x76,
  FS_NESTED_WRITE: 0x77,
  SS_ACCESS: 0x78,
  SS_PERMISSION: 0x79,
  SS_RESERVED: 0x7a,
  SS_POINTER: 0x7b,
  SS_AD_NO_SNOOP: 0x7c,
  NOT_CANONICAL: 0x80,
  USER: 0x81,
  EXECUTE: 0x82,
  BEYOND_HARDWARE: 0x83,
  SS_BEYOND_WIDTH: 0x84,
  SM_WRITE: 0x85,
  SM_READ: 0x86,
  SM_INTERRUPT_RANGE: 0x87,
  FS_AD_NO_SNOOP: 0x90,
  FS_BIT_UPDATE: 0x91,
} as const;

export interface ReasonInfo {
  /** As `dmesg` has it (drivers/iommu/intel/dmar.c). */
  readonly text: string;
  readonly qualified: boolean;
  readonly recoverable: boolean;
}

function always(text: string): ReasonInfo {
  return { text, qualified: false, recoverable: false };
}

function qualified(text: string): ReasonInfo {
  return { text, qualified: true, recoverable: false };
}

function recoverable(text: string): ReasonInfo {
  return { text, qualified: true, recoverable: true };
}

/** What Linux writes for a number that it does not know. */
const unknown = qualified('Unknown');

const reasons: Readonly<Record<number, ReasonInfo>> = {
  0x01: always('Present bit in root entry is clear'),
  0x02: qualified('Present bit in context entry is clear'),
  0x03: qualified('Invalid context entry'),
  0x04: qualified('Access beyond MGAW'),
  0x05: recoverable('PTE Write access is not set'),
  0x06: recoverable('PTE Read access is not set'),
  0x07: qualified('Next page table ptr is invalid'),
  0x08: always('Root table address invalid'),
  0x09: always('Context table ptr is invalid'),
  0x0a: always('non-zero reserved fields in RTP'),
  0x0b: always('non-zero reserved fields in CTP'),
  0x0c: qualified('non-zero reserved fields in PTE'),
  0x0d: qualified('PCE for translation request specifies blocking'),
  // The kernel has no text for it.
  0x0e: unknown,
  0x30: always('SM: Invalid Root Table Address'),
  0x31: always('SM: TTM 0 for request with PASID'),
  0x32: always('SM: TTM 0 for page group request'),
  0x38: always('SM: Error attempting to access Root Entry'),
  0x39: always('SM: Present bit in Root Entry is clear'),
  0x3a: always('SM: Non-zero reserved field set in Root Entry'),
  0x40: always('SM: Error attempting to access Context Entry'),
  0x41: qualified('SM: Present bit in Context Entry is clear'),
  0x42: always('SM: Non-zero reserved field set in the Context Entry'),
  0x43: qualified('SM: Invalid Context Entry'),
  0x44: qualified('SM: DTE field in Context Entry is clear'),
  0x45: qualified('SM: PASID Enable field in Context Entry is clear'),
  0x46: qualified('SM: PASID is larger than the max in Context Entry'),
  0x47: qualified('SM: PRE field in Context-Entry is clear'),
  0x48: qualified('SM: RID_PASID field error in Context-Entry'),
  0x50: always('SM: Error attempting to access the PASID Directory Entry'),
  0x51: recoverable('SM: Present bit in Directory Entry is clear'),
  0x52: qualified('SM: Non-zero reserved field set in PASID Directory Entry'),
  0x58: always('SM: Error attempting to access PASID Table Entry'),
  0x59: recoverable('SM: Present bit in PASID Table Entry is clear'),
  0x5a: qualified('SM: Non-zero reserved field set in PASID Table Entry'),
  0x5b: qualified('SM: Invalid Scalable-Mode PASID Table Entry'),
  0x5c: qualified('SM: ERE field is clear in PASID Table Entry'),
  0x5d: qualified('SM: SRE field is clear in PASID Table Entry'),
  0x70: qualified('SM: Error attempting to access first-level paging entry'),
  0x71: recoverable('SM: Present bit in first-level paging entry is clear'),
  0x72: qualified('SM: Non-zero reserved field set in first-level paging entry'),
  0x73: qualified('SM: Error attempting to access FL-PML4 entry'),
  0x74: qualified('SM: First-level entry address beyond MGAW in Nested translation'),
  0x75: recoverable('SM: Read permission error in FL-PML4 entry in Nested translation'),
  0x76: recoverable('SM: Read permission error in first-level paging entry in Nested translation'),
  0x77: recoverable('SM: Write permission error in first-level paging entry in Nested translation'),
  0x78: qualified('SM: Error attempting to access second-level paging entry'),
  0x79: recoverable('SM: Read/Write permission error in second-level paging entry'),
  0x7a: qualified('SM: Non-zero reserved field set in second-level paging entry'),
  0x7b: qualified('SM: Invalid second-level page table pointer'),
  0x7c: qualified('SM: A/D bit update needed in second-level entry when set up in no snoop'),
  0x80: recoverable('SM: Address in first-level translation is not canonical'),
  0x81: recoverable('SM: U/S set 0 for first-level translation with user privilege'),
  0x82: recoverable('SM: No execute permission for request with PASID and ER=1'),
  0x83: qualified('SM: Address beyond the DMA hardware max'),
  0x84: qualified('SM: Second-level entry address beyond the max'),
  0x85: recoverable('SM: No write permission for Write/AtomicOp request'),
  0x86: recoverable('SM: No read permission for Read/AtomicOp request'),
  0x87: qualified('SM: Invalid address-interrupt address'),
  0x90: qualified('SM: A/D bit update needed in first-level entry when set up in no snoop'),
  // Younger than the kernel's table.
  0x91: unknown,
};

export function reasonInfo(reason: number): ReasonInfo {
  return reasons[reason] ?? unknown;
}

/** The name of a reason, for people; `0x..` where there is none. */
export function reasonName(reason: number): string {
  for (const [name, number] of Object.entries(Reason)) if (number === reason) return name;
  return `0x${reason.toString(16)}`;
}
