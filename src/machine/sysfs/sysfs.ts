/**
 * /sys of a machine: describes it from what was built and from which driver has which device. Made anew after every
 * write, so nothing of it has to be kept up to date piece by piece.
 */
import type { Built, BuiltDevice } from '../build.js';
import { CONTAINER_PATH, deviceNodes, VFIO_DEVICE_MAJOR, type DeviceNode } from '../devices.js';
import { refuse } from '../../base/errno.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import type { VfioDevice } from '../../vfio/driver.js';
import { Bindings, KNOWN_DRIVERS } from './bindings.js';
import { BoundDevice } from './bound-device.js';
import { describeDevice, describeNode, type SysDevice } from './device.js';
import { describeGroup, describeUnit } from './iommu.js';
import { describeModules } from './modules.js';
import { describeDrivers, describePciBus } from './pci.js';
import { describePciDevice, pciPath, type SysFunction } from './pci-device.js';
import { describeSriov, type SriovActions } from './pci-sriov.js';
import { describePlatformDevice } from './platform.js';
import { rules } from './rules.js';
import { describeDebug } from './vtd-debug.js';
import { SysTree, type SysFile, type SysNode } from './tree.js';

/** Directories that the system has too, and of those the ones that are looked through: to list more takes time. */
const SYSTEM = ['/sys', '/sys/dev', '/sys/dev/char', '/sys/module'];
const SHARED = [
  '/sys/bus',
  '/sys/class',
  '/sys/class/misc',
  '/sys/devices',
  '/sys/devices/virtual',
  '/sys/devices/virtual/misc',
  '/sys/kernel',
];

const PLATFORM = [
  '/sys/bus/platform',
  '/sys/bus/platform/devices',
  '/sys/bus/platform/drivers',
  '/sys/devices/platform',
];

export interface SysfsOptions {
  /** Processors that are online, as a list. */
  readonly cpus: string;
  readonly physical: PhysicalMemory;
}

export class Sysfs {
  readonly #built: Built;
  readonly #memory: PhysicalMemory;
  readonly #bindings = new Bindings(KNOWN_DRIVERS);
  readonly #settings = new Map<string, string>();
  /** Devices that were taken off their bus. */
  readonly #removed = new Set<string>();
  readonly #actions: SriovActions;
  readonly #bound = new WeakMap<BuiltDevice, BoundDevice>();
  #tree: SysTree;

