/**
 * An IOMMU group as VFIO sees it (struct vfio_group): its devices, who has it open, and what it is in: a container, or
 * an iommufd that stands in for one. Invariants: it is open once or its devices are, through files of their own, never
 * both; a device that it gave out keeps it open, and in its container.
 */
import { invariant, refuse } from '../base/errno.js';
import type { IommuGroup } from '../hw/group.js';
import type { Context } from '../iommufd/context.js';
import type { Container } from './container.js';
import type { VfioDevice } from './driver.js';
import { rules } from './group-rules.js';

export class VfioGroup {
  /** The newest first, as they are looked through. */
  readonly devices: VfioDevice[] = [];
  container: Container | null = null;
  /** In place of a container. */
  iommufd: Context | null = null;
  /** Its file, and each device that is open by way of it; 0: closed. */
  #holders = 0;
  /** Devices that are bound through files of their own. */
  #bound = 0;

  constructor(readonly iommu: IommuGroup) {}

  get number(): number {
    return this.iommu.id;
  }

  get hasIommu(): boolean {
    return this.container !== null || this.iommufd !== null;
  }

  /** Devices that it gave out use its container. */
  get usesContainer(): boolean {
    return this.container !== null && this.#holders > 1;
  }

  /** It, or a device of it, is in somebody's hands. */
  get isOpen(): boolean {
    return this.#holders > 0 || this.#bound > 0;
  }

  /** The device has got a driver of VFIO's. */
  register(device: VfioDevice): void {
    this.devices.unshift(device);
    device.group = this;
  }

  /** vfio_device_remove_group: without a device there is no group, and so nothing to have in a container. */
  unregister(device: VfioDevice): void {
    const index = this.devices.indexOf(device);
    if (index < 0) return;
    this.devices.splice(index, 1);
    device.group = null;
    if (this.devices.length === 0) this.leave();
  }

  /** vfio_group_fops_open */
  open(): void {
    const group = this.number;
    if (this.devices.length === 0) refuse(rules.group_no_device, { group });
    if (this.#bound > 0) refuse(rules.group_cdev_open, { group, devices: this.#bound });
    if (this.#holders > 0) refuse(rules.group_open, { group });
    this.#holders = 1;
  }

  hold(): void {
    this.#holders += 1;
  }

  /** The last who holds it open lets go of the container, too (vfio_group_fops_release). */
  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.leave();
  }

  /** Out of the container, or away from the iommufd. */
  leave(): void {
    invariant(!this.usesContainer, 'a group leaves its container while devices use it');
    this.container?.remove(this);
    this.iommufd?.put();
    this.iommufd = null;
  }

  /** vfio_device_block_group: `device` is about to be bound through a file of its own. */
  block(device: VfioDevice): void {
    if (this.#holders > 0) refuse(rules.group_bind, { group: this.number, device: device.device.name });
    this.#bound += 1;
  }

  unblock(): void {
    this.#bound -= 1;
  }
}
