/**
 * /sys of a machine: describes it from what was built and from which driver has which device. Made anew after every
 * write, so nothing of it has to be kept up to date piece by piece.
 */
import type { Built, BuiltDevice } from '../build.js';
import { deviceNodes, VFIO_DEVICE_MAJOR, type DeviceNode } from '../devices.js';
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

const PLATFORM = [
  '/sys/bus/platform',
  '/sys/bus/platform/devices',
  '/sys/bus/platform/drivers',
  '/sys/devices/platform',
];

const VFIO_PCI: Driver = { name: 'vfio-pci', bus: 'pci', module: 'vfio_pci', takes: () => true };
const VFIO_PLATFORM: Driver = {
  name: 'vfio-platform',
  bus: 'platform',
  module: 'vfio_platform',
  takes: () => true,
};

export class Sysfs {
  readonly #built: Built;
  readonly #bindings = new Bindings([VFIO_PCI, VFIO_PLATFORM]);
  readonly #settings = new Map<string, string>();
  #tree: SysTree;

  constructor(built: Built) {
    this.#built = built;
    this.#tree = this.#describe();
  }

  get nodes(): ReadonlyMap<string, SysNode> {
    return this.#tree.nodes;
  }

  /** The device files that there are now. */
  get devices(): readonly DeviceNode[] {
    return deviceNodes([...this.#built.devices.values()].map((device) => this.#grouped(device)));
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
    const { name, bus } = plan;
    const hasVfio = this.#bindings.hasVfio({ name, bus: bus.type });
    return { ...plan, vfioNumber: hasVfio ? vfioNumber(vfio) : null };
  }

  #describe(): SysTree {
    const { devices: all, units } = this.#built;
    this.#bindings.devices = new Map([...all].map(([name, { plan, vfio }]) => [name, boundOf(plan, vfio)]));
    const tree = new SysTree(this.#settings);
    for (const path of SHARED) tree.directory(path, 'shared');
    const devices = [...all.values()].map((device) => this.#device(device));
    this.#describeBuses(tree, devices);
    describeModules(tree, this.#bindings.drivers);
    for (const device of devices) {
      if (device.bus === 'pci') describePciDevice(tree, device, this.#built);
      describeDevice(tree, device, this.#bindings);
    }
    tree.directory('/sys/kernel/iommu_groups');
    for (const number of new Set(devices.map(({ built }) => built.plan.groupNumber))) {
      const members = devices.filter(({ built }) => built.plan.groupNumber === number);
      describeGroup(tree, members);
    }
    for (const [index, unit] of units.entries()) {
      const behind = devices.filter(({ built }) => built.unit === unit);
      describeUnit(tree, index, unit, behind);
    }
    this.#describeNodes(tree);
    return tree;
  }

  #describeBuses(tree: SysTree, devices: readonly SysDevice[]): void {
    describePciBus(tree);
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
      const className = path === '/dev/iommu' || path === '/dev/vfio/vfio' ? 'misc' : 'vfio';
      describeNode(tree, `/sys/devices/virtual/${className}/${last}`, {
        dev: `${major}:${minor}`,
        name: path.slice('/dev/'.length),
        className,
      });
    }
  }

  #device(built: BuiltDevice): SysDevice {
    const { plan, vfio, unit } = built;
    const { name } = plan;
    const bus = plan.bus.type;
    const number = vfioNumber(vfio);
    return {
      built,
      name,
      bus,
      path: bus === 'pci' ? pciPath(name) : `/sys/devices/platform/${name}`,
      unit: `dmar${this.#built.units.findIndex((other) => other.name === unit.name)}`,
      vfio: this.#bindings.hasVfio({ name, bus })
        ? { name: `vfio${number}`, dev: `${VFIO_DEVICE_MAJOR}:${number}` }
        : null,
    };
  }
}

const boundOf = ({ name, bus }: DevicePlan, vfio: VfioDevice): Bound => ({
  name,
  bus: bus.type,
  get isOpen() {
    return vfio.isOpen;
  },
});

const vfioNumber = ({ path }: VfioDevice): number => Number(/\d+$/.exec(path)?.[0]);
