/** Rules of vIOMMUs, vDEVICEs, event queues and hardware queues. */
import * as u from '../../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../../src/wire/uapi/iommufd_test.gen.js';
import { FIXED, LOW, MAX, PAGE, RW, type World } from '../world.js';
import { refused, type Cases, type Prepare } from './case.js';

const viommu =
  (values: Partial<u.IommuViommuAlloc>): Prepare =>
  (w) => {
    const { dev, parent } = w.guest();
    return () => w.viommu(dev, parent, values);
  };

const vdevice =
  (values: Partial<u.IommuVdeviceAlloc>): Prepare =>
  (w) => {
    const { dev: dev_id, viommu: viommu_id } = w.guest();
    return () => w.call(u.IOMMU_VDEVICE_ALLOC, { viommu_id, dev_id, virt_id: 0x99n, ...values });
  };

const veventq =
  (values: Partial<u.IommuVeventqAlloc>): Prepare =>
  (w) => {
    const { viommu: viommu_id } = w.guest();
    const right = { viommu_id, type: t.IOMMU_VEVENTQ_TYPE_SELFTEST, veventq_depth: 4 };
    return () => w.call(u.IOMMU_VEVENTQ_ALLOC, { ...right, ...values });
  };

/** A queue in the first of four pages that the parent has at LOW. */
const hwQueue =
  (values: Partial<u.IommuHwQueueAlloc>, before: (w: World, viommu: number) => void = () => {}): Prepare =>
  (w) => {
    const { ioas, viommu: viommu_id } = w.guest();
    w.map(ioas);
    before(w, viommu_id);
    const right = { viommu_id, type: t.IOMMU_HW_QUEUE_TYPE_SELFTEST, length: PAGE };
    return () => w.call(u.IOMMU_HW_QUEUE_ALLOC, { nesting_parent_iova: LOW, ...right, ...values });
  };

/** A guest whose device uses a nested table of the vIOMMU, so that its events have somewhere to go. */
function eventful(w: World): { dev: number; viommu: number } {
  const { stdev, dev, viommu: id } = w.guest();
  w.vdevice(id, dev, 0x99n);
  w.replace(stdev, w.nested(dev, id));
  return { dev, viommu: id };
}

/** A queue with one event of 12 bytes in it. */
const eventRead =
  (count: number, at?: bigint): Prepare =>
  (w) => {
    const { dev, viommu: id } = eventful(w);
    const { fd } = w.veventq(id);
    w.vevent(dev);
    const buffer = at ?? w.buffer();
    return () => w.file(fd).read(buffer, count, w.client);
  };

export const viommuCases: Cases = {
  viommu_flags: refused('EOPNOTSUPP', viommu({ flags: 1 })),
  viommu_type: refused('EOPNOTSUPP', viommu({ type: u.IOMMU_VIOMMU_TYPE_DEFAULT })),
  viommu_device: refused('ENOENT', viommu({ dev_id: 99 })),
  viommu_unit_type: refused('EOPNOTSUPP', viommu({ type: u.IOMMU_VIOMMU_TYPE_ARM_SMMUV3 })),
  viommu_hwpt: refused('ENOENT', viommu({ hwpt_id: 99 })),
  viommu_parent: refused('EINVAL', (w) => {
    const ioas = w.ioas();
    const { dev } = w.device(ioas);
    const plain = w.hwpt(dev, ioas);
    return () => w.viommu(dev, plain);
  }),
  vdevice_viommu: refused('ENOENT', vdevice({ viommu_id: 99 })),
  vdevice_device: refused('ENOENT', vdevice({ dev_id: 99 })),
  vdevice_device_has_one: refused('EEXIST', (w) => {
    const act = vdevice({})(w);
    act();
    return act;
  }),
  vdevice_virt_id: refused('EEXIST', (w) => {
    const { ioas, dev, viommu: id } = w.guest();
    w.vdevice(id, dev, 0x99n);
    const second = w.device(ioas);
    return () => w.vdevice(id, second.dev, 0x99n);
  }),

  veventq_flags: refused('EOPNOTSUPP', veventq({ flags: 1 })),
  veventq_reserved: refused('EOPNOTSUPP', veventq({ __reserved: 1 })),
  veventq_type: refused('EOPNOTSUPP', veventq({ type: u.IOMMU_VEVENTQ_TYPE_DEFAULT })),
  veventq_depth: refused('EINVAL', veventq({ veventq_depth: 0 })),
  veventq_viommu: refused('ENOENT', veventq({ viommu_id: 99 })),
  veventq_exists: refused('EEXIST', (w) => {
    const act = veventq({})(w);
    act();
    return act;
  }),
  vevent_no_queue: refused('EOPNOTSUPP', (w) => {
    const { dev } = eventful(w);
    return () => w.vevent(dev);
  }),
  vevent_read_count: refused('EINVAL', eventRead(7)),
  vevent_read_room: refused('EINVAL', eventRead(11)),
  vevent_read_unwritable: refused('EFAULT', eventRead(12, PAGE)),
  vevent_write: refused('EINVAL', (w) => {
    const { fd } = w.veventq(w.guest().viommu);
    return () => w.client.write(fd, new Uint8Array(8));
  }),

  hw_queue_flags: refused('EOPNOTSUPP', hwQueue({ flags: 1 })),
  hw_queue_type: refused('EOPNOTSUPP', hwQueue({ type: u.IOMMU_HW_QUEUE_TYPE_DEFAULT })),
  hw_queue_length: refused('EINVAL', hwQueue({ length: 0n })),
  hw_queue_wraps: refused('EOVERFLOW', hwQueue({ nesting_parent_iova: MAX })),
  hw_queue_viommu: refused('ENOENT', hwQueue({ viommu_id: 99 })),
  hw_queue_unit_type: refused('EOPNOTSUPP', hwQueue({ type: u.IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV })),
  hw_queue_range: refused('ERANGE', hwQueue({ nesting_parent_iova: 0n, length: MAX })),
  hw_queue_memory: refused('ENOMEM', hwQueue({ nesting_parent_iova: 0n, length: 1n << 60n })),
  hw_queue_scattered: refused('EFAULT', (w) => {
    const { ioas, viommu: viommu_id } = w.guest();
    for (const iova of [LOW, LOW + PAGE]) {
      const user_va = w.buffer();
      w.call(u.IOMMU_IOAS_MAP, { flags: RW | FIXED, ioas_id: ioas, user_va, length: PAGE, iova });
    }
    return () => w.hwQueue(viommu_id, 0, LOW, 2n * PAGE);
  }),
  mock_hw_queue_index: refused('EINVAL', hwQueue({ index: 2 })),
  mock_hw_queue_exists: refused(
    'EEXIST',
    hwQueue({ index: 0 }, (w, id) => w.hwQueue(id, 0)),
  ),
  mock_hw_queue_order: refused('EIO', hwQueue({ index: 1 })),
};
