/**
 * Every ioctl of `/dev/iommu` and of a VFIO container as people read it: its name, its struct, the last field that a caller must supply,
 * and what the numbers in its fields are called. The engine does not use this; it is for traces and tools.
 */
import { deviceIoctlTable } from './device-ioctls.js';
import { hwptDataTypes, invalidateEntries, invalidateTypes, ownNamed } from './hwpt-hints.js';
import { ioasidIoctlTable, nestingIoctlTable } from './ioasid-ioctls.js';
import {
  named,
  plainRow,
  row,
  type Hints,
  type IoctlInfo,
  type Names,
  type Pointer,
  type Row,
} from './ioctl-rows.js';
import type { Struct } from './struct.js';
import * as iommufd from './uapi/iommufd.gen.js';
import * as test from './uapi/iommufd_test.gen.js';
import * as vfio from './uapi/vfio.gen.js';

const testConstants: Names = test.declared.constants;
const vfioConstants: Names = vfio.declared.constants;
const mapFlags = { flags: named(iommufd.iommufd_ioas_map_flags, 'IOMMU_IOAS_MAP_') };
const infoTypes = {
  ...named(iommufd.iommu_hw_info_type, 'IOMMU_HW_INFO_TYPE_'),
  ...named(testConstants, 'IOMMU_HW_INFO_TYPE_'),
};
const viommuTypes = {
  ...named(iommufd.iommu_viommu_type, 'IOMMU_VIOMMU_TYPE_'),
  ...named(testConstants, 'IOMMU_VIOMMU_TYPE_'),
  ...ownNamed('IOASIS_VIOMMU_TYPE_'),
};

const rangeList: Pointer = { length: 'num_iovas', unit: 'elements', element: iommufd.iommu_iova_range };

const ioasRows: readonly Row[] = [
  row('IOMMU_DESTROY', iommufd.IOMMU_DESTROY, iommufd.iommu_destroy, 'id'),
  row('IOMMU_IOAS_ALLOC', iommufd.IOMMU_IOAS_ALLOC, iommufd.iommu_ioas_alloc, 'out_ioas_id'),
  row(
    'IOMMU_IOAS_ALLOW_IOVAS',
    iommufd.IOMMU_IOAS_ALLOW_IOVAS,
    iommufd.iommu_ioas_allow_iovas,
    'allowed_iovas',
    { pointers: { allowed_iovas: rangeList } },
  ),
  row('IOMMU_IOAS_COPY', iommufd.IOMMU_IOAS_COPY, iommufd.iommu_ioas_copy, 'src_iova', { flags: mapFlags }),
  row(
    'IOMMU_IOAS_IOVA_RANGES',
    iommufd.IOMMU_IOAS_IOVA_RANGES,
    iommufd.iommu_ioas_iova_ranges,
    'out_iova_alignment',
    { pointers: { allowed_iovas: rangeList } },
  ),
  row('IOMMU_IOAS_MAP', iommufd.IOMMU_IOAS_MAP, iommufd.iommu_ioas_map, 'iova', { flags: mapFlags }),
  row('IOMMU_IOAS_UNMAP', iommufd.IOMMU_IOAS_UNMAP, iommufd.iommu_ioas_unmap, 'length'),
  row('IOMMU_OPTION', iommufd.IOMMU_OPTION, iommufd.iommu_option, 'val64', {
    enums: {
      option_id: named(iommufd.iommufd_option, 'IOMMU_OPTION_'),
      op: named(iommufd.iommufd_option_ops, 'IOMMU_OPTION_OP_'),
    },
  }),
  row('IOMMU_VFIO_IOAS', iommufd.IOMMU_VFIO_IOAS, iommufd.iommu_vfio_ioas, '__reserved', {
    enums: { op: named(iommufd.iommufd_vfio_ioas_op, 'IOMMU_VFIO_IOAS_') },
  }),
  row('IOMMU_IOAS_MAP_FILE', iommufd.IOMMU_IOAS_MAP_FILE, iommufd.iommu_ioas_map_file, 'iova', {
    flags: mapFlags,
  }),
  row(
    'IOMMU_IOAS_CHANGE_PROCESS',
    iommufd.IOMMU_IOAS_CHANGE_PROCESS,
    iommufd.iommu_ioas_change_process,
    '__reserved',
  ),
];

