/**
 * The driver of one Intel VT-d unit (Linux: drivers/iommu/intel/iommu.c), for scalable mode with queued invalidation.
 * It knows the hardware by registers, by what both leave in memory, and by the interrupts that it has asked for.
 * Invariant: what a device can reach follows from the bytes of its tables alone; nothing is kept beside them that the
 * hardware would have to agree with.
 */
import type { Mmio } from '../../../bus/mmio.js';
import { invariant, refuse } from '../../../base/errno.js';
import type { Events, LogLine } from '../../../base/events.js';
import type { PhysicalMemory } from '../../../mem/physical.js';
import type { AddressSpaceProvider, OwnedSpace } from '../../../mem/providers.js';
import type { TableArena } from '../../../mem/table-store.js';
import {
  IOMMU_HW_INFO_TYPE_DEFAULT,
  IOMMU_HW_INFO_TYPE_INTEL_VTD,
  IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17,
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
  IOMMU_HWPT_ALLOC_NEST_PARENT,
  IOMMU_HWPT_ALLOC_PASID,
  IOMMU_HWPT_DATA_VTD_S1,
  iommu_hw_info_vtd,
  iommu_hwpt_vtd_s1,
} from '../../../wire/uapi/iommufd.gen.js';
import { IOASIS_VIOMMU_TYPE_VTD } from '../../../wire/uapi/ioasis.js';
import type {
  BlockedDomain,
  DmaDevice,
  Domain,
  HwInfo,
  NestedDomain,
  PageResponse,
  PagingDomain,
  ProvidedDomain,
  Unit,
  UserData,
  Viommu,
  ViommuCore,
} from '../../unit.js';
import { CAP_REG, ECAP_REG } from '../registers.js';
import { EVERYTHING, Commands } from './commands.js';
import { attachPasid, attachRid, blockPasid, blockRid } from './attach.js';
import { Capabilities } from './capabilities.js';
import { ContextTable } from './context-table.js';
import { VtdDevice, type DeviceConfig } from './device.js';
import { DomainIds } from './domain-ids.js';
import type { VtdDomain } from './domain.js';
import { handleFaults } from './faults.js';
import { FirstStage } from './first-stage.js';
import { VtdNested } from './nested.js';
import { PageRequests, respond } from './page-requests.js';
import { PlaceTable } from './places.js';
import { VtdProvided } from './provided.js';
import { InvalidationQueue } from './queue.js';
import { SecondStage } from './second-stage.js';
import { start, stop, type Vectors } from './start.js';
import { UserStage } from './user-stage.js';
import { VtdViommu } from './viommu.js';
import { rules } from './rules.js';

export interface VtdConfig {
  /** As Linux calls it: `dmar0`. */
  readonly name: string;
  readonly mmio: Mmio;
  readonly memory: PhysicalMemory;
  readonly events: Events;
  /** PCI segment; 0 if not given. */
  readonly segment?: number;
  /** Data of the messages that the unit is told to send. */
  readonly vectors?: Vectors;
}

/** Every VT-d unit takes the domains of every other, if its capabilities suit. */
const ops = { name: 'intel_iommu_ops' };

const SECOND_STAGE_FLAGS =
  IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_DIRTY_TRACKING | IOMMU_HWPT_ALLOC_PASID;

export class VtdUnit implements Unit {
  readonly name: string;
  readonly ops = ops;
  /** The PASID table is the host's. */
  readonly userPasidTable = false;
  readonly blockedDomain: BlockedDomain = { kind: 'blocked', unit: this, iopfHandler: null, free: () => {} };
  readonly mmio: Mmio;
  readonly memory: PhysicalMemory;
  readonly events: Events;
  readonly segment: number;
  readonly capabilities: Capabilities;
  readonly queue: InvalidationQueue;
  readonly commands: Commands;
  readonly contexts: ContextTable;
  readonly pageRequests: PageRequests;
  readonly domainIds: DomainIds;
  readonly places = new PlaceTable();
  readonly #vectors: Vectors;
  readonly #arena: TableArena;
  /** By index; null: gone. */
  readonly #devices: (VtdDevice | null)[] = [];
  readonly #bySource = new Map<number, VtdDevice>();
  /** Interrupts that came while the driver could not take them. */
  #faultPending = false;
  #pageRequestPending = false;
  #inInterrupt = false;

