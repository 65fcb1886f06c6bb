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
  takes(device: string): boolean;
}

/** What is to be known of a device before it can leave its driver, and after that. */
export interface Bound {
  readonly name: string;
  readonly bus: 'pci' | 'platform';
  /** A program has it open through VFIO. */
  readonly isOpen: boolean;
}

export const VFIO_DRIVERS = { pci: 'vfio-pci', platform: 'vfio-platform' } as const;

export class Bindings {
  readonly drivers: readonly Driver[];
  #devices: ReadonlyMap<string, Bound> = new Map();
  readonly #drivers = new Map<string, Driver>();
  readonly #overrides = new Map<string, string>();

  constructor(drivers: readonly Driver[]) {
    this.drivers = drivers;
  }

  /** These are the devices now. A new one goes to VFIO: so do virtual functions of a function that VFIO has. */
  set devices(devices: ReadonlyMap<string, Bound>) {
    for (const { name, bus } of devices.values()) {
      if (this.#devices.has(name)) continue;
      this.#drivers.set(
        name,
        this.drivers.find((driver) => driver.name === VFIO_DRIVERS[bus])!,
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

  hasVfio(device: Pick<Bound, 'name' | 'bus'>): boolean {
    return this.driverOf(device.name)?.name === VFIO_DRIVERS[device.bus];
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
    if (device.isOpen) refuse(rules.sysfs_unbind_open, { device: name });
    this.#drivers.delete(name);
  }

  bind(driver: Driver, name: string): void {
    const device = this.#devices.get(name);
    if (device === undefined || !this.#matches(driver, device)) {
      refuse(rules.sysfs_bind_match, { device: name, driver: driver.name });
    }
    const current = this.driverOf(name);
    if (current !== null) refuse(rules.sysfs_bind_bound, { device: name, driver: current.name });
    this.#drivers.set(name, driver);
  }

  /** Looks for a driver of a device that has none. */
  probe(name: string): void {
    const device = this.#devices.get(name);
    if (device === undefined) refuse(rules.sysfs_probe, { device: name });
    if (this.driverOf(name) !== null) return;
    const driver = this.drivers.find((candidate) => this.#matches(candidate, device));
    if (driver !== undefined) this.#drivers.set(name, driver);
  }

  #matches(driver: Driver, { name, bus }: Bound): boolean {
    if (driver.bus !== bus) return false;
    const override = this.overrideOf(name);
    return override === null ? driver.takes(name) : override === driver.name;
  }
}
