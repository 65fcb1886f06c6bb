/** Rules of devices, page tables, dirty tracking, invalidation and page requests, as ioctls break them. */
import * as u from '../../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../../src/wire/uapi/iommufd_test.gen.js';
import { LOW, PAGE, type MockIds, type World } from '../world.js';
import { refused, type Cases, type Prepare } from './case.js';

const PASID = 5;
const NEST = u.IOMMU_HWPT_ALLOC_NEST_PARENT;
const DIRTY = u.IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
const WITH_PASID = u.IOMMU_HWPT_ALLOC_PASID;

/** A device that can do PASID, attached through a page table made with `flags`. */
function pasidDevice(w: World, flags: number): MockIds & { ioas: number } {
  const ioas = w.ioas();
  const ids = w.device(ioas, t.MOCK_FLAGS_DEVICE_PASID);
  const hwpt = w.hwpt(ids.dev, ioas, { flags });
  w.replace(ids.stdev, hwpt);
  return { ...ids, hwpt, ioas };
}

/** A hwpt for a device of its own. `target` chooses pt_id; by default that is the IOAS. */
const hwpt =
  (
    values: Partial<u.IommuHwptAlloc>,
    target: (w: World, ids: MockIds, ioas: number) => number = (_w, _ids, ioas) => ioas,
  ): Prepare =>
  (w) => {
    const ioas = w.ioas();
    const ids = w.device(ioas);
    const pt = target(w, ids, ioas);
    return () => w.hwpt(ids.dev, pt, values);
  };

const parent = (w: World, ids: MockIds, ioas: number): number => w.hwpt(ids.dev, ioas, { flags: NEST });
const viommu = (w: World, ids: MockIds, ioas: number): number => w.viommu(ids.dev, parent(w, ids, ioas));

/** The same with the selftest's driver data. */
const nested =
  (
    values: Partial<u.IommuHwptAlloc>,
    target: (w: World, ids: MockIds, ioas: number) => number,
    data: Partial<t.IommuHwptSelftest> = {},
  ): Prepare =>
  (w) => {
    const ioas = w.ioas();
    const ids = w.device(ioas);
    const pt = target(w, ids, ioas);
    const data_uptr = w.put(t.iommu_hwpt_selftest, data);
    const right = { data_type: t.IOMMU_HWPT_DATA_SELFTEST, data_len: 8, data_uptr };
    return () => w.hwpt(ids.dev, pt, { ...right, ...values });
  };

const hwInfo =
  (values: Partial<u.IommuHwInfo>): Prepare =>
  (w) => {
    const { dev } = w.device(w.ioas());
    return () => w.call(u.IOMMU_GET_HW_INFO, { dev_id: dev, ...values });
  };

const tracking =
  (values: Partial<u.IommuHwptSetDirtyTracking>, flags: number = DIRTY): Prepare =>
  (w) => {
    const ioas = w.ioas();
    const hwpt_id = w.hwpt(w.device(ioas).dev, ioas, { flags });
    return () => w.call(u.IOMMU_HWPT_SET_DIRTY_TRACKING, { hwpt_id, flags: 1, ...values });
  };

const bitmap =
  (values: Partial<u.IommuHwptGetDirtyBitmap>, flags: number = DIRTY): Prepare =>
  (w) => {
    const ioas = w.ioas();
    const hwpt_id = w.hwpt(w.device(ioas).dev, ioas, { flags });
    const right = { hwpt_id, iova: LOW, length: PAGE, page_size: PAGE, data: w.buffer() };
    return () => w.call(u.IOMMU_HWPT_GET_DIRTY_BITMAP, { ...right, ...values });
  };

/** One IOTLB entry of a nested table. */
const invalidate =
  (values: Partial<u.IommuHwptInvalidate>, entry: Partial<t.IommuHwptInvalidateSelftest> = {}): Prepare =>
  (w) => {
    const { dev, parent: pt } = w.guest();
    const hwpt_id = w.nested(dev, pt);
    const data_uptr = w.put(t.iommu_hwpt_invalidate_selftest, entry);
    const right = { data_type: t.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, entry_len: 8, entry_num: 1, data_uptr };
    return () => w.call(u.IOMMU_HWPT_INVALIDATE, { hwpt_id, ...right, ...values });
  };

/** One cache command of a vIOMMU whose device is 0x99. */
const viommuInvalidate =
  (entry: Partial<t.IommuViommuInvalidateSelftest>): Prepare =>
  (w) => {
    const { viommu: hwpt_id, dev } = w.guest();
    w.vdevice(hwpt_id, dev, 0x99n);
    const data_uptr = w.put(t.iommu_viommu_invalidate_selftest, { vdev_id: 0x99, ...entry });
    const data_type = t.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
    return () =>
      w.call(u.IOMMU_HWPT_INVALIDATE, { hwpt_id, data_type, entry_len: 12, entry_num: 1, data_uptr });
  };

/** A queue with one page request in it. */
const faultRead =
  (count: number, at?: bigint): Prepare =>
  (w) => {
    const { fd, dev } = w.faultingDevice();
    w.iopf(dev, { grpid: 1 });
    const buffer = at ?? w.buffer();
    return () => w.file(fd).read(buffer, count, w.client);
  };