  /** Finds the unit as it is after reset, and starts it: everything is blocked. */
  constructor(config: VtdConfig) {
    const { name, mmio, memory, events, segment = 0, vectors = { fault: 0x20, pageRequest: 0x21 } } = config;
    this.name = name;
    this.mmio = mmio;
    this.memory = memory;
    this.events = events;
    this.segment = segment;
    this.#vectors = vectors;
    this.capabilities = new Capabilities(mmio.read64(CAP_REG), mmio.read64(ECAP_REG));
    const { agaw, sagaw } = this.capabilities;
    if (agaw < 0) refuse(rules.vtd_no_width, { unit: name, sagaw });
    this.#arena = memory.tables.openArena();
    this.domainIds = new DomainIds(this.capabilities.domainIds);
    this.queue = new InvalidationQueue(memory, mmio, events, this.#arena);
    this.queue.onIdle = () => this.#takeInterrupts();
    this.commands = new Commands(this.queue, this.capabilities.cap);
    this.contexts = new ContextTable(memory, this.#arena);
    this.pageRequests = new PageRequests(this, this.#arena);
    start(this, vectors);
  }

  get cachingMode(): boolean {
    return this.capabilities.cachingMode;
  }

  log(level: LogLine['level'], text: string): void {
    this.events.emit({ kind: 'log', level, text });
  }

  /** Gives a device its context entry and PASID directory. Its requests are blocked until it is attached. */
  probe(config: DeviceConfig): VtdDevice {
    const { sourceId } = config;
    invariant(!this.#bySource.has(sourceId), `two devices with requester id ${sourceId} behind ${this.name}`);
    const free = this.#devices.indexOf(null);
    const index = free < 0 ? this.#devices.length : free;
    const device = new VtdDevice(this, index, config);
    this.#devices[index] = device;
    this.#bySource.set(sourceId, device);
    device.group.devices.push(device);
    this.contexts.set(device);
    if (this.cachingMode) {
      // What is cached as not being there has domain id 0.
      this.commands.contextOf(sourceId);
      this.queue.sync();
      this.commands.iotlbOf(0);
      this.queue.sync();
    }
    return device;
  }

  /** Takes a device away to which nothing is attached. */
  remove(device: VtdDevice): void {
    const { sourceId, group } = device;
    this.contexts.clearPresent(sourceId);
    this.commands.contextOf(sourceId);
    this.queue.sync();
    if (device.atsEnabled) {
      this.commands.deviceTlb(sourceId, 0, 0, 0, EVERYTHING);
      this.queue.sync();
    }
    this.contexts.clear(sourceId);
    device.pasids.free();
    this.#devices[device.index] = null;
    this.#bySource.delete(sourceId);
    group.devices.splice(group.devices.indexOf(device), 1);
  }

  /** Turns translation off and gives all memory back. No device is left. */
  destroy(): void {
    stop(this);
    this.#arena.release();
  }

  deviceOf(index: number): VtdDevice {
    return this.#devices[index]!;
  }

  deviceBySource(sourceId: number): VtdDevice | null {
    return this.#bySource.get(sourceId) ?? null;
  }

  devices(): IterableIterator<VtdDevice> {
    return this.#bySource.values();
  }

  /** A message has come that the unit was told to send; `data` says which. */
  interrupt(data: number): void {
    if (data === this.#vectors.fault) this.#faultPending = true;
    if (data === this.#vectors.pageRequest) this.#pageRequestPending = true;
    this.#takeInterrupts();
  }

  /** One after the other: never inside another, nor while the hardware works on invalidations. */
  #takeInterrupts(): void {
    if (this.#inInterrupt) return;
    this.#inInterrupt = true;
    while (!this.queue.busy && (this.#faultPending || this.#pageRequestPending)) {
      if (this.#faultPending) {
        this.#faultPending = false;
        handleFaults(this);
      } else {
        this.#pageRequestPending = false;
        this.pageRequests.handle();
      }
    }
    this.#inInterrupt = false;
  }

  hwInfo(_device: DmaDevice, type: number): HwInfo {
    if (type !== IOMMU_HW_INFO_TYPE_DEFAULT && type !== IOMMU_HW_INFO_TYPE_INTEL_VTD) {
      refuse(rules.vtd_hw_info_type, { unit: this.name, type });
    }
    const data = new Uint8Array(iommu_hw_info_vtd.size);
    const { cap: cap_reg, ecap: ecap_reg } = this.capabilities;
    const flags = IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17;
    iommu_hw_info_vtd.encode({ flags, __reserved: 0, cap_reg, ecap_reg }, data);
    return { type: IOMMU_HW_INFO_TYPE_INTEL_VTD, data };
  }

  /** intel_iommu_domain_alloc_paging_flags: a first stage if that will do. */
  allocPaging(_device: DmaDevice, flags: number, data: UserData | null): PagingDomain {
    if (data !== null) refuse(rules.vtd_paging_data, { type: data.type });
    const { capabilities, memory, name } = this;
    if ((flags & ~IOMMU_HWPT_ALLOC_PASID) === 0 && capabilities.firstStage) {
      return new FirstStage(this, memory);
    }
    if ((flags & ~SECOND_STAGE_FLAGS) !== 0) refuse(rules.vtd_paging_flags, { flags });
    if ((flags & IOMMU_HWPT_ALLOC_NEST_PARENT) !== 0 && !capabilities.nesting)
      refuse(rules.vtd_paging_no_nesting, { unit: name });
    if ((flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING) !== 0 && !capabilities.dirtyTracking)
      refuse(rules.vtd_paging_no_dirty, { unit: name });
    if (!capabilities.secondStage) refuse(rules.vtd_paging_no_second_stage, { unit: name });
    const shape = capabilities.secondStageShape();
    if (shape === null) {
      refuse(rules.vtd_paging_width, { unit: name, mgaw: capabilities.mgaw, sagaw: capabilities.sagaw });
    }
    return new SecondStage(this, memory, shape, flags);
  }

  allocNested(_device: DmaDevice, parent: PagingDomain, flags: number, data: UserData): NestedDomain {
    return this.makeNested(parent, null, flags, data);
  }

  /** intel_iommu_domain_alloc_nested. */
  makeNested(parent: PagingDomain, viommu: ViommuCore | null, flags: number, data: UserData): VtdNested {
    if (!this.capabilities.nesting) refuse(rules.vtd_nested_no_nesting, { unit: this.name });
    if ((flags & ~IOMMU_HWPT_ALLOC_PASID) !== 0) refuse(rules.vtd_nested_flags, { flags });
    if (data.type !== IOMMU_HWPT_DATA_VTD_S1) refuse(rules.vtd_nested_data_type, { type: data.type });
    if (!(parent instanceof SecondStage) || !parent.isNestParent) refuse(rules.vtd_nested_parent, {});
    const config = data.read(iommu_hwpt_vtd_s1, IOMMU_HWPT_DATA_VTD_S1, '__reserved');
    return new VtdNested(this, parent, viommu, config);
  }

  allocProvided(provider: AddressSpaceProvider): ProvidedDomain {
    if (!this.capabilities.firstStage)
      refuse(rules.vtd_provided_no_first_stage, { unit: this.name, name: provider.name });
    return new VtdProvided(this, provider, this.memory.providers);
  }

  allocUserTable(space: OwnedSpace, data: UserData): NestedDomain {
    const { capabilities, name, memory } = this;
    if (!capabilities.nesting) refuse(rules.vtd_user_table_no_nesting, { unit: name });
    if (data.type !== IOMMU_HWPT_DATA_VTD_S1) refuse(rules.vtd_user_table_format, { format: data.type });
    const shape = capabilities.secondStageShape();
    if (shape === null) refuse(rules.vtd_user_table_width, { unit: name });
    const config = data.read(iommu_hwpt_vtd_s1, IOMMU_HWPT_DATA_VTD_S1, '__reserved');
    const stage = new UserStage(this, space, memory.providers, shape.topLevel - 1);
    return new VtdNested(this, stage, null, config);
  }

  supportsViommu(_device: DmaDevice, type: number): boolean {
    return type === IOASIS_VIOMMU_TYPE_VTD && this.capabilities.nesting;
  }

  initViommu(core: ViommuCore, parent: PagingDomain, data: UserData | null): Viommu {
    if (data !== null) refuse(rules.vtd_viommu_data, { length: data.length });
    if (!(parent instanceof SecondStage) || !parent.isNestParent) refuse(rules.vtd_viommu_parent, {});
    return new VtdViommu(this, core, parent);
  }

  attach(domain: Domain, device: DmaDevice, _old: Domain): void {
    const target = device as VtdDevice;
    if (domain.kind === 'blocked') blockRid(target);
    else attachRid(target, domain as VtdDomain);
  }

  setDevPasid(domain: Domain, device: DmaDevice, pasid: number, old: Domain | null): void {
    const target = device as VtdDevice;
    const from = old === null || old.kind === 'blocked' ? null : (old as VtdDomain);
    if (domain.kind === 'blocked') blockPasid(target, pasid, from);
    else attachPasid(target, pasid, domain as VtdDomain, from);
  }

  pageResponse(device: DmaDevice, response: PageResponse): void {
    respond(device as VtdDevice, response);
  }
}
