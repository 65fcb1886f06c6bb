/**
 * Rules that the mock IOMMU and a well-behaved driver never meet: units that lack something, devices that share a
 * group, drivers that let go too early or not at all. The test stands where such a unit or driver would.
 */
import { IommuGroup } from '../../../src/hw/group.js';
import type { DmaDevice, UserData, Viommu } from '../../../src/hw/unit.js';
import { MockUnit } from '../../../src/hw/mock/unit.js';
import { Access } from '../../../src/iommufd/access.js';
import type { Device } from '../../../src/iommufd/device.js';
import type { HwptPaging } from '../../../src/iommufd/hwpt.js';
import type { SelftestAccess } from '../../../src/selftest/access.js';

import type { MapStatus } from '../../../src/pt/map.js';
import * as u from '../../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../../src/wire/uapi/iommufd_test.gen.js';
import * as v from '../../../src/wire/uapi/vfio.gen.js';
import { LOW, PAGE, type World, type WorldOptions } from '../world.js';
import { refused, type Cases, type Prepare } from './case.js';

const NEST = u.IOMMU_HWPT_ALLOC_NEST_PARENT;

/** A mock device, but for what `change` says. Its unit must not look at what only a mock device has. */
function deviceLike(w: World, change: Partial<DmaDevice>): DmaDevice {
  const device = Object.assign(w.unit.addDevice(0), change);
  if (change.group !== undefined) change.group.devices.push(device);
  return device;
}

/** Two devices that cannot be told apart, bound; the first is attached to an IOAS. */
function siblings(w: World): { ioas: number; hwpt: number; first: Device; second: Device } {
  const ioas = w.ioas();
  const group = new IommuGroup();
  const [first, second] = [deviceLike(w, { group }), deviceLike(w, { group })].map((each) =>
    w.bind(each),
  ) as [Device, Device];
  const hwpt = w.driver((call) => first.attach(call, 0, ioas));
  return { ioas, hwpt, first, second };
}

/** A guest of one unit and a device behind another. */
function strangers(w: World): { ioas: number; dev: number; foreign: number; parent: number; viommu: number } {
  const guest = w.guest();
  const foreign = w.bind(Object.assign(new MockUnit(w.physical), { name: 'another' }).addDevice(0));
  return { ...guest, foreign: foreign.id };
}

/** A unit that has all that the mock has, but for `change`. */
const unit = (change: object): { options: WorldOptions } => ({
  options: { unit: (memory) => Object.assign(new MockUnit(memory), change) },
});

/** A unit whose vIOMMUs are `driver`. */
const viommuDriver = (driver: Partial<Viommu>): { options: WorldOptions } =>
  unit({ initViommu: () => ({ destroy: () => {}, ...driver }) });

/** A unit that does `step` with the driver data of a page table. */
const reading = (step: (data: UserData) => unknown): { options: WorldOptions } =>
  unit({ allocPaging: (_device: DmaDevice, _flags: number, data: UserData | null) => data && step(data) });

/** An allocation with driver data, on an IOAS that has no other page table. */
const withData: Prepare = (w) => {
  const ioas = w.ioas();
  const { id } = w.bind(w.unit.addDevice(0));
  return () => w.nested(id, ioas);
};

const pagingDomain = (w: World, id: number): HwptPaging['domain'] => w.object<HwptPaging>(id).domain;

/** A mapping into a page table that answers `status`. */
const mapInto =
  (status: MapStatus): Prepare =>
  (w) => {
    const ioas = w.ioas();
    const { hwpt } = w.device(ioas);
    pagingDomain(w, hwpt).map = () => status;
    return () => w.map(ioas);
  };

/** An IOAS with four pages at LOW, pinned by a driver that does not let go of them. */
function stuck(w: World): { ioas: number; access: Access } {
  const ioas = w.ioas();
  w.map(ioas);
  const access = w.stubbornAccess(ioas);
  w.driver((call) => access.pinPages(call, LOW, PAGE, false));
  w.atEnd(() => access.unpinPages(LOW, PAGE));
  return { ioas, access };
}

/** The same after an unmap has given up, which leaves the mapping closed to new accesses. */
function givenUp(w: World): { ioas: number; access: Access } {
  const made = stuck(w);
  try {
    w.unmap(made.ioas);
  } catch {
    // EDEADLK, as the case of its own says.
  }
  return made;
}

/** An access that no IOAS has yet. */
const detached =
  (act: (w: World, access: Access) => unknown): Prepare =>
  (w) => {
    const ops = { unmap: () => {}, needsPinPages: true };
    const access = w.driver((call) => Access.create(call, ops));
    w.atEnd(() => access.destroyByDriver());
    return () => act(w, access);
  };

const queue = { type: t.IOMMU_HW_QUEUE_TYPE_SELFTEST, length: PAGE, nesting_parent_iova: LOW };

