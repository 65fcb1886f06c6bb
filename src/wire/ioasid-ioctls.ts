/** The ioctls of /dev/ioasid and of the stand-in for /dev/kvm as people read them: for traces and the header. */
import { hwptDataTypes, invalidateEntries, invalidateTypes } from './hwpt-hints.js';
import { named, plainRow, row, type Hints, type IoctlInfo, type Names, type Row } from './ioctl-rows.js';
import * as iommufd from './uapi/iommufd.gen.js';
import * as ioasid from './uapi/ioasid.js';
import * as kvm from './uapi/kvm.js';
import * as nesting from './uapi/vfio-nesting.js';

const kvmConstants: Names = kvm.constants;
const ioasidConstants: Names = ioasid.declared.constants;
const faultFlag = { flags: { FAULT: ioasid.IOASID_FAULT } };
const tableOfProgram: Hints = {
  flags: faultFlag,
  enums: { format: hwptDataTypes },
  pointers: {
    data_uptr: {
      length: 'data_len',
      unit: 'bytes',
      element: { by: 'format', of: { [iommufd.IOMMU_HWPT_DATA_VTD_S1]: iommufd.iommu_hwpt_vtd_s1 } },
    },
  },
};

const calls: readonly Row[] = [
  row('ALLOC_IOASID', ioasid.ALLOC_IOASID, ioasid.alloc_ioasid, '__reserved'),
  row('ALLOC_IOASID_SVA', ioasid.ALLOC_IOASID_SVA, ioasid.alloc_ioasid_sva, 'out_ioasid'),
  row('ALLOC_IOASID_KVM', ioasid.ALLOC_IOASID_KVM, ioasid.alloc_ioasid_kvm, 'out_ioasid'),
  row(
    'ALLOC_IOASID_USER_PAGE_TABLE',
    ioasid.ALLOC_IOASID_USER_PAGE_TABLE,
    ioasid.alloc_ioasid_user_page_table,
    '__reserved',
    tableOfProgram,
  ),
  row(
    'ALLOC_IOASID_NESTED_PAGE_TABLE',
    ioasid.ALLOC_IOASID_NESTED_PAGE_TABLE,
    ioasid.alloc_ioasid_nested_page_table,
    '__reserved',
    tableOfProgram,
  ),
  row('DESTROY_IOASID', ioasid.DESTROY_IOASID, ioasid.destroy_ioasid, 'ioasid'),
  row('MAP_IOASID', ioasid.MAP_IOASID, ioasid.map_ioasid, 'iova', {
    flags: { flags: { READ: ioasid.IOASID_READ, WRITE: ioasid.IOASID_WRITE } },
  }),
  row('UNMAP_IOASID', ioasid.UNMAP_IOASID, ioasid.unmap_ioasid, 'length'),
  row('INVALIDATE_IOASID', ioasid.INVALIDATE_IOASID, ioasid.invalidate_ioasid, '__reserved', {
    enums: { data_type: invalidateTypes },
    pointers: { data_uptr: invalidateEntries },
  }),
  row('INFO_IOASID', ioasid.INFO_IOASID, ioasid.info_ioasid, 'iova_last', {
    flags: { operations: named(ioasidConstants, 'IOASID_CAN_') },
    enums: { kind: named(ioasidConstants, 'IOASID_KIND_') },
  }),
  row('FAULT_IOASID', ioasid.FAULT_IOASID, ioasid.fault_ioasid, 'out_length', {
    flags: { flags: { RING: ioasid.IOASID_FAULT_RING } },
  }),
];

const memoryRegion = { flags: { flags: named(kvmConstants, 'KVM_MEM_') } };
const kvmRows: readonly Row[] = [
  plainRow('KVM_GET_API_VERSION', kvm.KVM_GET_API_VERSION, {}),
  plainRow('KVM_CREATE_VM', kvm.KVM_CREATE_VM, {}),
  plainRow('KVM_CHECK_EXTENSION', kvm.KVM_CHECK_EXTENSION, named(kvmConstants, 'KVM_CAP_')),
  row(
    'KVM_SET_USER_MEMORY_REGION',
    kvm.KVM_SET_USER_MEMORY_REGION,
    kvm.kvm_userspace_memory_region,
    'userspace_addr',
    memoryRegion,
  ),
  row(
    'KVM_SET_USER_MEMORY_REGION2',
    kvm.KVM_SET_USER_MEMORY_REGION2,
    kvm.kvm_userspace_memory_region2,
    'guest_memfd',
    memoryRegion,
  ),
];

/** By ioctl number. */
export const ioasidIoctlTable: ReadonlyMap<number, IoctlInfo> = new Map([...calls, ...kvmRows]);

/** Of a container with nesting; a device has other calls under the first of these numbers. */
const nestingRows: readonly Row[] = [
  row(
    'VFIO_IOMMU_PASID_REQUEST',
    nesting.VFIO_IOMMU_PASID_REQUEST,
    nesting.vfio_iommu_type1_pasid_request,
    'max',
    {
      flags: {
        flags: { ALLOC: nesting.VFIO_IOMMU_PASID_ALLOC, FREE: nesting.VFIO_IOMMU_PASID_FREE },
      },
    },
  ),
  row('VFIO_IOMMU_BIND', nesting.VFIO_IOMMU_BIND, nesting.vfio_iommu_type1_bind, 'flags', {
    flags: {
      flags: {
        BIND_GUEST_PGTBL: nesting.VFIO_IOMMU_BIND_GUEST_PGTBL,
        UNBIND_GUEST_PGTBL: nesting.VFIO_IOMMU_UNBIND_GUEST_PGTBL,
      },
    },
  }),
  row(
    'VFIO_IOMMU_CACHE_INVALIDATE',
    nesting.VFIO_IOMMU_CACHE_INVALIDATE,
    nesting.vfio_iommu_type1_cache_invalidate,
    'flags',
  ),
];

/** By ioctl number. */
export const nestingIoctlTable: ReadonlyMap<number, IoctlInfo> = new Map(nestingRows);