  constructor(built: Built, { cpus, physical }: SysfsOptions) {
    this.#built = built;
    this.#memory = physical;
    this.#actions = {
      bindings: this.#bindings,
      cpus,
      remove: (device) => this.#remove(device),
      setNumVfs: (device, count) => built.setNumVfs(device, count),
    };
    this.#tree = this.#describe();
    built.onChange.add(() => this.refresh());
  }

  get nodes(): ReadonlyMap<string, SysNode> {
    return this.#tree.nodes;
  }

  /** The device files that there are now. */
  get devices(): readonly DeviceNode[] {
    return deviceNodes(this.#present.map((device) => this.#grouped(device)));
  }

  /** Whether there is a device file of this name now. */
  has(path: string): boolean {
    return this.devices.some((node) => node.path === path);
  }

  /** What is read and written at `path`; null: no such file. */
  file(path: string): SysFile | null {
    const node = this.#tree.find(path);
    return node?.kind === 'file' ? node : null;
  }

  /** Something was written: {@link nodes} and {@link devices} say what is there now. */
  refresh(): void {
    this.#tree = this.#describe();
  }

  #grouped({ plan, vfio }: BuiltDevice): Parameters<typeof deviceNodes>[0][number] {
    const hasVfio = this.#bindings.hasVfio(plan.name);
    return { ...plan, vfioNumber: hasVfio ? vfioNumber(vfio) : null };
  }

  /** Devices that are on their buses. */
  get #present(): BuiltDevice[] {
    return [...this.#built.devices.values()].filter(({ plan }) => !this.#removed.has(plan.name));
  }

  #describe(): SysTree {
    const present = this.#present;
    this.#bindings.devices = new Map(present.map((device) => [device.plan.name, this.#boundOf(device)]));
    const tree = new SysTree(this.#settings);
    for (const path of SYSTEM) tree.directory(path, 'system');
    for (const path of SHARED) tree.directory(path, 'shared');
    const devices = present.map((device) => this.#device(device));
    this.#describeBuses(tree, devices);
    describeModules(tree, this.#bindings.drivers);
    for (const device of devices) this.#describeDevice(tree, device, devices);
    tree.directory('/sys/kernel/iommu_groups');
    for (const number of new Set(devices.map(({ built }) => built.plan.groupNumber))) {
      const members = devices.filter(({ built }) => built.plan.groupNumber === number);
      describeGroup(tree, members);
    }
    for (const [index, unit] of this.#built.units.entries()) {
      const behind = devices.filter(({ built }) => built.unit.name === unit.name);
      describeUnit(tree, index, unit, behind);
    }
    describeDebug(tree, this.#memory, this.#built.units, devices);
    this.#describeNodes(tree);
    return tree;
  }

  /** The same one as long as the device is there: it knows what to undo. */
  #boundOf(device: BuiltDevice): BoundDevice {
    let bound = this.#bound.get(device);
    if (bound === undefined) this.#bound.set(device, (bound = new BoundDevice(device)));
    return bound;
  }

  #describeDevice(tree: SysTree, device: SysDevice, all: readonly SysDevice[]): void {
    if (isFunction(device)) {
      const virtual = this.#built.virtualFunctions(device.built);
      const functions = all.filter((other) => virtual.includes(other.built)).filter(isFunction);
      describePciDevice(tree, device, this.#actions);
      describeSriov(tree, device, functions, this.#actions);
    } else describePlatformDevice(tree, device, this.#bindings);
    describeDevice(tree, device, this.#bindings);
  }

  #describeBuses(tree: SysTree, devices: readonly SysDevice[]): void {
    describePciBus(tree, () => this.#removed.clear());
    describeDrivers(tree, 'pci', this.#bindings);
    if (!devices.some(({ bus }) => bus === 'platform')) return;
    for (const path of PLATFORM) tree.directory(path, 'shared');
    describeDrivers(tree, 'platform', this.#bindings);
  }

  /** Those of no single device. */
  #describeNodes(tree: SysTree): void {
    for (const { path, major, minor } of this.devices) {
      if (path.startsWith('/dev/vfio/devices/')) continue;
      const last = path.slice(path.lastIndexOf('/') + 1);
      const className = path === '/dev/iommu' || path === CONTAINER_PATH ? 'misc' : 'vfio';
      describeNode(tree, `/sys/devices/virtual/${className}/${last}`, {
        dev: `${major}:${minor}`,
        name: path.slice('/dev/'.length),
        className,
      });
    }
  }

  #device(built: BuiltDevice): SysDevice {
    const { plan, vfio, unit, model } = built;
    const { name } = plan;
    const bus = plan.bus.type;
    const number = vfioNumber(vfio);
    const hasVfio = this.#bindings.hasVfio(name);
    const virtual = this.#virtualOf(built);
    return {
      built,
      model,
      name,
      bus,
      path:
        bus === 'pci' ? pciPath(virtual?.physical.plan.name ?? name, name) : `/sys/devices/platform/${name}`,
      unit: `dmar${this.#built.units.findIndex((other) => other.name === unit.name)}`,
      vfio: hasVfio ? { name: `vfio${number}`, dev: `${VFIO_DEVICE_MAJOR}:${number}` } : null,
      virtual,
    };
  }

  #virtualOf(built: BuiltDevice): SysDevice['virtual'] {
    if (!built.plan.virtualFunction) return null;
    for (const physical of this.#built.devices.values()) {
      const index = this.#built.virtualFunctions(physical).indexOf(built);
      if (index >= 0) return { physical, index };
    }
    return null;
  }

  #remove({ name, built }: SysDevice): void {
    if (built.vfio.askBack()) refuse(rules.sysfs_remove_open, { device: name });
    this.#removed.add(name);
  }
}

const isFunction = (device: SysDevice): device is SysFunction => 'config' in device.model;

const vfioNumber = ({ path }: VfioDevice): number => Number(/\d+$/.exec(path)?.[0]);
