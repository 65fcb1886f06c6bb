/** The directory of a PCI function (drivers/pci/pci-sysfs.c). Whatever configuration space says is read from there. */
import { refuse } from '../../base/errno.js';
import { hex, prefixedHex } from '../../base/hex.js';
import type { ConfigSpace, PciModel } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import type { Bindings } from './bindings.js';
import type { SysDevice } from './device.js';
import { describeLink } from './pci-link.js';
import { describeResources } from './pci-resources.js';
import { flag, parseChoice, parseNumber } from './parse.js';
import { rules } from './rules.js';
import type { SysTree } from './tree.js';

/** Where the root bus of `physical` has `name`; virtual functions are beside the physical one. */
export const pciPath = (physical: string, name: string): string =>
  `/sys/devices/pci${physical.slice(0, 7)}/${name}`;

/** A device that is a PCI function. */
export interface SysFunction extends SysDevice {
  readonly model: PciModel;
}

/** What of the machine a function's attributes act on. */
export interface PciActions {
  readonly bindings: Bindings;
  /** Processors that are online, as a list: `0-3,8`. */
  readonly cpus: string;
  /** Takes a function off its bus, until that is looked through again. */
  remove(device: SysDevice): void;
}

const upper = (value: number, digits: number): string => hex(value, digits).toUpperCase();

export function describePciDevice(tree: SysTree, device: SysFunction, actions: PciActions): void {
  const { path, model, built } = device;
  const { config } = model;
  tree.directory(path.slice(0, path.lastIndexOf('/')), 'through');
  describeIdentity(tree, device, actions.bindings);
  tree.file(`${path}/config`, configFile(config));
  describeResources(tree, device);
  describeLink(tree, path, config);
  tree.attribute(`${path}/irq`, { show: () => String(config.read(r.PCI_INTERRUPT_LINE, 1)) });
  tree.setting(`${path}/broken_parity_status`, '0', flag('broken_parity_status'));
  tree.setting(`${path}/msi_bus`, '1', flag('msi_bus'));
  tree.setting(`${path}/numa_node`, '-1', (text) => parseChoice('numa_node', text, ['-1', '0']));
  if (!built.plan.virtualFunction) tree.setting(`${path}/d3cold_allowed`, '1', flag('d3cold_allowed'));
  tree.text(`${path}/ari_enabled`, '0\n');
  tree.text(`${path}/power_state`, 'D0\n');
  tree.text(`${path}/dma_mask_bits`, '64\n');
  tree.text(`${path}/consistent_dma_mask_bits`, '64\n');
  tree.text(`${path}/local_cpulist`, `${actions.cpus}\n`);
  tree.text(`${path}/local_cpus`, `${cpuMask(actions.cpus)}\n`);
  describeActions(tree, device, actions);
}

function describeIdentity(tree: SysTree, device: SysFunction, bindings: Bindings): void {
  const { path, name, model } = device;
  const { config } = model;
  const word = (offset: number): number => config.read(offset, 2);
  const classOf = (): number => config.read(r.PCI_CLASS_REVISION, 4) >>> 8;
  for (const [file, offset] of [
    ['vendor', r.PCI_VENDOR_ID],
    ['device', r.PCI_DEVICE_ID],
    ['subsystem_vendor', r.PCI_SUBSYSTEM_VENDOR_ID],
    ['subsystem_device', r.PCI_SUBSYSTEM_ID],
  ] as const) {
    tree.attribute(`${path}/${file}`, { show: () => prefixedHex(word(offset), 4) });
  }
  tree.attribute(`${path}/revision`, { show: () => prefixedHex(config.read(r.PCI_CLASS_REVISION, 1), 2) });
  tree.attribute(`${path}/class`, { show: () => prefixedHex(classOf(), 6) });
  const modalias = (): string => {
    const at = classOf();
    const parts = [at >>> 16, (at >>> 8) & 0xff, at & 0xff].map((part) => upper(part, 2));
    const ids = [r.PCI_VENDOR_ID, r.PCI_DEVICE_ID, r.PCI_SUBSYSTEM_VENDOR_ID, r.PCI_SUBSYSTEM_ID];
    const [vendor, model_, subvendor, subdevice] = ids.map((offset) => upper(word(offset), 8));
    return `pci:v${vendor}d${model_}sv${subvendor}sd${subdevice}bc${parts[0]}sc${parts[1]}i${parts[2]}`;
  };
  tree.attribute(`${path}/modalias`, { show: modalias });
  tree.attribute(`${path}/uevent`, {
    show: () => {
      const driver = bindings.driverOf(name);
      return [
        ...(driver === null ? [] : [`DRIVER=${driver.name}`]),
        `PCI_CLASS=${upper(classOf(), 4)}`,
        `PCI_ID=${upper(word(r.PCI_VENDOR_ID), 4)}:${upper(word(r.PCI_DEVICE_ID), 4)}`,
        `PCI_SUBSYS_ID=${upper(word(r.PCI_SUBSYSTEM_VENDOR_ID), 4)}:${upper(word(r.PCI_SUBSYSTEM_ID), 4)}`,
        `PCI_SLOT_NAME=${name}`,
        `MODALIAS=${modalias()}`,
      ].join('\n');
    },
    store: () => {},
  });
}

