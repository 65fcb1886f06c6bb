/** VFIO_IOMMU_GET_INFO of type1: page sizes, then a chain of capabilities, of which all fit or none is written. */
import { refuse } from '../base/errno.js';
import type { Call } from '../iommufd/call.js';
import {
  VFIO_IOMMU_INFO_CAPS,
  VFIO_IOMMU_INFO_PGSIZES,
  VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
  VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION,
  VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
  vfio_iommu_type1_info,
  vfio_iommu_type1_info_cap_iova_range,
  vfio_iommu_type1_info_cap_migration,
  vfio_iommu_type1_info_dma_avail,
  vfio_iova_range,
} from '../wire/uapi/vfio.gen.js';
import { InfoCaps } from './info-caps.js';
import { nestingCap } from './nesting/ioctls.js';
import type { Type1 } from './type1.js';
import { BITMAP_MOST } from './type1-bitmap.js';
import { rules } from './type1-rules.js';

const LEAST = vfio_iommu_type1_info.endOf('iova_pgsizes');
const SIZE = vfio_iommu_type1_info.size;

export function getInfo(call: Call, type1: Type1): number {
  const { argsz } = call.copyHead(vfio_iommu_type1_info, call.arg, LEAST, rules.type1_info_unreadable);
  if (argsz < LEAST) refuse(rules.type1_info_size, { argsz, least: LEAST });
  const caps = new InfoCaps();
  for (const cap of [migrationCap(type1), dmaAvailCap(type1), iovaRangeCap(type1)]) caps.add(cap);
  if (type1.nesting !== null) caps.add(nestingCap(type1));
  const needed = SIZE + caps.size;
  const fits = argsz >= needed;
  if (fits) call.copyOut(call.arg + BigInt(SIZE), caps.bytes(SIZE), rules.type1_info_caps_unwritable);
  const info = {
    argsz: fits ? argsz : needed,
    flags: VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
    iova_pgsizes: type1.pageSizes,
    cap_offset: fits ? SIZE : 0,
    pad: 0,
  };
  const bytes = new Uint8Array(SIZE);
  vfio_iommu_type1_info.encode(info, bytes);
  call.copyOut(call.arg, bytes.subarray(0, Math.min(argsz, SIZE)), rules.type1_info_unwritable);
  return 0;
}

function migrationCap({ pageSize }: Type1): Uint8Array {
  const header = { id: VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, version: 1, next: 0 };
  const cap = vfio_iommu_type1_info_cap_migration;
  const bytes = new Uint8Array(cap.size);
  cap.encode({ header, flags: 0, pgsize_bitmap: pageSize, max_dirty_bitmap_size: BITMAP_MOST }, bytes);
  return bytes;
}

function dmaAvailCap({ room }: Type1): Uint8Array {
  const header = { id: VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, version: 1, next: 0 };
  const bytes = new Uint8Array(vfio_iommu_type1_info_dma_avail.size);
  vfio_iommu_type1_info_dma_avail.encode({ header, avail: room }, bytes);
  return bytes;
}

function iovaRangeCap({ table }: Type1): Uint8Array {
  const valid = [...table.reserved.holes()];
  const header = { id: VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, version: 1, next: 0 };
  const cap = vfio_iommu_type1_info_cap_iova_range;
  const bytes = new Uint8Array(cap.size + valid.length * vfio_iova_range.size);
  cap.encode({ header, nr_iovas: valid.length, reserved: 0 }, bytes);
  valid.forEach(({ start, last }, index) => {
    vfio_iova_range.encode({ start, end: last }, bytes, cap.size + index * vfio_iova_range.size);
  });
  return bytes;
}
