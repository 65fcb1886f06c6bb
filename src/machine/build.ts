/**
 * Builds what a plan says: units (hardware and driver), buses, devices. Loaded only where a topology asks for it.
 * Invariant: hardware and driver of a unit meet in registers, memory and messages; here is where they are introduced.
 */
import type { Events } from '../base/events.js';
import { Endpoints } from '../bus/endpoints.js';
import type { MsiSink } from '../bus/mmio.js';
import { parsePciName, PciSegment } from '../bus/pci.js';
import { PlatformBus } from '../bus/platform.js';
import { DmaEngine } from '../dev/dma-engine.js';
import { IommuGroup } from '../hw/group.js';
import { capabilityRegisters } from '../hw/vtd/features.js';
import type { VtdDevice } from '../hw/vtd/driver/device.js';
import { VtdUnit } from '../hw/vtd/driver/unit.js';
import { VtdHardware } from '../hw/vtd/hardware.js';
import type { Env } from '../iommufd/env.js';
import type { PhysicalMemory } from '../mem/physical.js';
import type { OpenFile } from '../mem/task.js';
import { VfioDeviceFile } from '../vfio/device-file.js';
import { DmaDriver } from '../vfio/dma-driver.js';
import { VfioDevice } from '../vfio/driver.js';
import { vfioPath } from './devices.js';
import { planMachine, type BusPlan, type DevicePlan, type UnitPlan } from './plan.js';
import type { Topology } from './topology.js';

export interface BuiltUnit {
  readonly name: string;
  readonly hardware: VtdHardware;
  readonly driver: VtdUnit;
}

/** A device with what stands behind its name. */
export interface BuiltDevice {
  readonly plan: DevicePlan;
  readonly unit: BuiltUnit;
  /** What its IOMMU's driver knows of it. */
  readonly iommu: VtdDevice;
  /** The device itself: what masters memory. */
  readonly dma: DmaEngine;
}

export interface Built {
  readonly units: readonly BuiltUnit[];
  /** By name. */
  readonly devices: ReadonlyMap<string, BuiltDevice>;
  /** The topology names the kernel's mock IOMMU. */
  readonly hasSelftest: boolean;
  /** What opens a device file, by its path. */
  readonly files: ReadonlyMap<string, (env: Env) => OpenFile>;
}

/** What a machine is built into. */
export interface Surroundings {
  readonly physical: PhysicalMemory;
  readonly events: Events;
  /** Compare every cached translation with the tables when it is used. */
  readonly checkStale: boolean;
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

/** The group of a place on a bus, unless the topology says which. */
type Place = (device: DevicePlan) => string;

function buildBus(bus: BusPlan, { hardware }: BuiltUnit): Place {
  if (bus.type === 'platform') {
    const platform = new PlatformBus(bus.name, hardware);
    return ({ name, sourceId }) => platform.place(name, sourceId).groupKey;
  }
  const segment = new PciSegment(bus.segment, hardware);
  return ({ name }) => `${bus.name} ${segment.place(parsePciName(name)!.rid).groupKey}`;
}

export const buildMachine: Builder = (topology, into) => {
  const plan = planMachine(topology);
  const units = new Map(plan.units.map((unit) => [unit, buildUnit(unit, into)]));
  const places = new Map(plan.buses.map((bus) => [bus, buildBus(bus, units.get(bus.unit)!.unit)]));
  const groups = new Map<string, IommuGroup>();
  const devices = new Map<string, BuiltDevice>();
  const files = new Map<string, (env: Env) => OpenFile>();
  for (const [index, device] of plan.devices.entries()) {
    const place = places.get(device.bus)!(device);
    const key = device.group === null ? place : `named ${device.group}`;
    let group = groups.get(key);
    if (group === undefined) groups.set(key, (group = new IommuGroup()));
    const made = buildDevice(device, group, units.get(device.bus.unit)!, into);
    devices.set(device.name, made);
    const vfio = new VfioDevice(vfioPath(index), device.bus.type, made.iommu, new DmaDriver(made.dma));
    files.set(vfio.path, (env) => new VfioDeviceFile(env, vfio));
  }
  return { units: [...units.values()].map(({ unit }) => unit), devices, files, hasSelftest: plan.selftest };
};

function buildDevice(
  plan: DevicePlan,
  group: IommuGroup,
  { unit, endpoints }: Wired,
  into: Surroundings,
): BuiltDevice {
  const { name, sourceId, ats, pri, pasidBits, coherent } = plan;
  const { physical, events, checkStale } = into;
  const dma = new DmaEngine({
    name,
    sourceId,
    translator: unit.hardware,
    memory: physical,
    maxPasids: pasidBits === 0 ? 0 : 2 ** pasidBits,
    ats,
    pri,
    staleness: {
      events,
      generation: () => physical.tables.moves,
      isLive: (hi, lo) => physical.isLive(hi, lo),
      checking: checkStale,
    },
  });
  endpoints.add(dma);
  const iommu = unit.driver.probe({
    name,
    sourceId,
    ats,
    pri,
    pasidBits,
    coherent,
    group,
    resvRegions: plan.reserved,
    isVirtualFunctionWithPri: plan.virtualFunction && pri,
  });
  return { plan, unit, iommu, dma };
}
