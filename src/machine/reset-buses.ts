/** Which functions are reset together: those of a bus below a root port. What stands on bus 0 stands alone. */
import { parsePciName } from '../bus/pci.js';
import type { VfioDevice } from '../vfio/driver.js';
import { VfioPciDriver } from '../vfio/pci/driver.js';
import type { ResetMember } from '../vfio/pci/hot-reset.js';
import type { DevicePlan } from './plan.js';

const RID_BUS = 8;

export class ResetBuses {
  /** By segment and number. */
  readonly #buses = new Map<string, ResetMember[]>();

  add({ name, bus }: DevicePlan, vfio: VfioDevice): void {
    const { driver } = vfio;
    if (bus.type !== 'pci' || !(driver instanceof VfioPciDriver)) return;
    const { rid } = parsePciName(name)!;
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
