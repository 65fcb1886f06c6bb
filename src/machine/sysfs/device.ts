/** What every device has in its directory, whatever its bus: driver, group, unit, power management, and VFIO's part. */
import type { DeviceModel } from '../../bus/model.js';
import type { BuiltDevice } from '../build.js';
import { parseChoice } from './parse.js';
import type { SysTree } from './tree.js';
import type { Bindings } from './bindings.js';

/** A device, and where it is. */
export interface SysDevice {
  readonly built: BuiltDevice;
  readonly model: DeviceModel;
  readonly name: string;
  readonly bus: 'pci' | 'platform';
  /** Its directory. */
  readonly path: string;
  /** Of its unit: dmarN. */
  readonly unit: string;
  /** Of its file below /dev/vfio/devices, while VFIO has the device; with major and minor number of that. */
  readonly vfio: { readonly name: string; readonly dev: string } | null;
  /** Of a virtual function: which one it is, and of which physical one. */
  readonly virtual: { readonly physical: BuiltDevice; readonly index: number } | null;
}

export const groupPath = ({ built }: SysDevice): string =>
  `/sys/kernel/iommu_groups/${built.plan.groupNumber}`;

export const unitPath = (unit: string): string => `/sys/devices/virtual/iommu/${unit}`;

export function describeDevice(tree: SysTree, device: SysDevice, bindings: Bindings): void {
  const { name, bus, path, unit } = device;
  const driver = bindings.driverOf(name);
  tree.link(`/sys/bus/${bus}/devices/${name}`, path);
  tree.link(`${path}/subsystem`, `/sys/bus/${bus}`);
  tree.link(`${path}/iommu`, unitPath(unit));
  tree.link(`${path}/iommu_group`, groupPath(device));
  tree.attribute(`${path}/driver_override`, {
    show: () => bindings.overrideOf(name) ?? '(null)',
    store: (text) => bindings.override(name, text),
  });
  if (driver !== null) {
    const at = `/sys/bus/${bus}/drivers/${driver.name}`;
    tree.link(`${path}/driver`, at);
    tree.link(`${at}/${name}`, path);
  }
  describePower(tree, path);
  describeVfio(tree, device);
}

/** Nothing here ever sleeps. */
function describePower(tree: SysTree, path: string): void {
  tree.setting(`${path}/power/control`, 'on', (text) => parseChoice('control', text, ['auto', 'on']));
  tree.text(`${path}/power/runtime_status`, 'active\n');
  tree.text(`${path}/power/runtime_active_time`, '0\n');
  tree.text(`${path}/power/runtime_suspended_time`, '0\n');
}

function describeVfio(tree: SysTree, { path, vfio }: SysDevice): void {
  if (vfio === null) return;
  const { name, dev } = vfio;
  const at = `${path}/vfio-dev/${name}`;
  tree.link(`${at}/device`, path);
  describeNode(tree, at, { dev, name: `vfio/devices/${name}`, className: 'vfio-dev' });
}

export interface NodeDescription {
  /** `major:minor` */
  readonly dev: string;
  /** Below /dev. */
  readonly name: string;
  readonly className: string;
}

/** The directory `at` of a device that has a node in /dev, and the ways to find it. */
export function describeNode(tree: SysTree, at: string, { dev, name, className }: NodeDescription): void {
  const [major, minor] = dev.split(':');
  tree.text(`${at}/dev`, `${dev}\n`);
  tree.attribute(`${at}/uevent`, {
    show: () => `MAJOR=${major}\nMINOR=${minor}\nDEVNAME=${name}`,
    store: () => {},
  });
  tree.link(`${at}/subsystem`, `/sys/class/${className}`);
  tree.link(`/sys/class/${className}/${at.slice(at.lastIndexOf('/') + 1)}`, at);
  tree.link(`/sys/dev/char/${dev}`, at);
}
