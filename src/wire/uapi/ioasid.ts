/**
 * The ioctls of `/dev/ioasid`, and what a VFIO device file knows of it: one allocation call for each kind of page table,
 * one destroy for all. Names are VERB_IOASID_KIND. The rules are those of `/dev/iommu`: `size` first, a struct may grow,
 * a longer one is accepted when what is not known is zero (else E2BIG), an unknown flag or format is EOPNOTSUPP.
 */
import { s32, struct, u32, u64, type Infer } from '../struct.js';

/** _IO(0xd2, 0x80) and so on. */
export const ALLOC_IOASID = 0xd280;
export const ALLOC_IOASID_SVA = 0xd281;
export const ALLOC_IOASID_KVM = 0xd282;
export const ALLOC_IOASID_USER_PAGE_TABLE = 0xd283;
export const ALLOC_IOASID_NESTED_PAGE_TABLE = 0xd284;
export const DESTROY_IOASID = 0xd285;
export const MAP_IOASID = 0xd286;
export const UNMAP_IOASID = 0xd287;
export const INVALIDATE_IOASID = 0xd288;
export const INFO_IOASID = 0xd289;
export const FAULT_IOASID = 0xd28a;
/** On a VFIO device file that is bound to a /dev/ioasid. */
export const AUTHORIZE_IOASID = 0xd290;
export const DEAUTHORIZE_IOASID = 0xd291;

/** flags of FAULT_IOASID: faults and responses go through memory that is mapped from the file. */
export const IOASID_FAULT_RING = 1;
/** flags of an allocation: faults go to the fault file `fault_id`. */
export const IOASID_FAULT = 1;
/** flags of MAP_IOASID */
export const IOASID_READ = 1;
export const IOASID_WRITE = 2;
/** flags of AUTHORIZE_IOASID and DEAUTHORIZE_IOASID: `pasid` of the device, not the device as a whole. */
export const IOASID_PASID = 1;

/** kind of INFO_IOASID */
export const IOASID_KIND_KERNEL = 1;
export const IOASID_KIND_SVA = 2;
export const IOASID_KIND_KVM = 3;
export const IOASID_KIND_USER_PAGE_TABLE = 4;
export const IOASID_KIND_NESTED_PAGE_TABLE = 5;

/** A table that ioasis fills, compatible with the devices that are bound to this file. */
export const alloc_ioasid = struct('alloc_ioasid', 16, {
  size: u32(0),
  flags: u32(4),
  out_ioasid: u32(8),
  __reserved: u32(12),
});
export type AllocIoasid = Infer<typeof alloc_ioasid>;

/** The address space of a process: the caller's own where `pidfd` is -1. */
export const alloc_ioasid_sva = struct('alloc_ioasid_sva', 16, {
  size: u32(0),
  flags: u32(4),
  pidfd: s32(8),
  out_ioasid: u32(12),
});
export type AllocIoasidSva = Infer<typeof alloc_ioasid_sva>;

/**
 * The guest-physical addresses of a virtual machine. `fd` is the machine's; this call is also one of the machine's own
 * file, and there `fd` is that of the /dev/ioasid.
 */
export const alloc_ioasid_kvm = struct('alloc_ioasid_kvm', 16, {
  size: u32(0),
  flags: u32(4),
  fd: s32(8),
  out_ioasid: u32(12),
});
export type AllocIoasidKvm = Infer<typeof alloc_ioasid_kvm>;

/** A table of the caller's own, whose root and whose entries are addresses of its process. */
export const alloc_ioasid_user_page_table = struct('alloc_ioasid_user_page_table', 40, {
  size: u32(0),
  flags: u32(4),
  /** enum iommu_hwpt_data_type: what `data_uptr` is. */
  format: u32(8),
  data_len: u32(12),
  data_uptr: u64(16),
  fault_id: u32(24),
  out_ioasid: u32(28),
  __reserved: u64(32),
});
export type AllocIoasidUserPageTable = Infer<typeof alloc_ioasid_user_page_table>;

/** The same with the addresses of a parent: an ioasid that ioasis fills. */
export const alloc_ioasid_nested_page_table = struct('alloc_ioasid_nested_page_table', 40, {
  size: u32(0),
  flags: u32(4),
  format: u32(8),
  data_len: u32(12),
  data_uptr: u64(16),
  fault_id: u32(24),
  out_ioasid: u32(28),
  parent: u32(32),
  __reserved: u32(36),
});
export type AllocIoasidNestedPageTable = Infer<typeof alloc_ioasid_nested_page_table>;

export const destroy_ioasid = struct('destroy_ioasid', 8, { size: u32(0), ioasid: u32(4) });
export type DestroyIoasid = Infer<typeof destroy_ioasid>;

