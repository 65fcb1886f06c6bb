/** A device behind a VT-d unit (Linux: struct device_domain_info): what it can do, and what is attached to it. */
import type { IommuGroup } from '../../group.js';
import { addFaultDevice, removeFaultDevice, type FaultParam } from '../../iopf.js';
import type { DmaDevice, IommuCap, ResvRegion } from '../../unit.js';
import { FLPT_DEFAULT_DID } from '../structures.js';
import type { VtdDomain } from './domain.js';
import { PasidTable } from './pasid-table.js';
import { PasidWords } from './places.js';
import type { VtdUnit } from './unit.js';

/** What a bus says of a device. The same for every bus; one that is not PCI says what it has instead of ATS and PRI. */
export interface DeviceConfig {
  readonly name: string;
  /** 16 bits. */
  readonly sourceId: number;
  readonly ats: boolean;
  readonly pri: boolean;
  /** 0: the device knows no PASIDs. */
  readonly pasidBits: number;
  /** Its DMA sees the caches of the CPU; on Linux with VT-d all does. Default true. */
  readonly coherent?: boolean;
  readonly group: IommuGroup;
  readonly resvRegions: readonly ResvRegion[];
  readonly isVirtualFunctionWithPri: boolean;
}

/** Requests there are interrupts, and never translated. */
const MSI_REGION: ResvRegion = { type: 'msi', start: 0xfee0_0000n, last: 0xfeef_ffffn };

export class VtdDevice implements DmaDevice {
  readonly name: string;
  readonly sourceId: number;
  readonly group: IommuGroup;
  readonly maxPasids: number;
  readonly resvRegions: readonly ResvRegion[];
  readonly isVirtualFunctionWithPri: boolean;
  readonly atsEnabled: boolean;
  readonly priEnabled: boolean;
  readonly pasids: PasidTable;
  readonly #isCoherent: boolean;
  /** By PASID, 0 for the requester id: the place of the domain that is attached there. */
  readonly places = new PasidWords();
  faultParam: FaultParam | null = null;
  /** What the requester id alone is attached to; null: blocked. */
  ridDomain: VtdDomain | null = null;
  /** Attachments whose domain answers page requests. */
  iopfUsers = 0;

  constructor(
    readonly unit: VtdUnit,
    /** Among the devices of the unit. */
    readonly index: number,
    config: DeviceConfig,
  ) {
    const { capabilities } = unit;
    this.name = config.name;
    this.sourceId = config.sourceId;
    this.group = config.group;
    this.#isCoherent = config.coherent ?? true;
    this.resvRegions = [...config.resvRegions, MSI_REGION];
    this.isVirtualFunctionWithPri = config.isVirtualFunctionWithPri;
    const hasPasid = capabilities.pasid && config.pasidBits > 0;
    this.maxPasids = hasPasid ? Math.min(2 ** config.pasidBits, capabilities.maxPasids) : 0;
    this.atsEnabled = capabilities.hasDeviceTlb && config.ats;
    this.priEnabled =
      this.atsEnabled && capabilities.pageRequests && capabilities.pageRequestDrain && config.pri;
    this.pasids = new PasidTable(unit.memory, this.maxPasids);
  }

  get ridDid(): number {
    return this.ridDomain?.places.of(this.unit)?.did ?? FLPT_DEFAULT_DID;
  }

  capable(cap: IommuCap): boolean {
    const { capabilities } = this.unit;
    switch (cap) {
      case 'CACHE_COHERENCY':
        return this.#isCoherent;
      case 'ENFORCE_CACHE_COHERENCY':
        return capabilities.snoopControl;
      case 'DIRTY_TRACKING':
        return capabilities.dirtyTracking;
      case 'PCI_ATS_SUPPORTED':
        return this.atsEnabled;
      case 'PAGE_REQUESTS':
        return this.priEnabled;
    }
  }

  /** intel_iommu_enable_iopf, of a device that can. */
  enableFaults(): void {
    if (this.iopfUsers === 0) addFaultDevice(this);
    this.iopfUsers += 1;
  }

  disableFaults(): void {
    this.iopfUsers -= 1;
    if (this.iopfUsers === 0) removeFaultDevice(this);
  }
}
