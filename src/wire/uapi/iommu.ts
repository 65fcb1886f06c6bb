/**
 * Of <linux/iommu.h> as Linux had it until 5.18 or so: faults, page responses, and what VFIO's calls of that time carry.
 * Offsets and numbers are those of version 1.
 */
import { struct, u32, u64, type Infer } from '../struct.js';

export const IOMMU_FAULT_PERM_READ = 1;
export const IOMMU_FAULT_PERM_WRITE = 2;
export const IOMMU_FAULT_PERM_EXEC = 4;
export const IOMMU_FAULT_PERM_PRIV = 8;

/** type of a fault */
export const IOMMU_FAULT_DMA_UNRECOV = 1;
export const IOMMU_FAULT_PAGE_REQ = 2;

export const IOMMU_FAULT_REASON_UNKNOWN = 0;
export const IOMMU_FAULT_REASON_PASID_FETCH = 1;
export const IOMMU_FAULT_REASON_BAD_PASID_ENTRY = 2;
export const IOMMU_FAULT_REASON_PASID_INVALID = 3;
export const IOMMU_FAULT_REASON_WALK_EABT = 4;
export const IOMMU_FAULT_REASON_PTE_FETCH = 5;
export const IOMMU_FAULT_REASON_PERMISSION = 6;
const IOMMU_FAULT_REASON_ACCESS = 7;
export const IOMMU_FAULT_REASON_OOR_ADDRESS = 8;

export const IOMMU_FAULT_UNRECOV_PASID_VALID = 1;
export const IOMMU_FAULT_UNRECOV_ADDR_VALID = 2;
const IOMMU_FAULT_PAGE_REQUEST_PASID_VALID = 1;
export const IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE = 2;

export const IOMMU_PAGE_RESP_VERSION_1 = 1;
export const IOMMU_PAGE_RESP_PASID_VALID = 1;
export const IOMMU_PAGE_RESP_SUCCESS = 0;
export const IOMMU_PAGE_RESP_INVALID = 1;
export const IOMMU_PAGE_RESP_FAILURE = 2;

/**
 * struct iommu_fault with the unrecoverable arm of its union. `dev_id` lies where Linux had padding: a ring of
 * /dev/ioasid serves many devices.
 */
export const iommu_fault_unrecov = struct('iommu_fault_unrecov', 64, {
  type: u32(0),
  dev_id: u32(4),
  reason: u32(8),
  flags: u32(12),
  pasid: u32(16),
  perm: u32(20),
  addr: u64(24),
  fetch_addr: u64(32),
});
export type IommuFaultUnrecov = Infer<typeof iommu_fault_unrecov>;

/** The same with the arm of page requests. */
export const iommu_fault_prm = struct('iommu_fault_prm', 64, {
  type: u32(0),
  dev_id: u32(4),
  flags: u32(8),
  pasid: u32(12),
  grpid: u32(16),
  perm: u32(20),
  addr: u64(24),
});
export type IommuFaultPrm = Infer<typeof iommu_fault_prm>;

/** A response in a ring that serves one device. */
export const iommu_page_response = struct('iommu_page_response', 24, {
  argsz: u32(0),
  version: u32(4),
  flags: u32(8),
  pasid: u32(12),
  grpid: u32(16),
  code: u32(20),
});

/** The same with the device behind it, where a ring serves many. */
export const ioasid_page_response = struct('ioasid_page_response', 32, {
  argsz: u32(0),
  version: u32(4),
  flags: u32(8),
  pasid: u32(12),
  grpid: u32(16),
  code: u32(20),
  dev_id: u32(24),
  __reserved: u32(28),
});
export type IoasidPageResponse = Infer<typeof ioasid_page_response>;

/** Page 0 of a fault ring. What the producer writes: head and lost; what the program writes: tail. */
const ioasid_fault_header = struct('ioasid_fault_header', 24, {
  tail: u32(0),
  entry_size: u32(4),
  nb_entries: u32(8),
  offset: u32(12),
  head: u32(16),
  lost: u32(20),
});

/** In front of the responses: the program writes head, and tail follows. */
const ioasid_response_header = struct('ioasid_response_header', 24, {
  head: u32(0),
  entry_size: u32(4),
  nb_entries: u32(8),
  offset: u32(12),
  tail: u32(16),
  refused: u32(20),
});

export const declared = {
  structs: [
    iommu_fault_unrecov,
    iommu_fault_prm,
    iommu_page_response,
    ioasid_page_response,
    ioasid_fault_header,
    ioasid_response_header,
  ],
  constants: {
    IOMMU_FAULT_PERM_READ,
    IOMMU_FAULT_PERM_WRITE,
    IOMMU_FAULT_PERM_EXEC,
    IOMMU_FAULT_PERM_PRIV,
    IOMMU_FAULT_DMA_UNRECOV,
    IOMMU_FAULT_PAGE_REQ,
    IOMMU_FAULT_REASON_UNKNOWN,
    IOMMU_FAULT_REASON_PASID_FETCH,
    IOMMU_FAULT_REASON_BAD_PASID_ENTRY,
    IOMMU_FAULT_REASON_PASID_INVALID,
    IOMMU_FAULT_REASON_WALK_EABT,
    IOMMU_FAULT_REASON_PTE_FETCH,
    IOMMU_FAULT_REASON_PERMISSION,
    IOMMU_FAULT_REASON_ACCESS,
    IOMMU_FAULT_REASON_OOR_ADDRESS,
    IOMMU_FAULT_UNRECOV_PASID_VALID,
    IOMMU_FAULT_UNRECOV_ADDR_VALID,
    IOMMU_FAULT_PAGE_REQUEST_PASID_VALID,
    IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE,
    IOMMU_PAGE_RESP_VERSION_1,
    IOMMU_PAGE_RESP_PASID_VALID,
    IOMMU_PAGE_RESP_SUCCESS,
    IOMMU_PAGE_RESP_INVALID,
    IOMMU_PAGE_RESP_FAILURE,
  },
  enums: {},
};