export const map_ioasid = struct('map_ioasid', 40, {
  size: u32(0),
  flags: u32(4),
  ioasid: u32(8),
  __reserved: u32(12),
  user_va: u64(16),
  length: u64(24),
  iova: u64(32),
});
export type MapIoasid = Infer<typeof map_ioasid>;

/** Of whole mappings; `length` says afterwards how much it was. */
export const unmap_ioasid = struct('unmap_ioasid', 24, {
  size: u32(0),
  ioasid: u32(4),
  iova: u64(8),
  length: u64(16),
});
export type UnmapIoasid = Infer<typeof unmap_ioasid>;

/** Commands for what is cached of a table that somebody else writes; `entry_num` says afterwards how many took effect. */
export const invalidate_ioasid = struct('invalidate_ioasid', 32, {
  size: u32(0),
  ioasid: u32(4),
  data_uptr: u64(8),
  /** enum iommu_hwpt_invalidate_data_type, whatever the format of the table. */
  data_type: u32(16),
  entry_len: u32(20),
  entry_num: u32(24),
  __reserved: u32(28),
});
export type InvalidateIoasid = Infer<typeof invalidate_ioasid>;

export const info_ioasid = struct('info_ioasid', 40, {
  size: u32(0),
  ioasid: u32(4),
  kind: u32(8),
  /** IOASID_CAN_* */
  operations: u32(12),
  /** Devices and PASIDs that are authorised for it. */
  authorized: u32(16),
  parent: u32(20),
  /** What can be mapped, both included; other kinds: 0 and the largest address. */
  iova_start: u64(24),
  iova_last: u64(32),
});
export type InfoIoasid = Infer<typeof info_ioasid>;

/** operations of INFO_IOASID */
export const IOASID_CAN_MAP = 1;
export const IOASID_CAN_UNMAP = 2;
export const IOASID_CAN_INVALIDATE = 4;
export const IOASID_CAN_NEST = 8;
export const IOASID_CAN_FAULT = 16;

/**
 * A file of page requests: read and answered as that of IOMMU_FAULT_QUEUE_ALLOC, or with IOASID_FAULT_RING mapped, all
 * `out_length` bytes of it at offset 0.
 */
export const fault_ioasid = struct('fault_ioasid', 32, {
  size: u32(0),
  flags: u32(4),
  out_fault_id: u32(8),
  out_fault_fd: u32(12),
  /** Signalled when there is something in the ring; only with IOASID_FAULT_RING. */
  fault_eventfd: s32(16),
  /** To be signalled when responses have been written. */
  response_eventfd: s32(20),
  out_length: u64(24),
});
export type FaultIoasid = Infer<typeof fault_ioasid>;

/** `argsz` as in VFIO: what is longer is accepted, and not looked at. */
export const authorize_ioasid = struct('authorize_ioasid', 16, {
  argsz: u32(0),
  flags: u32(4),
  ioasid: u32(8),
  pasid: u32(12),
});
export type AuthorizeIoasid = Infer<typeof authorize_ioasid>;

export const declared = {
  structs: [
    alloc_ioasid,
    alloc_ioasid_sva,
    alloc_ioasid_kvm,
    alloc_ioasid_user_page_table,
    alloc_ioasid_nested_page_table,
    destroy_ioasid,
    map_ioasid,
    unmap_ioasid,
    invalidate_ioasid,
    info_ioasid,
    fault_ioasid,
    authorize_ioasid,
  ],
  constants: {
    ALLOC_IOASID,
    ALLOC_IOASID_SVA,
    ALLOC_IOASID_KVM,
    ALLOC_IOASID_USER_PAGE_TABLE,
    ALLOC_IOASID_NESTED_PAGE_TABLE,
    DESTROY_IOASID,
    MAP_IOASID,
    UNMAP_IOASID,
    INVALIDATE_IOASID,
    INFO_IOASID,
    FAULT_IOASID,
    AUTHORIZE_IOASID,
    DEAUTHORIZE_IOASID,
    IOASID_FAULT_RING,
    IOASID_FAULT,
    IOASID_READ,
    IOASID_WRITE,
    IOASID_PASID,
    IOASID_KIND_KERNEL,
    IOASID_KIND_SVA,
    IOASID_KIND_KVM,
    IOASID_KIND_USER_PAGE_TABLE,
    IOASID_KIND_NESTED_PAGE_TABLE,
    IOASID_CAN_MAP,
    IOASID_CAN_UNMAP,
    IOASID_CAN_INVALIDATE,
    IOASID_CAN_NEST,
    IOASID_CAN_FAULT,
  },
  enums: {},
};
