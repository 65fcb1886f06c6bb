/**
 * /sys of a machine: describes it from what was built and from which driver has which device. Made anew after every
 * write, so nothing of it has to be kept up to date piece by piece.
 */
import type { Built, BuiltDevice } from '../build.js';
import { deviceNodes, vfioPath, type DeviceNode } from '../devices.js';
import type { DevicePlan } from '../plan.js';
import type { VfioDevice } from '../../vfio/driver.js';
import { Bindings, type Bound, type Driver } from './bindings.js';
import { describeDevice, describeNode, type SysDevice } from './device.js';
import { describeGroup, describeUnit } from './iommu.js';
import { describeModules } from './modules.js';
import { describeDrivers, describePciBus, describePciDevice, pciPath } from './pci.js';
import { SysTree, type SysFile, type SysNode } from './tree.js';

/** Directories that the system has too. */
const SHARED = [
  '/sys',
  '/sys/bus',
  '/sys/class',
  '/sys/class/misc',
  '/sys/dev',
  '/sys/dev/char',
  '/sys/devices',
  '/sys/devices/virtual',
  '/sys/devices/virtual/misc',
  '/sys/kernel',
  '/sys/module',
];

const VFIO_PCI: Driver = { name: 'vfio-pci', bus: 'pci', module: 'vfio_pci', takes: () => true };
const VFIO_PLATFORM: Driver = {
  name: 'vfio-platform',
  bus: 'platform',
  module: 'vfio_platform',
  takes: () => true,
};

const boundOf = ({ name, bus }: DevicePlan, vfio: VfioDevice): Bound => ({
  name,
  bus: bus.type,
  get isOpen() {
    return vfio.isOpen;
  },
});

export class Sysfs {
  readonly #built: Built;
  readonly #bindings: Bindings;
  readonly #bound = new Map<string, Bound>();
  readonly #settings = new Map<string, string>();
  #tree: SysTree;

  constructor(built: Built) {
    this.#built = built;
    for (const { plan, vfio } of built.devices.values()) {
      this.#bound.set(plan.name, boundOf(plan, vfio));
    }
    this.#bindings = new Bindings(this.#bound, [VFIO_PCI, VFIO_PLATFORM]);
    this.#tree = this.#describe();
  }

  get nodes(): ReadonlyMap<string, SysNode> {
    return this.#tree.nodes;
  }

  /** The device files that there are now. */
  get devices(): readonly DeviceNode[] {
    return this.#nodes().filter(({ path }) => this.#isThere(path));
  }

  /** Whether there is a device file of this name now. */
  has(path: string): boolean {
    return this.#isThere(path);
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

  #nodes(): readonly DeviceNode[] {
    return deviceNodes([...this.#built.devices.values()].map(({ plan }) => plan));
  }

  #isThere(path: string): boolean {
    const index = [...this.#built.devices.keys()].findIndex((_, at) => vfioPath(at) === path);
    if (index < 0) return true;
    return this.#bindings.hasVfio([...this.#bound.values()][index]!);
  }

  #describe(): SysTree {
    const tree = new SysTree(this.#settings);
    for (const path of SHARED) tree.directory(path, 'shared');
    const devices = [...this.#built.devices.values()].map((built, index) => this.#device(built, index));
    if (devices.some(({ bus }) => bus === 'platform')) {
      for (const path of ['/sys/bus/platform', '/sys/devices/platform']) tree.directory(path, 'shared');
      tree.directory('/sys/bus/platform/devices', 'shared');
      tree.directory('/sys/bus/platform/drivers', 'shared');
      describeDrivers(tree, 'platform', this.#bindings);
    }
    describePciBus(tree);
    describeDrivers(tree, 'pci', this.#bindings);
    describeModules(tree, this.#bindings.drivers);
    tree.directory('/sys/kernel/iommu_groups');
    for (const device of devices) {
      if (device.bus === 'pci') describePciDevice(tree, device);
      describeDevice(tree, device, this.#bindings);
    }
    for (const number of new Set(devices.map(({ built }) => built.plan.groupNumber))) {
      describeGroup(
        tree,
        devices.filter(({ built }) => built.plan.groupNumber === number),
      );
    }
    for (const [index, unit] of this.#built.units.entries()) {
      describeUnit(
        tree,
        index,
        unit,
        devices.filter(({ built }) => built.unit === unit),
      );
    }
    this.#describeNodes(tree);
    return tree;
  }

  /** Those of no single device. */
  #describeNodes(tree: SysTree): void {
    for (const { path, major, minor } of this.devices) {
      if (path.startsWith('/dev/vfio/devices/')) continue;
      const name = path.slice('/dev/'.length);
      const last = path.slice(path.lastIndexOf('/') + 1);
      const className = path === '/dev/iommu' || path === '/dev/vfio/vfio' ? 'misc' : 'vfio';
      describeNode(tree, `/sys/devices/virtual/${className}/${last}`, {
        dev: `${major}:${minor}`,
        name,
        className,
      });
    }
  }

  #device(built: BuiltDevice, index: number): SysDevice {
    const { name, bus } = built.plan;
    const bound = this.#bound.get(name)!;
    const { major, minor } = this.#nodes().find(({ path }) => path === vfioPath(index))!;
    return {
      built,
      name,
      bus: bus.type,
      path: bus.type === 'pci' ? pciPath(name) : `/sys/devices/platform/${name}`,
      unit: `dmar${this.#built.units.indexOf(built.unit)}`,
      vfio: this.#bindings.hasVfio(bound) ? { name: `vfio${index}`, dev: `${major}:${minor}` } : null,
    };
  }
}
