/**
 * Rules of the shared IOMMU core and of the mock unit that the object model asks about first, so that no ioctl
 * comes as far: here the core and the unit are asked directly.
 */
import { Injector } from '../../src/base/inject.js';
import { IommuGroup } from '../../src/hw/group.js';
import { addFaultDevice } from '../../src/hw/iopf.js';
import { MockUnit } from '../../src/hw/mock/unit.js';
import type { MockDevice } from '../../src/hw/mock/device.js';
import type { PagingDomain, UserData, ViommuCore } from '../../src/hw/unit.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import { IOMMU_HWPT_ALLOC_DIRTY_TRACKING } from '../../src/wire/uapi/iommufd.gen.js';
import { MOCK_FLAGS_DEVICE_NO_DIRTY, MOCK_FLAGS_DEVICE_PASID } from '../../src/wire/uapi/iommufd_test.gen.js';
import type { ErrnoName } from '../../src/base/errno.js';

export const PASID = 5;

/** A unit with a device that can do PASID and a page table; everything of a run of its own. */
export interface Bench {
  readonly memory: PhysicalMemory;
  readonly unit: MockUnit;
  readonly device: MockDevice;
  readonly group: IommuGroup;
  readonly domain: PagingDomain;
  /** A page table of a unit of the same kind that is not this one. */
  readonly foreign: PagingDomain;
}

export function bench(): Bench {
  const memory = new PhysicalMemory(new Injector());
  const unit = new MockUnit(memory);
  const device = unit.addDevice(MOCK_FLAGS_DEVICE_PASID);
  const other = new MockUnit(memory);
  return {
    memory,
    unit,
    device,
    group: device.group,
    domain: unit.allocPaging(device, 0, null),
    foreign: other.allocPaging(other.addDevice(0), 0, null),
  };
}

const noData: UserData = { type: 0, length: 0, read: () => ({}) as never, write: () => {} };
const noCore = {} as ViommuCore;

/** By rule id: the errno, and what breaks the rule. */
export const unitCases: Readonly<Record<string, readonly [ErrnoName, (b: Bench) => unknown]>> = {
  group_busy: [
    'EBUSY',
    ({ group, domain }) => {
      group.attach(domain, { domain });
      group.attach(domain, { domain });
    },
  ],
  pasid_foreign_domain: [
    'EINVAL',
    ({ group, device, foreign }) => group.attachPasid(foreign, device, PASID, { domain: foreign }),
  ],
  pasid_busy: [
    'EBUSY',
    ({ group, device, domain }) => {
      group.attachPasid(domain, device, PASID, { domain });
      group.attachPasid(domain, device, PASID, { domain });
    },
  ],
  pasid_not_attached: [
    'EINVAL',
    ({ group, device, domain }) => group.replacePasid(domain, device, PASID, { domain }),
  ],
  iopf_device_busy: [
    'EBUSY',
    ({ device }) => {
      addFaultDevice(device);
      addFaultDevice(device);
    },
  ],
  mock_paging_flags: ['EOPNOTSUPP', ({ unit, device }) => unit.allocPaging(device, 4, null)],
  mock_paging_no_dirty: [
    'EOPNOTSUPP',
    ({ unit }) => {
      const device = unit.addDevice(MOCK_FLAGS_DEVICE_NO_DIRTY);
      return unit.allocPaging(device, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, null);
    },
  ],
  mock_nested_flags: [
    'EOPNOTSUPP',
    ({ unit, device, domain }) => unit.allocNested(device, domain, 1, noData),
  ],
  mock_viommu_nested_flags: [
    'EOPNOTSUPP',
    ({ unit, domain }) => unit.initViommu(noCore, domain, null).allocNested?.(1, noData),
  ],
};
