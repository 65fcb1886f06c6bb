/**
 * Builds what a plan says: units (hardware and driver) and devices. Loaded only where a topology asks for it.
 * Invariant: hardware and driver of a unit meet in registers, memory and messages; here is where they are introduced.
 */
import { refuse } from '../base/errno.js';
import type { Events } from '../base/events.js';
import type { WorkQueue } from '../base/work.js';
import { Endpoints } from '../bus/endpoints.js';
import type { MsiSink } from '../bus/mmio.js';
import type { DeviceModel } from '../bus/model.js';
import { pciName } from '../bus/pci.js';
import { setVirtualFunctions } from '../bus/pci-extended.js';
import type { SharedMemory } from '../bus/region.js';
import type { OpenBlocks } from '../dev/blocks.js';
import type { DmaEngine } from '../dev/dma-engine.js';
import { PciDevice, type PciPlace } from '../dev/pci-device.js';
import { IommuGroup } from '../hw/group.js';
import { capabilityRegisters } from '../hw/vtd/features.js';
import type { DeviceConfig, VtdDevice } from '../hw/vtd/driver/device.js';
import { VtdUnit } from '../hw/vtd/driver/unit.js';
import { VtdHardware } from '../hw/vtd/hardware.js';
import type { Env } from '../iommufd/env.js';
import type { PhysicalMemory } from '../mem/physical.js';
import type { OpenFile } from '../mem/task.js';
import { ContainerFile } from '../vfio/container.js';
import { VfioDeviceFile } from '../vfio/device-file.js';
import { DmaDriver } from '../vfio/dma-driver.js';
import { VfioDevice, type VfioDriver } from '../vfio/driver.js';
import { VfioGroup } from '../vfio/group.js';
import { VfioGroupFile } from '../vfio/group-file.js';
import { VfioPciDriver, type VfioPciOptions } from '../vfio/pci/driver.js';
import { VfToken, type TokenRole } from '../vfio/pci/token.js';
import { VfioPlatformDriver } from '../vfio/platform/driver.js';
import { BarSpace } from './bars.js';
import { CONTAINER_PATH, vfioGroupPath, vfioPath } from './devices.js';
import { rules } from './machine-rules.js';
import { makeModel, openStorage, type Made, type Storage } from './models.js';
import { planMachine, type DevicePlan, type MachinePlan, type UnitPlan } from './plan.js';
import { ResetBuses } from './reset-buses.js';
import type { Topology } from './topology.js';

export interface BuiltUnit {
  readonly name: string;
  readonly hardware: VtdHardware;
  readonly driver: VtdUnit;
}

/** A device with what stands behind its name. */
export class BuiltDevice {
  /** What it is to a program that drives it. */
  readonly model: DeviceModel;
  readonly #engine: DmaEngine | null;

  constructor(
    readonly plan: DevicePlan,
    readonly unit: BuiltUnit,
    /** What its IOMMU's driver knows of it. */
    readonly iommu: VtdDevice,
    readonly vfio: VfioDevice,
    made: Made,
    /** Where firmware has put its BARs; null: none, or a virtual function, whose physical one says it. */
    readonly bars: readonly (bigint | null)[],
  ) {
    this.model = made.model;
    this.#engine = made.engine;
  }

  /** A test device itself: what masters memory. */
  get dma(): DmaEngine {
    if (this.#engine === null) throw new RangeError(`${this.plan.name} is no DMA test device`);
    return this.#engine;
  }
}

export interface Built {
  readonly units: readonly BuiltUnit[];
  /** By name. */
  readonly devices: ReadonlyMap<string, BuiltDevice>;
  /** The topology names the kernel's mock IOMMU. */
  readonly hasSelftest: boolean;
  /** What opens a device file, by its path. */
  readonly files: ReadonlyMap<string, (env: Env) => OpenFile>;
  /** The virtual functions that a device has now, in order. */
  virtualFunctions(device: BuiltDevice): readonly BuiltDevice[];
  /** What is written to sriov_numvfs: virtual functions come, or all of them go. */
  setNumVfs(device: BuiltDevice, count: number): void;
  /** Called after devices have come or gone. */
  readonly onChange: Set<() => void>;
}

/** What a machine is built into. */
export interface Surroundings {
  readonly physical: PhysicalMemory;
  readonly events: Events;
  /** Compare every cached translation with the tables when it is used. */
  readonly checkStale: boolean;
  /** Where devices say that they have something to do. */
  readonly work: WorkQueue;
  /** Memory for what programs may map of devices. */
  readonly sharedMemory: SharedMemory;
  /** Takes it back. */
  readonly freeShared: (memory: Uint8Array) => void;
  /** So many bytes that nobody can guess. */
  readonly random: (length: number) => Uint8Array;
  /** Opens the files of namespaces. */
  readonly openBlocks: OpenBlocks;
  /** Programs may map registers: what they store there comes back, store by store. */
  readonly mapsRegisters: boolean;
}

/** Function of the engine's configuration that asks for devices; separate, so that it can be left unloaded. */
export type Builder = (topology: Topology, into: Surroundings) => Built;

const MSI_MASK = 0xfff0_0000;
const MSI_WINDOW = 0xfee0_0000;

/** Messages of a unit go to the driver that has told it what to send. */
class Messages implements MsiSink {
  driver: VtdUnit | null = null;

