/** A unit's driver on the fake hardware, with devices, and the bytes that it leaves in memory. */
import { Events } from '../../../../src/base/events.js';
import { Injector } from '../../../../src/base/inject.js';
import { IommuGroup } from '../../../../src/hw/group.js';
import type { NestedDomain, PagingDomain, UserData, UserDataArray } from '../../../../src/hw/unit.js';
import type { DeviceConfig, VtdDevice } from '../../../../src/hw/vtd/driver/device.js';
import { VtdUnit } from '../../../../src/hw/vtd/driver/unit.js';
import { PhysicalMemory } from '../../../../src/mem/physical.js';
import type { OwnedSpace } from '../../../../src/mem/providers.js';
import type { Struct } from '../../../../src/wire/struct.js';
import {
  IOMMU_HWPT_ALLOC_NEST_PARENT,
  IOMMU_HWPT_DATA_VTD_S1,
  iommu_hwpt_vtd_s1,
  type IommuHwptVtdS1,
} from '../../../../src/wire/uapi/iommufd.gen.js';
import { CAP, ECAP, FakeHardware } from './fake.js';

export interface BenchOptions {
  readonly cap?: bigint;
  readonly ecap?: bigint;
  readonly memory?: PhysicalMemory;
}

export class Bench {
  readonly injector = new Injector();
  readonly memory: PhysicalMemory;
  readonly events = new Events();
  readonly hardware: FakeHardware;
  readonly unit: VtdUnit;

  constructor({ cap = CAP, ecap = ECAP, memory }: BenchOptions = {}) {
    this.memory = memory ?? new PhysicalMemory(this.injector);
    this.hardware = new FakeHardware(this.memory, cap, ecap);
    this.unit = new VtdUnit({
      name: 'dmar0',
      mmio: this.hardware,
      memory: this.memory,
      events: this.events,
      vectors: { fault: 0x31, pageRequest: 0x32 },
    });
    this.hardware.interrupt = (data) => this.unit.interrupt(data);
    this.hardware.take();
  }

  /** With ATS, PRI and 20 bits of PASID, alone in its group, unless said otherwise. */
  device(sourceId: number, config: Partial<DeviceConfig> = {}): VtdDevice {
    return this.unit.probe({
      name: `device ${sourceId.toString(16)}`,
      sourceId,
      ats: true,
      pri: true,
      pasidBits: 20,
      group: new IommuGroup(),
      resvRegions: [],
      isVirtualFunctionWithPri: false,
      ...config,
    });
  }

  parent(device: VtdDevice, flags: number = IOMMU_HWPT_ALLOC_NEST_PARENT): PagingDomain {
    return this.unit.allocPaging(device, flags, null);
  }

  nested(device: VtdDevice, parent: PagingDomain, config: Partial<IommuHwptVtdS1> = {}): NestedDomain {
    return this.unit.allocNested(device, parent, 0, s1Data(config));
  }

  get log(): string[] {
    return this.events.recent.flatMap((event) => (event.kind === 'log' ? [event.text] : []));
  }

  word(hpa: bigint): bigint {
    const bytes = new Uint8Array(8);
    if (!this.memory.read(hpa, bytes)) throw new Error(`nothing at 0x${hpa.toString(16)}`);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  words(hpa: bigint, count: number): bigint[] {
    return Array.from({ length: count }, (_, index) => this.word(hpa + BigInt(index) * 8n));
  }

  /** The four words of the scalable context entry, found as hardware finds them. */
  context(sourceId: number): bigint[] {
    // RTADDR, bits 11:10: 1 is scalable mode.
    const rtaddr = this.hardware.read64(0x20);
    if ((rtaddr & 0xc00n) !== 0x400n) throw new Error('not in scalable mode');
    const half = (sourceId & 0x80) === 0 ? 0n : 8n;
    const root = this.word((rtaddr & ~0xfffn) + BigInt(sourceId >>> 8) * 16n + half);
    if ((root & 1n) === 0n) return [];
    return this.words((root & ~0xfffn) + BigInt(sourceId & 0x7f) * 32n, 4);
  }

  /** The eight words of the PASID entry; [] where no table is. */
  entry(sourceId: number, pasid: number): bigint[] {
    const [context] = this.context(sourceId);
    const directory = this.word((context! & ~0xfffn) + BigInt(pasid >>> 6) * 8n);
    if ((directory & 1n) === 0n) return [];
    return this.words((directory & ~0xfffn) + BigInt(pasid & 63) * 64n, 8);
  }
}

export function s1Data(config: Partial<IommuHwptVtdS1> = {}): UserData {
  const value = iommu_hwpt_vtd_s1.create({ pgtbl_addr: 0x1234_5000n, addr_width: 48, ...config });
  return { type: IOMMU_HWPT_DATA_VTD_S1, length: 24, read: () => value as never, write: () => {} };
}

/** An array of invalidations as iommufd hands it over. */
export function invalidations<T>(
  type: number,
  struct: Struct<T>,
  entries: readonly Partial<T>[],
): UserDataArray {
  const at = (index: number): never => struct.create(entries[index]!) as never;
  return { type, entryCount: entries.length, done: 0, readEntry: at, readGrowing: at, readAll: () => [] };
}

/** An address space of a process in which nothing ever is. */
export function emptySpace(): OwnedSpace {
  return {
    name: 'process 1',
    translate: () => false,
    resolve: () => false,
    release: () => {},
    onInvalidate: null,
  };
}