const hwptRows: readonly Row[] = [
  row('IOMMU_HWPT_ALLOC', iommufd.IOMMU_HWPT_ALLOC, iommufd.iommu_hwpt_alloc, '__reserved', {
    flags: { flags: named(iommufd.iommufd_hwpt_alloc_flags, 'IOMMU_HWPT_') },
    enums: { data_type: hwptDataTypes },
    pointers: {
      data_uptr: {
        length: 'data_len',
        unit: 'bytes',
        element: {
          by: 'data_type',
          of: {
            [iommufd.IOMMU_HWPT_DATA_VTD_S1]: iommufd.iommu_hwpt_vtd_s1,
            [iommufd.IOMMU_HWPT_DATA_ARM_SMMUV3]: iommufd.iommu_hwpt_arm_smmuv3,
            [iommufd.IOMMU_HWPT_DATA_AMD_GUEST]: iommufd.iommu_hwpt_amd_guest,
            [test.IOMMU_HWPT_DATA_SELFTEST]: test.iommu_hwpt_selftest,
          },
        },
      },
    },
  }),
  row('IOMMU_GET_HW_INFO', iommufd.IOMMU_GET_HW_INFO, iommufd.iommu_hw_info, '__reserved', {
    flags: {
      flags: named(iommufd.iommufd_hw_info_flags, 'IOMMU_HW_INFO_FLAG_'),
      out_capabilities: named(iommufd.iommufd_hw_capabilities, 'IOMMU_HW_CAP_'),
    },
    enums: { in_data_type: infoTypes, out_data_type: infoTypes },
    pointers: {
      data_uptr: {
        length: 'data_len',
        unit: 'bytes',
        element: {
          by: 'out_data_type',
          of: {
            [iommufd.IOMMU_HW_INFO_TYPE_INTEL_VTD]: iommufd.iommu_hw_info_vtd,
            [iommufd.IOMMU_HW_INFO_TYPE_ARM_SMMUV3]: iommufd.iommu_hw_info_arm_smmuv3,
            [iommufd.IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV]: iommufd.iommu_hw_info_tegra241_cmdqv,
            [iommufd.IOMMU_HW_INFO_TYPE_AMD]: iommufd.iommu_hw_info_amd,
            [test.IOMMU_HW_INFO_TYPE_SELFTEST]: test.iommu_test_hw_info,
          },
        },
      },
    },
  }),
  row(
    'IOMMU_HWPT_SET_DIRTY_TRACKING',
    iommufd.IOMMU_HWPT_SET_DIRTY_TRACKING,
    iommufd.iommu_hwpt_set_dirty_tracking,
    '__reserved',
    { flags: { flags: named(iommufd.iommufd_hwpt_set_dirty_tracking_flags, 'IOMMU_HWPT_DIRTY_TRACKING_') } },
  ),
  row(
    'IOMMU_HWPT_GET_DIRTY_BITMAP',
    iommufd.IOMMU_HWPT_GET_DIRTY_BITMAP,
    iommufd.iommu_hwpt_get_dirty_bitmap,
    'data',
    {
      flags: { flags: named(iommufd.iommufd_hwpt_get_dirty_bitmap_flags, 'IOMMU_HWPT_GET_DIRTY_BITMAP_') },
      pointers: { data: { length: 'length', unit: 'bitmap', element: null } },
    },
  ),
  row('IOMMU_HWPT_INVALIDATE', iommufd.IOMMU_HWPT_INVALIDATE, iommufd.iommu_hwpt_invalidate, '__reserved', {
    enums: { data_type: invalidateTypes },
    pointers: { data_uptr: invalidateEntries },
  }),
  row('IOMMU_FAULT_QUEUE_ALLOC', iommufd.IOMMU_FAULT_QUEUE_ALLOC, iommufd.iommu_fault_alloc, 'out_fault_fd'),
];

