/** The bus of PCI in /sys (drivers/pci/pci-driver.c), and what binds devices of any bus to drivers (drivers/base/bus.c). */
import type { Bindings } from './bindings.js';
import { flag, parseNumber } from './parse.js';
import type { SysTree } from './tree.js';

/** `rescan` brings back what was removed. */
export function describePciBus(tree: SysTree, rescan: () => void): void {
  const at = '/sys/bus/pci';
  tree.directory(at);
  tree.directory(`${at}/devices`);
  tree.directory(`${at}/slots`);
  tree.attribute(`${at}/rescan`, { store: (text) => parseNumber('rescan', text) !== 0 && rescan() });
  tree.attribute(`${at}/uevent`, { store: () => {} });
}

export function describeDrivers(tree: SysTree, bus: 'pci' | 'platform', bindings: Bindings): void {
  const at = `/sys/bus/${bus}`;
  tree.attribute(`${at}/drivers_probe`, { store: (name) => bindings.probe(name) });
  tree.setting(`${at}/drivers_autoprobe`, '1', flag('drivers_autoprobe'));
  for (const driver of bindings.drivers.filter((candidate) => candidate.bus === bus)) {
    const { name, module } = driver;
    const place = `${at}/drivers/${name}`;
    tree.attribute(`${place}/bind`, { store: (device) => bindings.bind(driver, device) });
    tree.attribute(`${place}/unbind`, { store: (device) => bindings.unbind(driver, device) });
    tree.attribute(`${place}/uevent`, { store: () => {} });
    tree.link(`${place}/module`, `/sys/module/${module}`);
    if (bus !== 'pci') continue;
    tree.attribute(`${place}/new_id`, { store: (text) => bindings.addId(driver, text) });
    tree.attribute(`${place}/remove_id`, { store: (text) => bindings.removeId(driver, text) });
  }
}
