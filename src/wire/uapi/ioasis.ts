/**
 * ioasis' own part of the uAPI: what Linux has no number for. Types count from IOASIS_BASE, so that they never meet
 * Linux', and go where Linux' own types go: no ioctl is new. The rules are the kernel's: a struct may grow, a longer one
 * is accepted when what is not known is zero, an unknown type is EOPNOTSUPP.
 */
import { s32, struct, u32, u64, type Infer } from '../struct.js';

/** The first number; all below 0x10a60000 are ioasis'. */
const IOASIS_BASE = 0x10a50000;

/** data_type of IOMMU_HWPT_INVALIDATE on a nested page table, whatever it was allocated with. */
export const IOASIS_HWPT_INVALIDATE_DATA_RANGE = 0x10a50000;
/** type of IOMMU_VIOMMU_ALLOC. */
export const IOASIS_VIOMMU_TYPE_VTD = 0x10a50001;
/** type of IOMMU_VEVENTQ_ALLOC. */
export const IOASIS_VEVENTQ_TYPE_VTD = 0x10a50002;

/** data_type of IOMMU_HWPT_ALLOC; pt_id is 0: the table is a process's. */
export const IOASIS_HWPT_DATA_SVA = 0x10a50010;
/** A virtual machine's. */
export const IOASIS_HWPT_DATA_KVM = 0x10a50011;
/** The table is a program's own, at addresses of a process, and so are the addresses in it. */
export const IOASIS_HWPT_DATA_USER_PAGE_TABLE = 0x10a50012;

/** Only entries that map pages have changed, no tables above them. */
export const IOASIS_INVALIDATE_RANGE_LEAF = 1;

export const IOASIS_VTD_FAULT_PASID_VALID = 1;
export const IOASIS_VTD_FAULT_READ = 2;
export const IOASIS_VTD_FAULT_EXEC = 4;
export const IOASIS_VTD_FAULT_PRIV = 8;

/** Translations of `start`..`last`, both in it, have changed: of the first stage's address space, in bytes. */
export const ioasis_hwpt_invalidate_range = struct('ioasis_hwpt_invalidate_range', 24, {
  start: u64(0),
  last: u64(8),
  flags: u32(16),
  __reserved: u32(20),
});
export type IoasisHwptInvalidateRange = Infer<typeof ioasis_hwpt_invalidate_range>;

/** The process that `pidfd` names; -1: the caller. */
export const ioasis_hwpt_sva = struct('ioasis_hwpt_sva', 8, {
  pidfd: s32(0),
  __reserved: u32(4),
});
export type IoasisHwptSva = Infer<typeof ioasis_hwpt_sva>;

/** The virtual machine whose file `kvm_fd` is. */
export const ioasis_hwpt_kvm = struct('ioasis_hwpt_kvm', 8, {
  kvm_fd: s32(0),
  __reserved: u32(4),
});
export type IoasisHwptKvm = Infer<typeof ioasis_hwpt_kvm>;

/** A table of one stage, in a format of the unit's: its root is an address of the caller's process. */
export const ioasis_hwpt_user_page_table = struct('ioasis_hwpt_user_page_table', 16, {
  /** enum iommu_hwpt_data_type: what `data_uptr` is. */
  format: u32(0),
  data_len: u32(4),
  data_uptr: u64(8),
});
export type IoasisHwptUserPageTable = Infer<typeof ioasis_hwpt_user_page_table>;

/** A fault that ended a request, as VT-d records it, with the number that the vDEVICE has in the guest. */
export const ioasis_vevent_vtd_fault = struct('ioasis_vevent_vtd_fault', 32, {
  virt_id: u64(0),
  addr: u64(8),
  pasid: u32(16),
  flags: u32(20),
  reason: u32(24),
  __reserved: u32(28),
});
export type IoasisVeventVtdFault = Infer<typeof ioasis_vevent_vtd_fault>;

/** Whether a type is one of ioasis', known or not. */
export function isIoasisNumber(type: number): boolean {
  return type >>> 16 === IOASIS_BASE >>> 16;
}

export const declared = {
  structs: [
    ioasis_hwpt_invalidate_range,
    ioasis_hwpt_sva,
    ioasis_hwpt_kvm,
    ioasis_hwpt_user_page_table,
    ioasis_vevent_vtd_fault,
  ],
  constants: {
    IOASIS_BASE,
    IOASIS_HWPT_INVALIDATE_DATA_RANGE,
    IOASIS_VIOMMU_TYPE_VTD,
    IOASIS_VEVENTQ_TYPE_VTD,
    IOASIS_HWPT_DATA_SVA,
    IOASIS_HWPT_DATA_KVM,
    IOASIS_HWPT_DATA_USER_PAGE_TABLE,
    IOASIS_INVALIDATE_RANGE_LEAF,
    IOASIS_VTD_FAULT_PASID_VALID,
    IOASIS_VTD_FAULT_READ,
    IOASIS_VTD_FAULT_EXEC,
    IOASIS_VTD_FAULT_PRIV,
  },
  enums: {},
};
