/** Which of the kernel's drivers has a device, and what those of several devices share: a bus that is reset as a whole, a token. */
import type { PciModel } from '../bus/model.js';
import { parsePciName } from '../bus/pci.js';
import type { VfioDevice, VfioDriver } from '../vfio/driver.js';
import { VfioPciDriver } from '../vfio/pci/driver.js';
import type { ResetMember } from '../vfio/pci/hot-reset.js';
import { VfToken, type TokenRole } from '../vfio/pci/token.js';
import { VfioPlatformDriver } from '../vfio/platform/driver.js';
import type { Made } from './models.js';
import type { DevicePlan } from './plan.js';

const UUID_BYTES = 16;

const RID_BUS = 8;

export class VfioDrivers {
  /** Functions of a bus that is not a root bus, by segment and number. */
  readonly #buses = new Map<string, ResetMember[]>();
  /** Of physical functions that have virtual ones, by name. */
  readonly #tokens = new Map<string, VfToken>();

  /** So many bytes that nobody can guess. */
  readonly #random: (length: number) => Uint8Array;

  constructor(random: (length: number) => Uint8Array) {
    this.#random = random;
  }

  /** `physical`: the name of the function that a virtual one belongs to. */
  make(plan: DevicePlan, { model }: Made, physical: string | null): VfioDriver {
    if (plan.bus.type !== 'pci') return new VfioPlatformDriver(model);
    return new VfioPciDriver(model as PciModel, { role: this.#roleOf(plan, physical) });
  }

  #roleOf({ name, virtualFunction, virtualFunctions }: DevicePlan, physical: string | null): TokenRole {
    if (virtualFunction) return { kind: 'virtual', physical: this.#tokens.get(physical ?? '') ?? null };
    if (virtualFunctions === null) return { kind: 'none' };
    const own = new VfToken(this.#random(UUID_BYTES));
    this.#tokens.set(name, own);
    return { kind: 'physical', own };
  }

  /** The device stands on its bus. */
  add({ name, bus }: DevicePlan, vfio: VfioDevice): void {
    const { driver } = vfio;
    if (bus.type !== 'pci' || !(driver instanceof VfioPciDriver)) return;
    const { rid } = parsePciName(name)!;
    // What is above bus 0 are root ports, which reset what is below them.
    if (rid >>> RID_BUS === 0) return;
    const key = `${bus.segment}:${rid >>> RID_BUS}`;
    let members = this.#buses.get(key);
    if (members === undefined) this.#buses.set(key, (members = []));
    members.push({ segment: bus.segment, rid, vfio, resetFunction: () => driver.resetFunction() });
    driver.resetSet = members;
  }

  remove(vfio: VfioDevice): void {
    for (const members of this.#buses.values()) {
      const at = members.findIndex((member) => member.vfio === vfio);
      if (at >= 0) members.splice(at, 1);
    }
  }
}