const viommuRows: readonly Row[] = [
  row('IOMMU_VIOMMU_ALLOC', iommufd.IOMMU_VIOMMU_ALLOC, iommufd.iommu_viommu_alloc, 'out_viommu_id', {
    enums: { type: viommuTypes },
    pointers: {
      data_uptr: {
        length: 'data_len',
        unit: 'bytes',
        element: {
          by: 'type',
          of: {
            [iommufd.IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV]: iommufd.iommu_viommu_tegra241_cmdqv,
            [test.IOMMU_VIOMMU_TYPE_SELFTEST]: test.iommu_viommu_selftest,
          },
        },
      },
    },
  }),
  row('IOMMU_VDEVICE_ALLOC', iommufd.IOMMU_VDEVICE_ALLOC, iommufd.iommu_vdevice_alloc, 'virt_id'),
  row('IOMMU_VEVENTQ_ALLOC', iommufd.IOMMU_VEVENTQ_ALLOC, iommufd.iommu_veventq_alloc, 'out_veventq_fd', {
    enums: {
      type: {
        ...named(iommufd.iommu_veventq_type, 'IOMMU_VEVENTQ_TYPE_'),
        ...named(testConstants, 'IOMMU_VEVENTQ_TYPE_'),
        ...ownNamed('IOASIS_VEVENTQ_TYPE_'),
      },
    },
  }),
  row('IOMMU_HW_QUEUE_ALLOC', iommufd.IOMMU_HW_QUEUE_ALLOC, iommufd.iommu_hw_queue_alloc, 'length', {
    enums: {
      type: {
        ...named(iommufd.iommu_hw_queue_type, 'IOMMU_HW_QUEUE_TYPE_'),
        ...named(testConstants, 'IOMMU_HW_QUEUE_TYPE_'),
      },
    },
  }),
];

const testOps = named(testConstants, 'IOMMU_TEST_OP_');

/** By the op's short name: the view that it uses, and the names in it. */
const testViews: Readonly<Record<string, readonly [Struct<any>, Hints?]>> = {
  ADD_RESERVED: [test.iommu_test_cmd_add_reserved],
  MOCK_DOMAIN: [test.iommu_test_cmd_mock_domain],
  MD_CHECK_MAP: [test.iommu_test_cmd_check_map],
  MD_CHECK_REFS: [test.iommu_test_cmd_check_refs],
  CREATE_ACCESS: [
    test.iommu_test_cmd_create_access,
    { flags: { flags: named(testConstants, 'MOCK_FLAGS_ACCESS_CREATE_') } },
  ],
  DESTROY_ACCESS_PAGES: [test.iommu_test_cmd_destroy_access_pages],
  ACCESS_PAGES: [
    test.iommu_test_cmd_access_pages,
    { flags: { flags: { WRITE: test.MOCK_FLAGS_ACCESS_WRITE, SYZ: test.MOCK_FLAGS_ACCESS_SYZ } } },
  ],
  ACCESS_RW: [
    test.iommu_test_cmd_access_rw,
    { flags: { flags: { ...named(testConstants, 'MOCK_ACCESS_RW_'), SYZ: test.MOCK_FLAGS_ACCESS_SYZ } } },
  ],
  SET_TEMP_MEMORY_LIMIT: [test.iommu_test_cmd_memory_limit],
  MOCK_DOMAIN_REPLACE: [test.iommu_test_cmd_mock_domain_replace],
  ACCESS_REPLACE_IOAS: [test.iommu_test_cmd_access_replace_ioas],
  MOCK_DOMAIN_FLAGS: [
    test.iommu_test_cmd_mock_domain_flags,
    { flags: { dev_flags: named(testConstants, 'MOCK_FLAGS_DEVICE_') } },
  ],
  DIRTY: [
    test.iommu_test_cmd_dirty,
    { pointers: { uptr: { length: 'length', unit: 'bitmap', element: null } } },
  ],
  MD_CHECK_IOTLB: [test.iommu_test_cmd_check_iotlb],
  TRIGGER_IOPF: [
    test.iommu_test_cmd_trigger_iopf,
    { flags: { perm: named(iommufd.iommu_hwpt_pgfault_perm, 'IOMMU_PGFAULT_PERM_') } },
  ],
  DEV_CHECK_CACHE: [test.iommu_test_cmd_check_dev_cache],
  TRIGGER_VEVENT: [test.iommu_test_cmd_trigger_vevent],
  PASID_ATTACH: [test.iommu_test_cmd_pasid_attach],
  PASID_REPLACE: [test.iommu_test_cmd_pasid_replace],
  PASID_DETACH: [test.iommu_test_cmd_pasid_detach],
  PASID_CHECK_HWPT: [test.iommu_test_cmd_pasid_check],
  DMABUF_GET: [test.iommu_test_cmd_dmabuf_get],
  DMABUF_REVOKE: [test.iommu_test_cmd_dmabuf_revoke],
};

