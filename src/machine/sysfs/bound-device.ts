/** A device and its group as drivers get and lose it: VFIO's group knows those that VFIO has; one of the kernel's claims. */
import { refuse } from '../../base/errno.js';
import type { PciModel } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import type { VfioGroup } from '../../vfio/group.js';
import type { BuiltDevice } from '../build.js';
import { isVfio, type Bound, type Driver } from './bindings.js';
import { rules } from './rules.js';

/** The owner of groups with a device that the kernel itself uses. */
const kernel = {};

export class BoundDevice implements Bound {
  readonly name: string;
  readonly bus: 'pci' | 'platform';
  readonly id: string;
  readonly classCode: number;
  readonly #device: BuiltDevice;
  /** Null: VFIO takes no such device. */
  readonly #group: VfioGroup | null;

  constructor(device: BuiltDevice) {
    const { plan, model, vfio } = device;
    this.name = plan.name;
    this.bus = plan.bus.type;
    this.#device = device;
    this.#group = vfio.group;
    const config = 'config' in model ? (model as PciModel).config : null;
    const word = (offset: number): string => (config?.read(offset, 2) ?? 0).toString(16).padStart(4, '0');
    this.id = config === null ? '' : `${word(r.PCI_VENDOR_ID)}:${word(r.PCI_DEVICE_ID)}`;
    this.classCode = (config?.read(r.PCI_CLASS_REVISION, 4) ?? 0) >>> 8;
  }

  askBack(): boolean {
    return this.#device.vfio.askBack();
  }

  join(driver: Driver): void {
    const { vfio, iommu } = this.#device;
    if (isVfio(driver)) return this.#group?.register(vfio);
    const { group } = iommu;
    if (group.isOwned && !group.isOwnedBy(kernel)) {
      refuse(rules.sysfs_bind_group, { group: group.id, device: this.name, driver: driver.name });
    }
    group.claimDmaOwner(kernel);
  }

  leave(driver: Driver): void {
    const { vfio, iommu } = this.#device;
    if (isVfio(driver)) return this.#group?.unregister(vfio);
    iommu.group.releaseDmaOwner();
  }
}
