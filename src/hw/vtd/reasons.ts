/**
 * Why a request was refused: the fault reasons of Table 30 (section 7.1.3) with what each of them means for reporting.
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
  PASID_IS_RID: 0x48,
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
  PASID_BEYOND_PSS: 0x89,
  FS_AD_NO_SNOOP: 0x90,
  FS_BIT_UPDATE: 0x91,
} as const;

/** Reported whatever FPD says. */
const always: ReadonlySet<number> = new Set([
  Reason.ROOT_NOT_PRESENT,
  Reason.ROOT_TABLE,
  Reason.CONTEXT_TABLE,
  Reason.ROOT_RESERVED,
  Reason.RTADDR_INVALID,
  Reason.LEGACY_WITH_PASID,
  Reason.LEGACY_PAGE_REQUEST,
  Reason.SM_ROOT_ACCESS,
  Reason.SM_ROOT_NOT_PRESENT,
  Reason.SM_ROOT_RESERVED,
  Reason.SM_CONTEXT_ACCESS,
  Reason.PASID_DIR_ACCESS,
  Reason.PASID_ACCESS,
]);

/** The completion of a translation request is a success that permits nothing, or only some of what was asked for. */
const recoverable: ReadonlySet<number> = new Set([
  Reason.BEYOND_WIDTH,
  Reason.WRITE,
  Reason.READ,
  Reason.PASID_DIR_NOT_PRESENT,
  Reason.PASID_NOT_PRESENT,
  Reason.ERE_CLEAR,
  Reason.SRE_CLEAR,
  Reason.FS_ACCESS,
  Reason.FS_NOT_PRESENT,
  Reason.FS_RESERVED,
  Reason.FS_ROOT_ACCESS,
  Reason.FS_BEYOND_MGAW,
  Reason.FS_ROOT_NESTED_READ,
  Reason.FS_NESTED_READ,
  Reason.FS_NESTED_WRITE,
  Reason.SS_PERMISSION,
  Reason.NOT_CANONICAL,
  Reason.USER,
  Reason.EXECUTE,
  Reason.BEYOND_HARDWARE,
  Reason.SS_BEYOND_WIDTH,
  Reason.SM_WRITE,
  Reason.SM_READ,
  Reason.FS_AD_NO_SNOOP,
  Reason.FS_BIT_UPDATE,
]);

export function isQualified(reason: number): boolean {
  return !always.has(reason);
}

export function isRecoverable(reason: number): boolean {
  return recoverable.has(reason);
}

/** Recoverable, and recorded nevertheless. */
export function isReportedToo(reason: number): boolean {
  return reason === Reason.FS_BIT_UPDATE;
}