function testRow(): Row {
  const number = test.IOMMU_TEST_CMD;
  const variant = (struct: Struct<any>, hints: Hints = {}): IoctlInfo =>
    row('IOMMU_TEST_CMD', number, struct, 'last', { ...hints, enums: { op: testOps } })[1];
  const by = new Map<number, IoctlInfo>();
  for (const [op, [view, hints]] of Object.entries(testViews))
    by.set(testOps[op] as number, variant(view, hints));
  return [number, { ...variant(test.iommu_test_cmd), variants: { field: 'op', by } }];
}

/** Named by hand: other numbers of this space are not extensions. */
const extensions: Names = {
  VFIO_TYPE1_IOMMU: vfio.VFIO_TYPE1_IOMMU,
  VFIO_SPAPR_TCE_IOMMU: vfio.VFIO_SPAPR_TCE_IOMMU,
  VFIO_TYPE1v2_IOMMU: vfio.VFIO_TYPE1v2_IOMMU,
  VFIO_DMA_CC_IOMMU: vfio.VFIO_DMA_CC_IOMMU,
  VFIO_EEH: vfio.VFIO_EEH,
  __VFIO_RESERVED_TYPE1_NESTING_IOMMU: vfio.__VFIO_RESERVED_TYPE1_NESTING_IOMMU,
  VFIO_SPAPR_TCE_v2_IOMMU: vfio.VFIO_SPAPR_TCE_v2_IOMMU,
  VFIO_NOIOMMU_IOMMU: vfio.VFIO_NOIOMMU_IOMMU,
  VFIO_UNMAP_ALL: vfio.VFIO_UNMAP_ALL,
  VFIO_UPDATE_VADDR: vfio.VFIO_UPDATE_VADDR,
};

const vfioRows: readonly Row[] = [
  plainRow('VFIO_GET_API_VERSION', vfio.VFIO_GET_API_VERSION, {}),
  plainRow('VFIO_CHECK_EXTENSION', vfio.VFIO_CHECK_EXTENSION, extensions),
  plainRow('VFIO_SET_IOMMU', vfio.VFIO_SET_IOMMU, extensions),
  row('VFIO_IOMMU_GET_INFO', vfio.VFIO_IOMMU_GET_INFO, vfio.vfio_iommu_type1_info, 'iova_pgsizes', {
    flags: { flags: named(vfioConstants, 'VFIO_IOMMU_INFO_') },
  }),
  row('VFIO_IOMMU_MAP_DMA', vfio.VFIO_IOMMU_MAP_DMA, vfio.vfio_iommu_type1_dma_map, 'size', {
    flags: { flags: named(vfioConstants, 'VFIO_DMA_MAP_FLAG_') },
  }),
  row('VFIO_IOMMU_UNMAP_DMA', vfio.VFIO_IOMMU_UNMAP_DMA, vfio.vfio_iommu_type1_dma_unmap, 'size', {
    flags: { flags: named(vfioConstants, 'VFIO_DMA_UNMAP_FLAG_') },
  }),
  row('VFIO_IOMMU_DIRTY_PAGES', vfio.VFIO_IOMMU_DIRTY_PAGES, vfio.vfio_iommu_type1_dirty_bitmap, 'flags', {
    flags: { flags: named(vfioConstants, 'VFIO_IOMMU_DIRTY_PAGES_FLAG_') },
  }),
];

/** By ioctl number. */
export const ioctlTable: ReadonlyMap<number, IoctlInfo> = new Map([
  ...ioasRows,
  ...hwptRows,
  ...viommuRows,
  testRow(),
  ...vfioRows,
]);

/**
 * The row for `number`; where a field of the struct selects an arm, the row of the arm that `bytes` selects. Some numbers
 * are one call of a device and another one of a container: `file`, as /proc/PID/fd names it, says which.
 */
export function findIoctl(number: number, bytes: Uint8Array, file = ''): IoctlInfo | undefined {
  const isDevice = file.startsWith('/dev/vfio/devices/') || file === '[vfio-device]';
  const info =
    (isDevice ? deviceIoctlTable.get(number) : null) ??
    (file === '/dev/vfio/vfio' ? nestingIoctlTable.get(number) : null) ??
    ioctlTable.get(number) ??
    deviceIoctlTable.get(number) ??
    ioasidIoctlTable.get(number);
  if (info?.variants == null || info.struct === null) return info;
  const { field, by } = info.variants;
  if (bytes.length < info.struct.endOf(field)) return info;
  const whole = new Uint8Array(info.struct.size);
  whole.set(bytes.subarray(0, info.struct.size));
  return by.get(info.struct.decode(whole)[field]) ?? info;
}
