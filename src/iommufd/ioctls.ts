/** The ioctls of /dev/iommu: the table of contents of this folder. */
import * as uapi from '../wire/uapi/iommufd.gen.js';
import { ioasChangeProcess } from './change-process.js';
import { destroy } from './destroy.js';
import { getDirtyBitmap, setDirtyTracking } from './dirty.js';
import { inPlaceRow, ioctlTable, row, type IoctlRow, type IoctlTable } from './dispatch.js';
import { faultQueueAlloc } from './fault-queue.js';
import { getHwInfo } from './hw-info.js';
import { hwptAlloc } from './hwpt-alloc.js';
import { MapRequest, UnmapRequest } from './in-place.js';
import { hwptInvalidate } from './invalidate.js';
import {
  ioasAlloc,
  ioasAllowIovas,
  ioasCopy,
  ioasIovaRanges,
  ioasMap,
  ioasMapFile,
  ioasUnmap,
} from './ioas.js';
import { option } from './option.js';
import { veventqAlloc } from './veventq.js';
import { vfioIoas, vfioIoctl } from './vfio-compat.js';
import { hwQueueAlloc, vdeviceAlloc, viommuAlloc } from './viommu.js';

/** The third column is the last field of the struct's first version. */
export const rows: readonly IoctlRow[] = [
  row('IOMMU_DESTROY', uapi.IOMMU_DESTROY, uapi.iommu_destroy, 'id', destroy),
  row('IOMMU_IOAS_ALLOC', uapi.IOMMU_IOAS_ALLOC, uapi.iommu_ioas_alloc, 'out_ioas_id', ioasAlloc),
  row(
    'IOMMU_IOAS_ALLOW_IOVAS',
    uapi.IOMMU_IOAS_ALLOW_IOVAS,
    uapi.iommu_ioas_allow_iovas,
    'allowed_iovas',
    ioasAllowIovas,
  ),
  row('IOMMU_IOAS_COPY', uapi.IOMMU_IOAS_COPY, uapi.iommu_ioas_copy, 'src_iova', ioasCopy),
  row(
    'IOMMU_IOAS_IOVA_RANGES',
    uapi.IOMMU_IOAS_IOVA_RANGES,
    uapi.iommu_ioas_iova_ranges,
    'out_iova_alignment',
    ioasIovaRanges,
  ),
  inPlaceRow('IOMMU_IOAS_MAP', uapi.IOMMU_IOAS_MAP, uapi.iommu_ioas_map, 'iova', new MapRequest(), ioasMap),
  row('IOMMU_IOAS_MAP_FILE', uapi.IOMMU_IOAS_MAP_FILE, uapi.iommu_ioas_map_file, 'iova', ioasMapFile),
  inPlaceRow(
    'IOMMU_IOAS_UNMAP',
    uapi.IOMMU_IOAS_UNMAP,
    uapi.iommu_ioas_unmap,
    'length',
    new UnmapRequest(),
    ioasUnmap,
  ),
  row(
    'IOMMU_IOAS_CHANGE_PROCESS',
    uapi.IOMMU_IOAS_CHANGE_PROCESS,
    uapi.iommu_ioas_change_process,
    '__reserved',
    ioasChangeProcess,
  ),
  row('IOMMU_OPTION', uapi.IOMMU_OPTION, uapi.iommu_option, 'val64', option),
  row('IOMMU_VFIO_IOAS', uapi.IOMMU_VFIO_IOAS, uapi.iommu_vfio_ioas, '__reserved', vfioIoas),
  row('IOMMU_HWPT_ALLOC', uapi.IOMMU_HWPT_ALLOC, uapi.iommu_hwpt_alloc, '__reserved', hwptAlloc),
  row('IOMMU_GET_HW_INFO', uapi.IOMMU_GET_HW_INFO, uapi.iommu_hw_info, '__reserved', getHwInfo),
  row(
    'IOMMU_HWPT_SET_DIRTY_TRACKING',
    uapi.IOMMU_HWPT_SET_DIRTY_TRACKING,
    uapi.iommu_hwpt_set_dirty_tracking,
    '__reserved',
    setDirtyTracking,
  ),
  row(
    'IOMMU_HWPT_GET_DIRTY_BITMAP',
    uapi.IOMMU_HWPT_GET_DIRTY_BITMAP,
    uapi.iommu_hwpt_get_dirty_bitmap,
    'data',
    getDirtyBitmap,
  ),
  row(
    'IOMMU_HWPT_INVALIDATE',
    uapi.IOMMU_HWPT_INVALIDATE,
    uapi.iommu_hwpt_invalidate,
    '__reserved',
    hwptInvalidate,
  ),
  row(
    'IOMMU_FAULT_QUEUE_ALLOC',
    uapi.IOMMU_FAULT_QUEUE_ALLOC,
    uapi.iommu_fault_alloc,
    'out_fault_fd',
    faultQueueAlloc,
  ),
  row('IOMMU_VIOMMU_ALLOC', uapi.IOMMU_VIOMMU_ALLOC, uapi.iommu_viommu_alloc, 'out_viommu_id', viommuAlloc),
  row('IOMMU_VDEVICE_ALLOC', uapi.IOMMU_VDEVICE_ALLOC, uapi.iommu_vdevice_alloc, 'virt_id', vdeviceAlloc),
  row(
    'IOMMU_VEVENTQ_ALLOC',
    uapi.IOMMU_VEVENTQ_ALLOC,
    uapi.iommu_veventq_alloc,
    'out_veventq_fd',
    veventqAlloc,
  ),
  row('IOMMU_HW_QUEUE_ALLOC', uapi.IOMMU_HW_QUEUE_ALLOC, uapi.iommu_hw_queue_alloc, 'length', hwQueueAlloc),
];

/** What a machine without the selftest offers. */
export const iommufdIoctls: IoctlTable = ioctlTable(rows, vfioIoctl);
