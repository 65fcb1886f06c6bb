/** A device behind the mock IOMMU: alone in its group, with four cache words that vIOMMU commands clear. */
import {
  IOMMU_TEST_DEV_CACHE_DEFAULT,
  MOCK_FLAGS_DEVICE_NO_DIRTY,
  MOCK_FLAGS_DEVICE_PASID,
  MOCK_PASID_WIDTH,
} from '../../wire/uapi/iommufd_test.gen.js';
import { IommuGroup } from '../group.js';
import { addFaultDevice, removeFaultDevice, type FaultParam } from '../iopf.js';
import type { DmaDevice, Domain, IommuCap, ResvRegion, ViommuCore } from '../unit.js';
import type { MockUnit } from './unit.js';

export class MockDevice implements DmaDevice {
  readonly name: string;
  readonly group = new IommuGroup();
  readonly maxPasids: number;
  readonly resvRegions: readonly ResvRegion[] = [];
  readonly isVirtualFunctionWithPri = false;
  faultParam: FaultParam | null = null;
  readonly cache = new Uint32Array(4).fill(IOMMU_TEST_DEV_CACHE_DEFAULT);
  /** The vIOMMU whose nested table the device uses, and its id there. */
  viommu: ViommuCore | null = null;
  virtId = 0n;
  /** The next attachment to PASID 1024 fails: for tests of the way back. */
  pasid1024Fails = false;
  #iopfUsers = 0;

  constructor(
    readonly unit: MockUnit,
    id: number,
    /** MOCK_FLAGS_DEVICE_*. */
    readonly flags: number,
  ) {
    this.name = `iommufd_mock${id}`;
    // A device with 0 PASID bits has one PASID, 0, which nobody can attach to.
    this.maxPasids = (flags & MOCK_FLAGS_DEVICE_PASID) !== 0 ? 1 << MOCK_PASID_WIDTH : 1;
    this.group.devices.push(this);
  }

  get tracksDirty(): boolean {
    return (this.flags & MOCK_FLAGS_DEVICE_NO_DIRTY) === 0;
  }

  capable(cap: IommuCap): boolean {
    return cap === 'CACHE_COHERENCY' || (cap === 'DIRTY_TRACKING' && this.tracksDirty);
  }

  /** Page requests are on while any attached domain answers them. */
  enableFaults(domain: Domain): void {
    if (domain.iopfHandler === null) return;
    if (this.#iopfUsers === 0) addFaultDevice(this);
    this.#iopfUsers += 1;
  }

  disableFaults(domain: Domain | null): void {
    if (domain === null || domain.iopfHandler === null) return;
    this.#iopfUsers -= 1;
    if (this.#iopfUsers === 0) removeFaultDevice(this);
  }
}
