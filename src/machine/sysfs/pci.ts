/** The directory of a PCI function (drivers/pci/pci-sysfs.c), and of the bus (drivers/pci/pci-driver.c). */
import type { Built } from '../build.js';
import type { Bindings } from './bindings.js';
import type { SysDevice } from './device.js';
import { parseChoice, parseNumber } from './parse.js';
import type { SysTree } from './tree.js';

/** Where a root bus has what is on it. */
export const pciPath = (name: string): string => `/sys/devices/pci${name.slice(0, 7)}/${name}`;

const flag = (file: string) => (text: string) => (parseNumber(file, text) === 0 ? '0' : '1');

export function describePciDevice(tree: SysTree, { path, name, built }: SysDevice, _all: Built): void {
  const { virtualFunction } = built.plan;
  tree.directory(path.slice(0, path.lastIndexOf('/')), 'through');
  tree.setting(`${path}/broken_parity_status`, '0', flag('broken_parity_status'));
  tree.setting(`${path}/msi_bus`, '1', flag('msi_bus'));
  tree.setting(`${path}/numa_node`, '-1', (text) => parseChoice('numa_node', text, ['-1', '0']));
  if (!virtualFunction) tree.setting(`${path}/d3cold_allowed`, '1', flag('d3cold_allowed'));
  tree.text(`${path}/ari_enabled`, '0\n');
  tree.text(`${path}/power_state`, 'D0\n');
  tree.text(`${path}/dma_mask_bits`, '64\n');
  tree.text(`${path}/consistent_dma_mask_bits`, '64\n');
  tree.text(`${path}/local_cpus`, 'ff\n');
  tree.text(`${path}/local_cpulist`, '0-7\n');
  tree.attribute(`${path}/uevent`, { show: () => `PCI_SLOT_NAME=${name}`, store: () => {} });
}

export function describePciBus(tree: SysTree): void {
  const at = '/sys/bus/pci';
  tree.directory(at);
  tree.directory(`${at}/devices`);
  tree.directory(`${at}/slots`);
  tree.attribute(`${at}/rescan`, { store: (text) => parseNumber('rescan', text) });
  tree.attribute(`${at}/uevent`, { store: () => {} });
}

/** Of either bus: what binds devices to drivers. */
export function describeDrivers(tree: SysTree, bus: 'pci' | 'platform', bindings: Bindings): void {
  const at = `/sys/bus/${bus}`;
  tree.attribute(`${at}/drivers_probe`, { store: (name) => bindings.probe(name) });
  tree.setting(`${at}/drivers_autoprobe`, '1', flag('drivers_autoprobe'));
  for (const driver of bindings.drivers.filter((candidate) => candidate.bus === bus)) {
    const { name, module } = driver;
    tree.attribute(`${at}/drivers/${name}/bind`, { store: (device) => bindings.bind(driver, device) });
    tree.attribute(`${at}/drivers/${name}/unbind`, { store: (device) => bindings.unbind(driver, device) });
    tree.attribute(`${at}/drivers/${name}/uevent`, { store: () => {} });
    tree.link(`${at}/drivers/${name}/module`, `/sys/module/${module}`);
  }
}