function describeActions(tree: SysTree, device: SysFunction, actions: PciActions): void {
  const { path, name, model, built } = device;
  const { settings } = tree;
  const enabled = `${path}/enable`;
  tree.attribute(enabled, {
    show: () => (built.vfio.isOpen ? '1' : (settings.get(enabled) ?? '0')),
    store: (text) => {
      const on = parseNumber('enable', text) !== 0;
      const driver = actions.bindings.driverOf(name);
      if (driver !== null) refuse(rules.sysfs_enable_driver, { device: name, driver: driver.name });
      if (!on && settings.get(enabled) !== '1') refuse(rules.sysfs_enable_off, { device: name });
      settings.set(enabled, on ? '1' : '0');
    },
  });
  const methods = (): string => settings.get(`${path}/reset_method`) ?? 'flr';
  tree.setting(`${path}/reset_method`, 'flr', (text) =>
    parseChoice('reset_method', text, ['flr', 'default', '']).replace('default', 'flr'),
  );
  tree.attribute(`${path}/reset`, {
    store: (text) => {
      if (parseNumber('reset', text) !== 1) refuse(rules.sysfs_reset_value, { text });
      if (methods() === '') refuse(rules.sysfs_reset_none, { device: name });
      model.reset();
    },
  });
  tree.attribute(`${path}/remove`, {
    store: (text) => parseNumber('remove', text) !== 0 && actions.remove(device),
  });
  tree.attribute(`${path}/rescan`, { store: (text) => parseNumber('rescan', text) });
}

/** Of any alignment and length: as many accesses as it takes, the widest that fit. */
function configFile(config: ConfigSpace): {
  mode: number;
  size: number;
  read: () => Uint8Array;
  write: (bytes: Uint8Array, offset: number) => void;
} {
  return {
    mode: 0o644,
    size: config.size,
    read() {
      const bytes = new Uint8Array(config.size);
      const view = new DataView(bytes.buffer);
      for (let at = 0; at < config.size; at += 4) view.setUint32(at, config.read(at, 4), true);
      return bytes;
    },
    write(bytes, offset) {
      const end = Math.min(offset + bytes.length, config.size);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      for (let at = offset; at < end;) {
        const left = end - at;
        const width = (at & 1) !== 0 || left < 2 ? 1 : (at & 2) !== 0 || left < 4 ? 2 : 4;
        const from = at - offset;
        const value =
          width === 4
            ? view.getUint32(from, true)
            : width === 2
              ? view.getUint16(from, true)
              : view.getUint8(from);
        config.write(at, width, value);
        at += width;
      }
    },
  };
}

/** `0-3,8` as the kernel prints a mask of it. */
function cpuMask(list: string): string {
  let mask = 0n;
  for (const part of list.split(',')) {
    const [first = 0, last = first] = part.split('-').map(Number);
    for (let cpu = first; cpu <= last; cpu++) mask |= 1n << BigInt(cpu);
  }
  const digits = mask.toString(16);
  const whole = digits.padStart(Math.ceil(digits.length / 8) * 8, '0');
  const words = whole.match(/.{8}/g) ?? [];
  return words.length > 1 ? words.join(',') : digits;
}
