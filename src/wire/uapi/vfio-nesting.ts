/**
 * VFIO's calls of 2019 to 2021 by which a guest's page tables were to be bound through a container. Linux never had them;
 * numbers and layouts are those of the proposals where they agree. Flags choose what a call does; what is not implemented
 * is not defined. Payloads are those of <linux/iommu.h> of that time, in the layout of v5.10 (`argsz` first) or of v5.7
 * (`version` first).
 */
import { nested, struct, u16, u32, u64, u8 } from '../struct.js';
import { vfio_info_cap_header } from './vfio.gen.js';

/** For VFIO_SET_IOMMU and VFIO_CHECK_EXTENSION. */
export const VFIO_TYPE1_NESTING_IOMMU = 6;

/** _IO(VFIO_TYPE, VFIO_BASE + 18), + 25, + 26 */
export const VFIO_IOMMU_PASID_REQUEST = 0x3b76;
export const VFIO_IOMMU_BIND = 0x3b7d;
export const VFIO_IOMMU_CACHE_INVALIDATE = 0x3b7e;

export const VFIO_IOMMU_PASID_ALLOC = 1;
export const VFIO_IOMMU_PASID_FREE = 2;
export const VFIO_IOMMU_BIND_GUEST_PGTBL = 1;
export const VFIO_IOMMU_UNBIND_GUEST_PGTBL = 2;

/** Of VFIO_IOMMU_GET_INFO; the proposals' own number, 3, is DMA_AVAIL today. */
export const VFIO_IOMMU_TYPE1_INFO_CAP_NESTING = 0x10a5;

export const IOMMU_NESTING_FEAT_SYSWIDE_PASID = 1;
export const IOMMU_NESTING_FEAT_BIND_PGTBL = 2;
export const IOMMU_NESTING_FEAT_CACHE_INVLD = 4;
/** Layouts that a payload may have. */
export const IOMMU_NESTING_LAYOUT_ARGSZ = 1;
export const IOMMU_NESTING_LAYOUT_VERSION = 2;

export const IOMMU_PASID_FORMAT_INTEL_VTD = 1;
export const IOMMU_GPASID_BIND_VERSION_1 = 1;
export const IOMMU_SVA_GPASID_VAL = 1;
export const IOMMU_SVA_VTD_GPASID_SRE = 1;
export const IOMMU_SVA_VTD_GPASID_EAFE = 2;
export const IOMMU_SVA_VTD_GPASID_WPE = 64;

export const IOMMU_CACHE_INVALIDATE_INFO_VERSION_1 = 1;
export const IOMMU_CACHE_INV_TYPE_IOTLB = 1;
export const IOMMU_CACHE_INV_TYPE_DEV_IOTLB = 2;
export const IOMMU_CACHE_INV_TYPE_PASID = 4;
export const IOMMU_INV_GRANU_DOMAIN = 0;
export const IOMMU_INV_GRANU_PASID = 1;
export const IOMMU_INV_GRANU_ADDR = 2;
export const IOMMU_INV_ADDR_FLAGS_PASID = 1;
export const IOMMU_INV_ADDR_FLAGS_ARCHID = 2;
export const IOMMU_INV_ADDR_FLAGS_LEAF = 4;

/** FREE frees `min`..`max`, both included. */
export const vfio_iommu_type1_pasid_request = struct('vfio_iommu_type1_pasid_request', 16, {
  argsz: u32(0),
  flags: u32(4),
  min: u32(8),
  max: u32(12),
});

/** In front of a payload. */
export const vfio_iommu_type1_bind = struct('vfio_iommu_type1_bind', 8, { argsz: u32(0), flags: u32(4) });
export const vfio_iommu_type1_cache_invalidate = struct('vfio_iommu_type1_cache_invalidate', 8, {
  argsz: u32(0),
  flags: u32(4),
});