export const driverCases: Cases = {
  bind_not_coherent: refused('EINVAL', (w) => {
    const device = deviceLike(w, { capable: () => false });
    return () => w.bind(device);
  }),
  group_other_owner: refused('EPERM', (w) => {
    const device = deviceLike(w, {});
    device.group.claimDmaOwner({});
    return () => w.bind(device);
  }),
  attach_group_hwpt: refused('EINVAL', (w) => {
    const { ioas, second } = siblings(w);
    const other = w.hwpt(second.id, ioas);
    return () => w.driver((call) => second.attach(call, 0, other));
  }),
  replace_other_device: refused('EINVAL', (w) => {
    const { ioas, second } = siblings(w);
    const other = w.hwpt(second.id, ioas);
    return () => w.driver((call) => second.replace(call, 0, other));
  }),
  attach_fault_vf: refused('EINVAL', (w) => {
    const ioas = w.ioas();
    const bound = w.bind(deviceLike(w, { isVirtualFunctionWithPri: true }));
    const hwpt = w.hwpt(bound.id, ioas, { flags: u.IOMMU_HWPT_FAULT_ID_VALID, fault_id: w.fault().id });
    return () => w.driver((call) => bound.attach(call, 0, hwpt));
  }),
  group_foreign_domain: refused('EINVAL', (w) => {
    const { hwpt } = w.device(w.ioas());
    const bound = w.bind(new MockUnit(w.physical).addDevice(0));
    return () => w.driver((call) => bound.attach(call, 0, hwpt));
  }),
  vdevice_unbinding: refused('ENOENT', (w) => {
    const { viommu, ioas } = w.guest();
    const bound = w.bind(deviceLike(w, {}));
    w.driver((call) => bound.attach(call, 0, ioas));
    w.vdevice(viommu, bound.id, 0x99n);
    bound.users += 1;
    bound.unbind();
    return () => w.vdevice(viommu, bound.id, 0x98n);
  }),

  hwpt_viommu_unit: refused('EINVAL', (w) => {
    const { foreign, viommu } = strangers(w);
    return () => w.nested(foreign, viommu);
  }),
  hwpt_parent_unit: refused('EINVAL', (w) => {
    const { foreign, parent } = strangers(w);
    return () => w.nested(foreign, parent);
  }),
  vdevice_unit: refused('EINVAL', (w) => {
    const { foreign, viommu } = strangers(w);
    return () => w.vdevice(viommu, foreign, 0x99n);
  }),
  hwpt_nested_unit: refused(
    'EOPNOTSUPP',
    (w) => {
      const ioas = w.ioas();
      const { dev } = w.device(ioas);
      const parent = w.hwpt(dev, ioas, { flags: NEST });
      return () => w.nested(dev, parent);
    },
    unit({ allocNested: undefined }),
  ),
  viommu_unit: refused(
    'EOPNOTSUPP',
    (w) => {
      const ioas = w.ioas();
      const { dev } = w.device(ioas);
      const parent = w.hwpt(dev, ioas, { flags: NEST });
      return () => w.viommu(dev, parent);
    },
    unit({ initViommu: undefined }),
  ),
  viommu_nested_unit: refused(
    'EOPNOTSUPP',
    (w) => {
      const { dev, viommu } = w.guest();
      return () => w.nested(dev, viommu);
    },
    viommuDriver({}),
  ),
  hw_queue_unit: refused(
    'EOPNOTSUPP',
    (w) => {
      const { viommu: viommu_id } = w.guest();
      return () => w.call(u.IOMMU_HW_QUEUE_ALLOC, { viommu_id, ...queue });
    },
    viommuDriver({ supportsHwQueue: () => true }),
  ),
  invalidate_viommu_unit: refused(
    'EOPNOTSUPP',
    (w) => {
      const { viommu: hwpt_id } = w.guest();
      return () => w.call(u.IOMMU_HWPT_INVALIDATE, { hwpt_id });
    },
    viommuDriver({}),
  ),
  user_array_empty: refused(
    'EINVAL',
    (w) => {
      const { viommu: hwpt_id } = w.guest();
      return () => w.call(u.IOMMU_HWPT_INVALIDATE, { hwpt_id, data_type: 7 });
    },
    viommuDriver({ invalidate: (array) => array.readAll(t.iommu_viommu_invalidate_selftest, 7) }),
  ),
  user_array_entry_length: refused(
    'EINVAL',
    (w) => {
      const { viommu: hwpt_id } = w.guest();
      const data_uptr = w.buffer(1);
      const entries = { entry_num: 1, entry_len: t.iommu_viommu_invalidate_selftest.size - 1 };
      return () => w.call(u.IOMMU_HWPT_INVALIDATE, { hwpt_id, data_type: 7, data_uptr, ...entries });
    },
    viommuDriver({
      invalidate: (array) => array.readGrowing(0, t.iommu_viommu_invalidate_selftest, 'cache_id'),
    }),
  ),
  invalidate_hwpt_unit: refused('EOPNOTSUPP', (w) => {
    const { dev, parent } = w.guest();
    const hwpt_id = w.nested(dev, parent);
    Object.assign(pagingDomain(w, hwpt_id), { invalidate: undefined });
    return () => w.call(u.IOMMU_HWPT_INVALIDATE, { hwpt_id });
  }),
  user_data_type: refused(
    'EINVAL',
    withData,
    reading((data) => data.read(t.iommu_hwpt_selftest, 7, 'iotlb')),
  ),
  user_data_out_type: refused(
    'EINVAL',
    withData,
    reading((data) => data.write(t.iommu_hwpt_selftest, t.iommu_hwpt_selftest.create(), 7, 'iotlb')),
  ),
  user_data_out_length: refused(
    'EINVAL',
    withData,
    reading((data) => data.write(t.iommu_test_cmd, t.iommu_test_cmd.create(), data.type, 'last')),
  ),
  domain_page_size: refused('EINVAL', (w) => {
    const ioas = w.ioas();
    const bound = w.bind(deviceLike(w, {}));
    const { allocPaging } = w.unit;
    w.unit.allocPaging = (...args) => Object.assign(allocPaging.apply(w.unit, args), { pgsizeBitmap: 8192n });
    return () => w.driver((call) => bound.attach(call, 0, ioas));
  }),
  page_table_in_use: refused('EADDRINUSE', mapInto('EADDRINUSE')),
  page_table_range: refused('ERANGE', mapInto('ERANGE')),
  page_table_alignment: refused('ENXIO', mapInto('ENXIO')),
  mock_hw_queue_hpa: refused('EFAULT', (w) => {
    const { ioas, viommu, parent } = w.guest();
    w.map(ioas);
    pagingDomain(w, parent).iovaToPhys = () => 5n;
    return () => w.hwQueue(viommu, 0);
  }),

  unmap_stuck_access: refused(
    'EDEADLK',
    (w) => {
      const { ioas } = stuck(w);
      return () => w.unmap(ioas);
    },
    { leavesChanges: true },
  ),
  access_pin_unmapping: refused('EINVAL', (w) => {
    const { access } = givenUp(w);
    return () => w.driver((call) => access.pinPages(call, LOW, PAGE, false));
  }),
  access_rw_unmapping: refused('EINVAL', (w) => {
    const { access } = givenUp(w);
    return () => w.driver((call) => access.copy(call, LOW, new Uint8Array(5), 0));
  }),
  cut_busy: refused('EBUSY', (w) => {
    const { ioas } = givenUp(w);
    w.call(u.IOMMU_VFIO_IOAS, { op: u.IOMMU_VFIO_IOAS_SET, ioas_id: ioas });
    w.client.ioctl(w.fd, v.VFIO_SET_IOMMU, BigInt(v.VFIO_TYPE1_IOMMU));
    const at = w.put(v.vfio_iommu_type1_dma_unmap, { argsz: 24, iova: LOW, size: PAGE });
    return () => w.client.ioctl(w.fd, v.VFIO_IOMMU_UNMAP_DMA, at);
  }),
  access_pin_detached: refused(
    'ENOENT',
    detached((w, access) => w.driver((call) => access.pinPages(call, LOW, PAGE, false))),
  ),
  access_rw_detached: refused(
    'ENOENT',
    detached((w, access) => w.driver((call) => access.copy(call, LOW, new Uint8Array(5), 0))),
  ),
  test_replace_detached: refused('ENOENT', (w) => {
    const ioas_id = w.ioas();
    const fd = w.access(ioas_id);
    (w.file(fd) as SelftestAccess).access!.detach();
    const op = t.IOMMU_TEST_OP_ACCESS_REPLACE_IOAS;
    return () => w.test(t.iommu_test_cmd_access_replace_ioas, op, { id: fd, ioas_id });
  }),
  test_hwpt_not_mock: refused('EINVAL', (w) => {
    const { hwpt } = w.device(w.ioas());
    const object = w.object<HwptPaging>(hwpt);
    const stranger = { ...object.domain, unmap: () => {}, free: () => object.domain.free() };
    const real = object.domain;
    Object.assign(object, { domain: stranger });
    w.atEnd(() => Object.assign(object, { domain: real }));
    return () => w.checkMap(hwpt, LOW, PAGE, w.buffer());
  }),
  test_hwpt_not_mock_nested: refused('EINVAL', (w) => {
    const { dev, parent } = w.guest();
    const id = w.nested(dev, parent);
    Object.assign(w.object(id), { domain: { free: () => {} } });
    return () => w.test(t.iommu_test_cmd_check_iotlb, t.IOMMU_TEST_OP_MD_CHECK_IOTLB, { id });
  }),
};
