/**
 * What hardware and driver of VT-d leave in memory for each other: root, context and PASID entries (chapter 9,
 * "Translation Structure Formats"), invalidation descriptors (section 6.5.2) and page requests (section 7.4). Sizes in
 * bytes; a field is given by the 32-bit word it starts in where code works on words.
 */

/** The interrupt window: addresses 0xfee?????. */
export const INTERRUPT_LO = 0xfee0_0000 | 0;
export const INTERRUPT_MASK = -1 << 20;

/** Which bits of a high word are above `width` bits of an address (32 < width <= 64). */
export function beyond(width: number): number {
  return width < 64 ? -1 << (width - 32) : 0;
}

/** Root entry: 16 bytes, index is the bus; in scalable mode a pointer each for the lower and upper half. */
export const ROOT_ENTRY = 16;
/** Scalable-mode context entry: 32 bytes, 128 to a table. Legacy: 16 bytes, 256 to a table. */
export const SM_CONTEXT_ENTRY = 32;
export const CONTEXT_ENTRY = 16;
export const PASID_DIR_ENTRY = 8;
export const PASID_ENTRY = 64;
/** Entries of a PASID table, and lg2 of it. */
export const PASID_TABLE_LG2 = 6;

/** Bit 0 of every entry's first word. */
export const PRESENT = 1 << 0;
/** Bit 1 of context, PASID directory and PASID entries: fault processing disable. */
export const FPD = 1 << 1;

/** Scalable context entry, word 0. */
export const SM_CTX_DTE = 1 << 2;
export const SM_CTX_PASIDE = 1 << 3;
export const SM_CTX_PRE = 1 << 4;
export const SM_CTX_PDTS_SHIFT = 9;
export const SM_CTX_PDTS_MASK = 7;

/** Legacy context entry, word 0: translation type. */
export const CTX_TT_SHIFT = 2;
export const CTX_TT_DEV_IOTLB = 1;
export const CTX_TT_PASS_THROUGH = 2;

/** Scalable context entry, word 2. */
export const SM_CTX_RID_PASID_MASK = 0xfffff;
export const SM_CTX_RID_PRIV = 1 << 20;

/** Legacy context entry, word 2: address width in bits 2:0, domain id from bit 8. */
export const CTX_AW_MASK = 7;
export const CTX_DID_SHIFT = 8;

/** PASID entry, word 0. */
export const PE_AW_SHIFT = 2;
export const PE_AW_MASK = 7;
export const PE_PGTT_SHIFT = 6;
export const PE_PGTT_MASK = 7;
export const PGTT_FIRST_STAGE = 1;
export const PGTT_SECOND_STAGE = 2;
export const PGTT_NESTED = 3;
export const PGTT_PASS_THROUGH = 4;
export const PE_SSADE = 1 << 9;
/** PASID entry, word 2: domain id. */
export const PE_DID_MASK = 0xffff;
export const PE_PWSNP = 1 << 23;
export const PE_PGSNP = 1 << 24;
export const PE_CD = 1 << 25;
export const PE_EMTE = 1 << 26;
/** PASID entry, word 4. */
export const PE_SRE = 1 << 0;
export const PE_ERE = 1 << 1;
export const PE_FSPM_SHIFT = 2;
export const PE_FSPM_MASK = 3;
export const PE_WPE = 1 << 4;
export const PE_NXE = 1 << 5;
export const PE_SMEP = 1 << 6;
export const PE_EAFE = 1 << 7;

/** Invalidation descriptor types (bits 3:0; bits 11:9 are 0 for all of these). */
export const QI_CONTEXT_CACHE = 1;
export const QI_IOTLB = 2;
export const QI_DEVICE_TLB = 3;
export const QI_INTERRUPT_ENTRY = 4;
export const QI_WAIT = 5;
export const QI_PASID_IOTLB = 6;
export const QI_PASID_CACHE = 7;
export const QI_PASID_DEVICE_TLB = 8;
export const QI_PAGE_GROUP_RESPONSE = 9;

/** Bytes of a descriptor in 256-bit mode, and of a page request. */
export const QI_DESCRIPTOR_256 = 32;
export const QI_DESCRIPTOR_128 = 16;
export const PAGE_REQUEST = 32;

/** Page request, word 0: type in bits 7:0, requester id from bit 16. */
export const PR_TYPE_REQUEST = 1;
export const PR_PASID_PRESENT = 1 << 8;
export const PR_SOURCE_SHIFT = 16;
/** Word 1: PASID in bits 19:0. */
export const PR_PASID_MASK = 0xfffff;
export const PR_EXECUTE = 1 << 20;
export const PR_PRIVILEGED = 1 << 21;
/** Word 2: the address from bit 12. */
export const PR_READ = 1 << 0;
export const PR_WRITE = 1 << 1;
export const PR_LAST = 1 << 2;
export const PR_GROUP_SHIFT = 3;
export const PR_GROUP_MASK = 0x1ff;

/** Domain ids that Linux' driver does not hand out: 0 is the caching mode's, 1 is first stage's own (FLPT_DEFAULT_DID). */
export const FIRST_FREE_DID = 2;
export const FLPT_DEFAULT_DID = 1;