/** The capability with its header: struct iommu_nesting_info, and in its padding what payloads may be. */
export const vfio_iommu_type1_info_cap_nesting = struct('vfio_iommu_type1_info_cap_nesting', 64, {
  id: u16(0),
  version: u16(2),
  next: u32(4),
  argsz: u32(8),
  flags: u32(12),
  format: u32(16),
  features: u32(20),
  addr_width: u16(24),
  pasid_bits: u16(26),
  /** Bit n: version n of iommu_gpasid_bind_data and iommu_cache_invalidate_info. */
  versions: u32(28),
  /** IOMMU_NESTING_LAYOUT_* */
  layouts: u32(32),
  cap_reg: u64(48),
  ecap_reg: u64(56),
});

/** struct iommu_gpasid_bind_data with the vendor part of VT-d, as of v5.10. */
export const iommu_gpasid_bind_data = struct('iommu_gpasid_bind_data', 72, {
  argsz: u32(0),
  version: u32(4),
  format: u32(8),
  addr_width: u32(12),
  flags: u64(16),
  gpgd: u64(24),
  hpasid: u64(32),
  gpasid: u64(40),
  padding: u64(48),
  vtd_flags: u64(56),
  pat: u32(64),
  emt: u32(68),
});

/** The same as of v5.7; its padding begins amid the struct. */
export const iommu_gpasid_bind_data_v57 = struct('iommu_gpasid_bind_data_v57', 72, {
  version: u32(0),
  format: u32(4),
  flags: u64(8),
  gpgd: u64(16),
  hpasid: u64(24),
  gpasid: u64(32),
  addr_width: u32(40),
  padding_low: u32(44),
  padding: u64(48),
  vtd_flags: u64(56),
  pat: u32(64),
  emt: u32(68),
});

/** struct iommu_cache_invalidate_info of v5.10 with iommu_inv_addr_info; iommu_inv_pasid_info is its first 16 bytes. */
export const iommu_cache_invalidate_info = struct('iommu_cache_invalidate_info', 56, {
  argsz: u32(0),
  version: u32(4),
  cache: u8(8),
  granularity: u8(9),
  padding_low: u16(10),
  padding: u32(12),
  granu_flags: u32(16),
  archid: u32(20),
  pasid: u64(24),
  addr: u64(32),
  granule_size: u64(40),
  nb_granules: u64(48),
});

/** As of v5.7. */
export const iommu_cache_invalidate_info_v57 = struct('iommu_cache_invalidate_info_v57', 48, {
  version: u32(0),
  cache: u8(4),
  granularity: u8(5),
  padding: u16(6),
  granu_flags: u32(8),
  archid: u32(12),
  pasid: u64(16),
  addr: u64(24),
  granule_size: u64(32),
  nb_granules: u64(40),
});

/** A device whose group is in a nesting container has regions of this type, and an interrupt that tells of them. */
export const VFIO_REGION_TYPE_NESTED = 4;
export const VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT = 1;
export const VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT_RESPONSE = 2;
export const VFIO_REGION_INFO_CAP_DMA_FAULT = 6;
export const VFIO_REGION_INFO_CAP_DMA_FAULT_RESPONSE = 7;
export const VFIO_IRQ_INFO_FLAG_CAPS = 16;
export const VFIO_IRQ_INFO_CAP_TYPE = 3;
export const VFIO_IRQ_TYPE_NESTED = 1;
export const VFIO_IRQ_SUBTYPE_DMA_FAULT = 1;

/** Page 0 of the fault region: the program writes tail. `lost` is ioasis' own. */
const vfio_region_dma_fault = struct('vfio_region_dma_fault', 24, {
  tail: u32(0),
  entry_size: u32(4),
  nb_entries: u32(8),
  offset: u32(12),
  head: u32(16),
  lost: u32(20),
});

/** Page 0 of the response region: the program writes head. `refused` is ioasis' own. */
const vfio_region_dma_fault_response = struct('vfio_region_dma_fault_response', 24, {
  head: u32(0),
  entry_size: u32(4),
  nb_entries: u32(8),
  offset: u32(12),
  tail: u32(16),
  refused: u32(20),
});