  message(address: number, data: number): void {
    if ((address & MSI_MASK) >>> 0 === MSI_WINDOW) this.driver?.interrupt(data);
  }
}

interface Wired {
  readonly unit: BuiltUnit;
  readonly endpoints: Endpoints;
}

function buildUnit({ name, features }: UnitPlan, { physical, events, checkStale }: Surroundings): Wired {
  const endpoints = new Endpoints();
  const messages = new Messages();
  const capabilities = { ...capabilityRegisters(features), haw: features.hostAddressWidth };
  const hardware = new VtdHardware({ name, memory: physical, capabilities, messages, endpoints, events });
  hardware.checking = checkStale;
  const driver = new VtdUnit({ name, mmio: hardware, memory: physical, events });
  messages.driver = driver;
  return { unit: { name, hardware, driver }, endpoints };
}

export const buildMachine: Builder = (topology, into) => {
  const plan = planMachine(topology);
  const units = new Map(plan.units.map((unit) => [unit, buildUnit(unit, into)]));
  const assembly = new Assembly(plan, units, into);
  for (const device of plan.devices) assembly.add(device);
  if (plan.devices.length > 0)
    assembly.files.set(CONTAINER_PATH, (env) => new ContainerFile(env, plan.vfioNesting));
  return assembly;
};

/** The machine while it is there: devices can come and go. */
class Assembly implements Built {
  readonly devices = new Map<string, BuiltDevice>();
  readonly files = new Map<string, (env: Env) => OpenFile>();
  readonly onChange = new Set<() => void>();
  readonly #plan: MachinePlan;
  readonly #units: ReadonlyMap<UnitPlan, Wired>;
  readonly #into: Surroundings;
  readonly #groups = new Map<number, VfioGroup>();
  readonly #resets = new ResetBuses();
  readonly #bars = new BarSpace();
  /** Of those that can have virtual functions. */
  readonly #physical = new Map<BuiltDevice, Physical>();
  readonly #virtual = new Map<BuiltDevice, BuiltDevice[]>();

  constructor(plan: MachinePlan, units: ReadonlyMap<UnitPlan, Wired>, into: Surroundings) {
    this.#plan = plan;
    this.#units = units;
    this.#into = into;
  }

  get hasSelftest(): boolean {
    return this.#plan.selftest;
  }

