/**
 * The IOMMU of Linux' CONFIG_IOMMUFD_TEST: 20 PASID bits, dirty tracking, nesting without tables, vIOMMUs. It is
 * a unit like any other to the object model; only IOMMU_TEST_CMD knows what it is.
 */
import { refuse } from '../../base/errno.js';
import {
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
  IOMMU_HWPT_ALLOC_NEST_PARENT,
  IOMMU_HWPT_ALLOC_PASID,
  IOMMU_HWPT_DATA_NONE,
} from '../../wire/uapi/iommufd.gen.js';
import {
  IOMMU_HWPT_DATA_SELFTEST,
  IOMMU_HW_INFO_SELFTEST_REGVAL,
  IOMMU_HW_INFO_TYPE_SELFTEST,
  IOMMU_TEST_PASID_RESERVED,
  IOMMU_VIOMMU_TYPE_SELFTEST,
  MOCK_IOMMUPT_DEFAULT,
  iommu_hwpt_selftest,
  iommu_test_hw_info,
} from '../../wire/uapi/iommufd_test.gen.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import type {
  BlockedDomain,
  DmaDevice,
  Domain,
  HwInfo,
  NestedDomain,
  PageResponse,
  PagingDomain,
  Unit,
  UserData,
  Viommu,
  ViommuCore,
} from '../unit.js';
import { MockDevice } from './device.js';
import { MockDomain } from './domain.js';
import { MockNested } from './nested.js';
import { MockViommu } from './viommu.js';
import { rules } from './rules.js';

const PAGING_FLAGS = IOMMU_HWPT_ALLOC_DIRTY_TRACKING | IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_PASID;

export class MockUnit implements Unit {
  readonly name = 'selftest';
  readonly ops = this;
  readonly userPasidTable = true;
  readonly blockedDomain: BlockedDomain = { kind: 'blocked', unit: this, iopfHandler: null, free: () => {} };
  /** Ids of devices that exist. */
  readonly #deviceIds = new Set<number>();

  constructor(readonly memory: PhysicalMemory) {}

  /** A new device; its id is the lowest that is free. */
  addDevice(flags: number): MockDevice {
    let id = 0;
    while (this.#deviceIds.has(id)) id += 1;
    this.#deviceIds.add(id);
    return new MockDevice(this, id, flags);
  }

  removeDevice(device: MockDevice): void {
    this.#deviceIds.delete(Number(device.name.slice('iommufd_mock'.length)));
  }

  hwInfo(_device: DmaDevice, type: number): HwInfo {
    if (type !== 0 && type !== IOMMU_HW_INFO_TYPE_SELFTEST) refuse(rules.mock_hw_info_type, { type });
    const data = new Uint8Array(iommu_test_hw_info.size);
    iommu_test_hw_info.encode({ flags: 0, test_reg: IOMMU_HW_INFO_SELFTEST_REGVAL }, data);
    return { type: IOMMU_HW_INFO_TYPE_SELFTEST, data };
  }

  allocPaging(device: DmaDevice, flags: number, data: UserData | null): PagingDomain {
    if ((flags & ~PAGING_FLAGS) !== 0) refuse(rules.mock_paging_flags, { flags });
    if ((flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING) !== 0 && !(device as MockDevice).tracksDirty) {
      refuse(rules.mock_paging_no_dirty, { device: device.name, flags });
    }
    let pagetableType: number = MOCK_IOMMUPT_DEFAULT;
    if (data !== null) {
      if (data.type !== IOMMU_HWPT_DATA_SELFTEST && data.type !== IOMMU_HWPT_DATA_NONE) {
        refuse(rules.mock_paging_data_type, { type: data.type });
      }
      pagetableType = data.read(iommu_hwpt_selftest, IOMMU_HWPT_DATA_SELFTEST, 'iotlb').pagetable_type;
    }
    return new MockDomain(this, this.memory, { pagetableType, flags });
  }

  allocNested(_device: DmaDevice, _parent: PagingDomain, flags: number, data: UserData): NestedDomain {
    if ((flags & ~IOMMU_HWPT_ALLOC_PASID) !== 0) refuse(rules.mock_nested_flags, { flags });
    return new MockNested(this, null, data);
  }

  supportsViommu(_device: DmaDevice, type: number): boolean {
    return type === IOMMU_VIOMMU_TYPE_SELFTEST;
  }

  initViommu(core: ViommuCore, parent: PagingDomain, data: UserData | null): Viommu {
    return new MockViommu(this, core, parent, data);
  }

  attach(domain: Domain, dmaDevice: DmaDevice, old: Domain): void {
    const device = dmaDevice as MockDevice;
    if (domain.kind === 'paging' && domain.dirtyOps !== null && !device.tracksDirty) {
      refuse(rules.mock_attach_dirty, { device: device.name });
    }
    const viommu = domain instanceof MockNested ? domain.viommu : null;
    const virtId = viommu === null ? 0n : viommu.virtIdOf(device);
    if (virtId === null) refuse(rules.mock_attach_no_vdevice, { device: device.name });
    if (viommu !== device.viommu) {
      device.viommu = viommu;
      device.virtId = virtId;
    }
    device.enableFaults(domain);
    device.disableFaults(old);
  }

  setDevPasid(domain: Domain, dmaDevice: DmaDevice, pasid: number, old: Domain | null): void {
    const device = dmaDevice as MockDevice;
    if (pasid === IOMMU_TEST_PASID_RESERVED) this.#countReserved(domain, device);
    device.enableFaults(domain);
    device.disableFaults(old);
  }

  /** Every second attachment in a row to this PASID fails, so that tests see the old one come back. */
  #countReserved(domain: Domain, device: MockDevice): void {
    const fails = device.pasid1024Fails;
    device.pasid1024Fails = domain.kind !== 'blocked' && !fails;
    if (domain.kind !== 'blocked' && fails) refuse(rules.mock_pasid_1024, {});
  }

  pageResponse(_device: DmaDevice, _response: PageResponse): void {}
}