/** Of either region: which version its header and entries are of. */
export const vfio_region_info_cap_fault = struct('vfio_region_info_cap_fault', 12, {
  header: nested(vfio_info_cap_header)(0),
  version: u32(8),
});

/** struct vfio_irq_info where flags has VFIO_IRQ_INFO_FLAG_CAPS. */
export const vfio_irq_info_caps = struct('vfio_irq_info_caps', 24, {
  argsz: u32(0),
  flags: u32(4),
  index: u32(8),
  count: u32(12),
  cap_offset: u32(16),
});

export const vfio_irq_info_cap_type = struct('vfio_irq_info_cap_type', 16, {
  header: nested(vfio_info_cap_header)(0),
  type: u32(8),
  subtype: u32(12),
});

const constants = {
  VFIO_TYPE1_NESTING_IOMMU,
  VFIO_IOMMU_PASID_REQUEST,
  VFIO_IOMMU_BIND,
  VFIO_IOMMU_CACHE_INVALIDATE,
  VFIO_IOMMU_PASID_ALLOC,
  VFIO_IOMMU_PASID_FREE,
  VFIO_IOMMU_BIND_GUEST_PGTBL,
  VFIO_IOMMU_UNBIND_GUEST_PGTBL,
  VFIO_IOMMU_TYPE1_INFO_CAP_NESTING,
  IOMMU_NESTING_FEAT_SYSWIDE_PASID,
  IOMMU_NESTING_FEAT_BIND_PGTBL,
  IOMMU_NESTING_FEAT_CACHE_INVLD,
  IOMMU_NESTING_LAYOUT_ARGSZ,
  IOMMU_NESTING_LAYOUT_VERSION,
  IOMMU_PASID_FORMAT_INTEL_VTD,
  IOMMU_GPASID_BIND_VERSION_1,
  IOMMU_SVA_GPASID_VAL,
  IOMMU_SVA_VTD_GPASID_SRE,
  IOMMU_SVA_VTD_GPASID_EAFE,
  IOMMU_SVA_VTD_GPASID_WPE,
  IOMMU_CACHE_INVALIDATE_INFO_VERSION_1,
  IOMMU_CACHE_INV_TYPE_IOTLB,
  IOMMU_CACHE_INV_TYPE_DEV_IOTLB,
  IOMMU_CACHE_INV_TYPE_PASID,
  IOMMU_INV_GRANU_DOMAIN,
  IOMMU_INV_GRANU_PASID,
  IOMMU_INV_GRANU_ADDR,
  IOMMU_INV_ADDR_FLAGS_PASID,
  IOMMU_INV_ADDR_FLAGS_ARCHID,
  IOMMU_INV_ADDR_FLAGS_LEAF,
  VFIO_REGION_TYPE_NESTED,
  VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT,
  VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT_RESPONSE,
  VFIO_REGION_INFO_CAP_DMA_FAULT,
  VFIO_REGION_INFO_CAP_DMA_FAULT_RESPONSE,
  VFIO_IRQ_INFO_FLAG_CAPS,
  VFIO_IRQ_INFO_CAP_TYPE,
  VFIO_IRQ_TYPE_NESTED,
  VFIO_IRQ_SUBTYPE_DMA_FAULT,
};

export const declared = {
  structs: [
    vfio_iommu_type1_pasid_request,
    vfio_iommu_type1_bind,
    vfio_iommu_type1_cache_invalidate,
    vfio_iommu_type1_info_cap_nesting,
    iommu_gpasid_bind_data,
    iommu_gpasid_bind_data_v57,
    iommu_cache_invalidate_info,
    iommu_cache_invalidate_info_v57,
    vfio_region_dma_fault,
    vfio_region_dma_fault_response,
    vfio_region_info_cap_fault,
    vfio_irq_info_caps,
    vfio_irq_info_cap_type,
  ],
  constants,
  enums: {},
};