  get units(): readonly BuiltUnit[] {
    return [...this.#units.values()].map(({ unit }) => unit);
  }

  /** `physical`: what a virtual function has in common with its physical one. */
  add(plan: DevicePlan, physical: Physical | null = null): BuiltDevice {
    const { unit, endpoints } = this.#units.get(plan.bus.unit)!;
    const storage = physical?.storage ?? openStorage(plan, this.#into);
    const made = makeModel(plan, this.#placeOf(plan), unit.hardware, this.#into, storage);
    endpoints.add(made.model.endpoint);
    const group = this.#groupOf(plan);
    const iommu = unit.driver.probe(describe(plan, group.iommu));
    const own = plan.virtualFunctions === null ? null : new VfToken(this.#into.random(TOKEN_BYTES));
    const { mapsRegisters } = this.#into;
    const driver = driverOf(made, { role: roleOf(plan, own, physical), mapsRegisters });
    const extension = made.engine === null ? null : new DmaDriver(made.engine);
    const vfio = new VfioDevice(this.#freePath(), plan.bus.type, iommu, driver, extension);
    this.#resets.add(plan, vfio);
    const device = new BuiltDevice(plan, unit, iommu, vfio, made, this.#bars.place(made.model));
    if (own !== null) this.#physical.set(device, { storage, token: own });
    this.devices.set(plan.name, device);
    this.files.set(vfio.path, (env) => new VfioDeviceFile(env, vfio));
    // Linux' VFIO takes no other device.
    if (plan.coherent) group.register(vfio);
    return device;
  }

  /** Takes away a device that nobody has. */
  #remove(device: BuiltDevice): void {
    const { plan, iommu, vfio, model, unit } = device;
    model.reset();
    unit.driver.remove(iommu);
    this.#units.get(plan.bus.unit)!.endpoints.remove(model.endpoint);
    vfio.group?.unregister(vfio);
    this.#resets.remove(vfio);
    if (iommu.group.devices.length === 0) {
      this.#groups.delete(plan.groupNumber);
      this.files.delete(vfioGroupPath(plan.groupNumber));
    }
    this.devices.delete(plan.name);
    this.files.delete(vfio.path);
    for (const region of model.regions) if (region !== null) this.#into.freeShared(region.image);
  }

  #groupOf({ groupNumber }: DevicePlan): VfioGroup {
    const old = this.#groups.get(groupNumber);
    if (old !== undefined) return old;
    const made = new VfioGroup(new IommuGroup(groupNumber));
    this.#groups.set(groupNumber, made);
    this.files.set(vfioGroupPath(groupNumber), (env) => new VfioGroupFile(env, made));
    return made;
  }

  /** The lowest number that no device has. */
  #freePath(): string {
    let index = 0;
    while (this.files.has(vfioPath(index))) index += 1;
    return vfioPath(index);
  }

  /** Null on a platform bus. */
  #placeOf({ name, sourceId, bus, virtualFunction, virtualFunctions }: DevicePlan): PciPlace | null {
    if (bus.type !== 'pci') return null;
    const isSibling = (other: DevicePlan): boolean =>
      other.bus === bus && other.sourceId !== sourceId && other.sourceId >> 3 === sourceId >> 3;
    const isMultiFunction = !virtualFunction && this.#plan.devices.some(isSibling);
    return { name, sourceId, isVirtual: virtualFunction, isMultiFunction, sriov: virtualFunctions };
  }

  virtualFunctions(device: BuiltDevice): readonly BuiltDevice[] {
    return this.#virtual.get(device) ?? [];
  }

  setNumVfs(device: BuiltDevice, count: number): void {
    const { plan, model } = device;
    const { name, virtualFunctions } = plan;
    const present = this.virtualFunctions(device);
    if (virtualFunctions === null) refuse(rules.sriov_none, { device: name });
    if (count > virtualFunctions.total) refuse(rules.sriov_range, { count, total: virtualFunctions.total });
    if (count === present.length) return;
    if (count > 0 && present.length > 0) refuse(rules.sriov_busy, { present: present.length, count });
    const used = present.find(({ vfio, iommu }) => vfio.group?.isOpen === true || iommu.group.isAttached);
    // OURS: Linux waits until it is given back.
    used?.vfio.askBack();
    if (used !== undefined) refuse(rules.sriov_in_use, { device: used.plan.name });
    for (const each of present) this.#remove(each);
    const made: BuiltDevice[] = [];
    for (let index = 0; index < count; index++) {
      made.push(this.add(this.#virtualPlan(plan, index), this.#physical.get(device)));
    }
    this.#virtual.set(device, made);
    setVirtualFunctions((model as PciDevice).config, count);
    for (const tell of this.onChange) tell();
  }

  #virtualPlan(physical: DevicePlan, index: number): DevicePlan {
    const sourceId = physical.sourceId + physical.virtualFunctions!.offset + index;
    const name = pciName(physical.bus.segment, sourceId);
    let groupNumber = 0;
    while (this.#groups.has(groupNumber)) groupNumber += 1;
    return {
      ...physical,
      name,
      sourceId,
      group: null,
      groupNumber,
      virtualFunction: true,
      cxlMemory: null,
      virtualFunctions: null,
    };
  }
}

/** What virtual functions have of their physical one. */
interface Physical {
  readonly storage: Storage;
  readonly token: VfToken;
}

const TOKEN_BYTES = 16;

function roleOf(plan: DevicePlan, own: VfToken | null, physical: Physical | null): TokenRole {
  if (own !== null) return { kind: 'physical', own };
  return plan.virtualFunction ? { kind: 'virtual', physical: physical?.token ?? null } : { kind: 'none' };
}

/** The kernel's driver for it. */
function driverOf({ model }: Made, options: VfioPciOptions): VfioDriver {
  if (model instanceof PciDevice) return new VfioPciDriver(model, options);
  return new VfioPlatformDriver(model, options.mapsRegisters);
}

/** What the driver of its unit is told of a device. */
function describe(plan: DevicePlan, group: IommuGroup): DeviceConfig {
  const { name, sourceId, ats, pri, pasidBits, coherent, reserved } = plan;
  return {
    name,
    sourceId,
    ats,
    pri,
    pasidBits,
    coherent,
    group,
    resvRegions: reserved,
    isVirtualFunctionWithPri: plan.virtualFunction && pri,
  };
}