/** Writes a response to a queue of which nobody waits for any. */
const faultWrite =
  (count: number, response: Partial<u.IommuHwptPageResponse> = {}, at?: bigint): Prepare =>
  (w) => {
    const { fd } = w.faultingDevice();
    const buffer = at ?? w.put(u.iommu_hwpt_page_response, response);
    return () => w.file(fd).write(buffer, count, w.client);
  };

export const deviceCases: Cases = {
  attach_target: refused('ENOENT', (w) => () => w.device(99)),
  attach_target_type: refused('EINVAL', (w) => {
    const { id } = w.fault();
    return () => w.device(id);
  }),
  attach_twice: refused('EBUSY', (w) => {
    const { stdev, hwpt: pt } = pasidDevice(w, WITH_PASID);
    w.pasidAttach(stdev, PASID, pt);
    return () => w.pasidAttach(stdev, PASID, pt);
  }),
  attach_rid_beside_pasid: refused('EINVAL', (w) => {
    const { stdev, dev, ioas, hwpt: pt } = pasidDevice(w, WITH_PASID);
    w.pasidAttach(stdev, PASID, pt);
    const plain = w.hwpt(dev, ioas);
    return () => w.replace(stdev, plain);
  }),
  attach_pasid_hwpt: refused('EINVAL', (w) => {
    const { stdev, dev, ioas } = pasidDevice(w, WITH_PASID);
    const plain = w.hwpt(dev, ioas);
    return () => w.pasidAttach(stdev, PASID, plain);
  }),
  attach_pasid_beside_rid: refused('EINVAL', (w) => {
    const { stdev, dev, ioas } = pasidDevice(w, 0);
    const compatible = w.hwpt(dev, ioas, { flags: WITH_PASID });
    return () => w.pasidAttach(stdev, PASID, compatible);
  }),
  replace_not_attached: refused('EINVAL', (w) => {
    const { stdev, hwpt: pt } = pasidDevice(w, WITH_PASID);
    return () => w.pasidReplace(stdev, PASID, pt);
  }),
  pasid_too_large: refused('EINVAL', (w) => {
    const { stdev, hwpt: pt } = pasidDevice(w, WITH_PASID);
    return () => w.pasidAttach(stdev, 1 << 20, pt);
  }),
  mock_pasid_1024: refused('ENOMEM', (w) => {
    const { stdev, dev, ioas, hwpt: pt } = pasidDevice(w, WITH_PASID);
    w.pasidAttach(stdev, t.IOMMU_TEST_PASID_RESERVED, pt);
    const other = w.hwpt(dev, ioas, { flags: WITH_PASID });
    return () => w.pasidReplace(stdev, t.IOMMU_TEST_PASID_RESERVED, other);
  }),
  mock_attach_dirty: refused('EINVAL', (w) => {
    const ioas = w.ioas();
    const pt = w.hwpt(w.device(ioas).dev, ioas, { flags: DIRTY });
    return () => w.device(pt, t.MOCK_FLAGS_DEVICE_NO_DIRTY);
  }),
  mock_attach_no_vdevice: refused('ENOENT', (w) => {
    const { stdev, dev, viommu: id } = w.guest();
    const pt = w.nested(dev, id);
    return () => w.replace(stdev, pt);
  }),

  hw_info_flags: refused('EOPNOTSUPP', hwInfo({ flags: 2 })),
  hw_info_reserved: refused('EOPNOTSUPP', hwInfo({ __reserved: [0, 0, 1] })),
  hw_info_device: refused('ENOENT', hwInfo({ dev_id: 99 })),
  mock_hw_info_type: refused(
    'EOPNOTSUPP',
    hwInfo({ flags: u.IOMMU_HW_INFO_FLAG_INPUT_TYPE, in_data_type: u.IOMMU_HW_INFO_TYPE_AMD }),
  ),
  hw_info_unwritable: refused('EFAULT', hwInfo({ data_len: 8, data_uptr: PAGE })),
  hw_info_tail_unwritable: refused('EFAULT', (w) => {
    const data_uptr = w.buffer(1) + PAGE - 10n;
    return hwInfo({ data_len: 16, data_uptr })(w);
  }),

  hwpt_reserved: refused('EOPNOTSUPP', hwpt({ __reserved: 1 })),
  hwpt_data: refused('EINVAL', hwpt({ data_len: 8 })),
  hwpt_device: refused('ENOENT', hwpt({ dev_id: 99 })),
  hwpt_target: refused(
    'EINVAL',
    hwpt({}, () => 99),
  ),
  hwpt_target_type: refused(
    'EINVAL',
    hwpt({}, (w) => w.fault().id),
  ),
  hwpt_fault: refused('ENOENT', hwpt({ flags: u.IOMMU_HWPT_FAULT_ID_VALID, fault_id: 99 })),
  hwpt_paging_flags: refused('EOPNOTSUPP', hwpt({ flags: 16 })),
  hwpt_dirty_device: refused('EOPNOTSUPP', (w) => {
    const ioas = w.ioas();
    const { dev } = w.device(ioas, t.MOCK_FLAGS_DEVICE_NO_DIRTY);
    return () => w.hwpt(dev, ioas, { flags: DIRTY });
  }),
  hwpt_fault_parent: refused('EOPNOTSUPP', hwpt({ flags: NEST | u.IOMMU_HWPT_FAULT_ID_VALID })),
  mock_paging_data_type: refused(
    'EOPNOTSUPP',
    nested({ data_type: u.IOMMU_HWPT_DATA_VTD_S1 }, (_w, _ids, ioas) => ioas),
  ),
  mock_pagetable_type: refused(
    'EOPNOTSUPP',
    nested({}, (_w, _ids, ioas) => ioas, { pagetable_type: 2 }),
  ),
  hwpt_nested_flags: refused('EOPNOTSUPP', nested({ flags: NEST }, parent)),
  hwpt_nested_data: refused('EOPNOTSUPP', hwpt({}, parent)),
  hwpt_parent_automatic: refused(
    'EINVAL',
    nested({}, (_w, ids) => ids.hwpt),
  ),
  hwpt_parent_flag: refused(
    'EINVAL',
    nested({}, (w, ids, ioas) => w.hwpt(ids.dev, ioas)),
  ),
  mock_nested_data_type: refused('EOPNOTSUPP', nested({ data_type: u.IOMMU_HWPT_DATA_VTD_S1 }, parent)),
  viommu_nested_flags: refused('EOPNOTSUPP', nested({ flags: DIRTY }, viommu)),
  viommu_nested_data: refused('EOPNOTSUPP', hwpt({}, viommu)),

  dirty_tracking_flags: refused('EOPNOTSUPP', tracking({ flags: 2 })),
  dirty_tracking_hwpt: refused('ENOENT', tracking({ hwpt_id: 99 })),
  dirty_tracking_ops: refused('EOPNOTSUPP', tracking({}, 0)),
  dirty_bitmap_flags: refused('EOPNOTSUPP', bitmap({ flags: 2 })),
  dirty_bitmap_reserved: refused('EOPNOTSUPP', bitmap({ __reserved: 1 })),
  dirty_bitmap_hwpt: refused('ENOENT', bitmap({ hwpt_id: 99 })),
  dirty_bitmap_wraps: refused('EOVERFLOW', bitmap({ length: 0n })),
  dirty_bitmap_alignment: refused('EINVAL', bitmap({ iova: LOW + 1n })),
  dirty_bitmap_page_zero: refused('EINVAL', bitmap({ page_size: 0n })),
  dirty_bitmap_page: refused('EINVAL', bitmap({ page_size: 2n * PAGE })),
  dirty_bitmap_ops: refused('EOPNOTSUPP', bitmap({}, 0)),

  invalidate_reserved: refused('EOPNOTSUPP', invalidate({ __reserved: 1 })),
  invalidate_pointer: refused('EINVAL', invalidate({ data_uptr: 0n })),
  invalidate_entry_len: refused('EINVAL', invalidate({ entry_len: 4097 })),
  invalidate_entry_num: refused('EINVAL', invalidate({ entry_num: (1 << 19) + 1 })),
  invalidate_target: refused('ENOENT', invalidate({ hwpt_id: 99 })),
  invalidate_target_type: refused('EINVAL', (w) => invalidate({ hwpt_id: w.ioas() })(w)),
  mock_invalidate_type: refused('EINVAL', invalidate({ data_type: u.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 })),
  mock_invalidate_flags: refused('EOPNOTSUPP', invalidate({}, { flags: 2 })),
  mock_invalidate_id: refused('EINVAL', invalidate({}, { iotlb_id: 4 })),
  mock_viommu_invalidate_memory: refused('ENOMEM', (w) => {
    const { viommu: hwpt_id } = w.guest();
    const data_type = t.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
    const values = { hwpt_id, data_type, entry_len: 12, entry_num: 1 << 19, data_uptr: PAGE };
    return () => w.call(u.IOMMU_HWPT_INVALIDATE, values);
  }),
  mock_viommu_invalidate_flags: refused('EOPNOTSUPP', viommuInvalidate({ flags: 2 })),
  mock_viommu_invalidate_id: refused('EINVAL', viommuInvalidate({ cache_id: 4 })),
  mock_viommu_invalidate_device: refused('EINVAL', viommuInvalidate({ vdev_id: 0x98 })),

  fault_alloc_flags: refused('EOPNOTSUPP', (w) => () => w.call(u.IOMMU_FAULT_QUEUE_ALLOC, { flags: 1 })),
  fault_read_count: refused('ESPIPE', faultRead(41)),
  fault_read_room: refused('EINVAL', faultRead(0)),
  fault_read_unwritable: refused('EFAULT', faultRead(40, PAGE)),
  fault_write_count: refused('ESPIPE', faultWrite(9)),
  fault_write_unreadable: refused('EFAULT', faultWrite(8, {}, PAGE)),
  fault_write_code: refused('EINVAL', faultWrite(8, { code: 2 })),
  fault_write_cookie: refused('EINVAL', faultWrite(8, { cookie: 7 })),
};
