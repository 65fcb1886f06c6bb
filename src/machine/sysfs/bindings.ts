/**
 * Which driver has which device (drivers/base/bus.c, dd.c). A machine's PCI devices belong to vfio-pci from the start, as
 * if it had been loaded with their ids, and its platform devices to vfio-platform.
 */
import { refuse } from '../../base/errno.js';
import { rules } from './rules.js';

export interface Driver {
  readonly name: string;
  readonly bus: 'pci' | 'platform';
  readonly module: string;
  /** Whether it takes a device that names no driver. */
  takes(device: Bound): boolean;
}

/** What is to be known of a device before it can leave its driver, and after that. */
export interface Bound {
  readonly name: string;
  readonly bus: 'pci' | 'platform';
  /** What drivers know it by. PCI: `vendor:device`, hexadecimal. */
  readonly id: string;
  /** PCI: class, subclass and programming interface. */
  readonly classCode: number;
  /** True: a program has it open through VFIO, and is told that it is wanted back. */
  askBack(): boolean;
  /** A driver gets it. Throws an Errno when it cannot. */
  join(driver: Driver): void;
  leave(driver: Driver): void;
}

const NVME = 0x01_08_02;
const IOATDMA = new Set(['8086:0e20', '8086:2f20', '8086:6f20', '8086:2021', '8086:0b00']);

/** The first that takes a device is its driver. Those of the kernel itself do nothing with it but keep it from VFIO. */
export const KNOWN_DRIVERS: readonly Driver[] = [
  { name: 'vfio-pci', bus: 'pci', module: 'vfio_pci', takes: () => true },
  { name: 'vfio-platform', bus: 'platform', module: 'vfio_platform', takes: () => true },
  { name: 'nvme', bus: 'pci', module: 'nvme', takes: ({ classCode }) => classCode === NVME },
  { name: 'ioatdma', bus: 'pci', module: 'ioatdma', takes: ({ id }) => IOATDMA.has(id) },
];

const VFIO_DRIVERS = { pci: 'vfio-pci', platform: 'vfio-platform' } as const;

export const isVfio = ({ name, bus }: Driver): boolean => name === VFIO_DRIVERS[bus];

export class Bindings {
  readonly drivers: readonly Driver[];
  #devices: ReadonlyMap<string, Bound> = new Map();
  readonly #drivers = new Map<string, Driver>();
  readonly #overrides = new Map<string, string>();
  /** By driver, what it was told to take: `vendor:device`. */
  readonly #ids = new Map<string, Set<string>>();

  constructor(drivers: readonly Driver[]) {
    this.drivers = drivers;
  }

  /** These are the devices now. A new one goes to VFIO: so do virtual functions of a function that VFIO has. */
  set devices(devices: ReadonlyMap<string, Bound>) {
    for (const { name, bus } of devices.values()) {
      if (this.#devices.has(name)) continue;
      this.#drivers.set(
        name,
        this.drivers.find((driver) => driver.bus === bus && isVfio(driver))!,
      );
    }
    for (const name of this.#devices.keys()) {
      if (devices.has(name)) continue;
      this.#drivers.delete(name);
      this.#overrides.delete(name);
    }
    this.#devices = devices;
  }

  driverOf(device: string): Driver | null {
    return this.#drivers.get(device) ?? null;
  }

  hasVfio(device: string): boolean {
    const driver = this.driverOf(device);
    return driver !== null && isVfio(driver);
  }

  overrideOf(device: string): string | null {
    return this.#overrides.get(device) ?? null;
  }

  /** The empty text takes the override away. */
  override(device: string, driver: string): void {
    if (driver === '') this.#overrides.delete(device);
    else this.#overrides.set(device, driver);
  }

  unbind(driver: Driver, name: string): void {
    const device = this.#devices.get(name);
    if (device === undefined || this.driverOf(name) !== driver) {
      refuse(rules.sysfs_unbind, { device: name, driver: driver.name });
    }
    if (device.askBack()) refuse(rules.sysfs_unbind_open, { device: name });
    device.leave(driver);
    this.#drivers.delete(name);
  }

  bind(driver: Driver, name: string): void {
    const device = this.#devices.get(name);
    if (device === undefined || !this.#matches(driver, device)) {
      refuse(rules.sysfs_bind_match, { device: name, driver: driver.name });
    }
    const current = this.driverOf(name);
    if (current !== null) refuse(rules.sysfs_bind_bound, { device: name, driver: current.name });
    this.#join(driver, device);
  }

  /** Looks for a driver of a device that has none. */
  probe(name: string): void {
    const device = this.#devices.get(name);
    if (device === undefined) refuse(rules.sysfs_probe, { device: name });
    if (this.driverOf(name) !== null) return;
    const driver = this.drivers.find((candidate) => this.#matches(candidate, device));
    if (driver !== undefined) this.#join(driver, device);
  }

  #join(driver: Driver, device: Bound): void {
    device.join(driver);
    this.#drivers.set(device.name, driver);
  }

  /** `new_id`: the driver takes devices of this vendor and kind too. */
  addId(driver: Driver, text: string): void {
    const { vendor, device } = parseIds('new_id', text);
    const ids = this.#idsOf(driver);
    if (ids.has(`${vendor}:${device}`))
      refuse(rules.sysfs_id_exists, { driver: driver.name, vendor, device });
    ids.add(`${vendor}:${device}`);
    for (const name of this.#devices.keys()) this.probe(name);
  }

  removeId(driver: Driver, text: string): void {
    const { vendor, device } = parseIds('remove_id', text);
    if (!this.#idsOf(driver).delete(`${vendor}:${device}`)) {
      refuse(rules.sysfs_id_none, { driver: driver.name, vendor, device });
    }
  }

  #idsOf({ name }: Driver): Set<string> {
    let ids = this.#ids.get(name);
    if (ids === undefined) this.#ids.set(name, (ids = new Set()));
    return ids;
  }

  #matches(driver: Driver, device: Bound): boolean {
    const { name, bus, id } = device;
    if (driver.bus !== bus) return false;
    const override = this.overrideOf(name);
    if (override !== null) return override === driver.name;
    return driver.takes(device) || this.#idsOf(driver).has(id);
  }
}

/** The first two numbers of what is written to new_id and remove_id. */
function parseIds(file: string, text: string): { vendor: string; device: string } {
  const [, vendor, device] = /^\s*(?:0x)?([0-9a-f]{1,8})\s+(?:0x)?([0-9a-f]{1,8})(?:\s|$)/i.exec(text) ?? [];
  if (vendor === undefined || device === undefined) refuse(rules.sysfs_id, { file, text });
  return { vendor: plain(vendor), device: plain(device) };
}

const plain = (digits: string): string => parseInt(digits, 16).toString(16).padStart(4, '0');
