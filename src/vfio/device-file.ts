/**
 * An open `/dev/vfio/devices/vfioN` (vfio_device_file): nothing but BIND_IOMMUFD works until the device is bound to an
 * iommufd; then the file holds that context open, and closing the file unbinds. Either may be closed first. A file that a
 * group gave out is open from the start.
 */
import { refuse } from '../base/errno.js';
import type { MmapRequest, OpenFile, SharedPages, Task } from '../mem/task.js';
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
  VFIO_DEVICE_GET_INFO,
} from '../wire/uapi/vfio.gen.js';
import type { Env } from '../iommufd/env.js';
import { UserMemory } from '../iommufd/user-memory.js';
import { attachPt, detachPt } from './attach.js';
import { bindIommufd, type Binding } from './bind.js';
import type { Access, VfioDevice } from './driver.js';
import type { VfioGroup } from './group.js';
import { getInfo } from './info.js';
import { rules } from './rules.js';

export class VfioDeviceFile implements OpenFile {
  readonly isEngineFile = true;
  readonly pollMode = 'in';
  onReadableChange: (() => void) | null = null;
  /** Made by this file. */
  binding: Binding | null = null;
  /** access_granted: the device is open through this file. */
  #isOpen = false;
  #wasReadable = false;

  constructor(
    readonly env: Env,
    readonly device: VfioDevice,
    /** That gave it out; null: it is the device's own file. */
    readonly group: VfioGroup | null = null,
  ) {}

  get name(): string {
    return this.group === null ? this.device.path : '[vfio-device]';
  }

  get readable(): boolean {
    return this.#isOpen && this.device.driver.readable;
  }

  /** `first` gives the device what it needs, if nobody has it open yet. */
  open(first: () => Access): void {
    const { device } = this;
    device.open(first);
    this.#isOpen = true;
    device.driver.onReadableChange = () => this.#changed();
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    const user = new UserMemory(this.env, task);
    const { device } = this;
    if (cmd === VFIO_DEVICE_BIND_IOMMUFD) {
      const binding = bindIommufd(user, arg, this);
      this.binding = binding;
      this.open(() => binding);
      return 0;
    }
    if (!this.#isOpen) {
      refuse(rules.vfio_not_bound, { device: device.device.name, cmd: BigInt(cmd >>> 0) });
    }
    const { binding } = this;
    // Through a group they are numbers that the driver does not know.
    if (binding !== null && cmd === VFIO_DEVICE_ATTACH_IOMMUFD_PT)
      return attachPt(user, arg, device, binding);
    if (binding !== null && cmd === VFIO_DEVICE_DETACH_IOMMUFD_PT)
      return detachPt(user, arg, device, binding);
    if (cmd === VFIO_DEVICE_GET_INFO) return getInfo(user, arg, device);
    const result = device.driver.ioctl(cmd, arg, user);
    if (result === null) {
      refuse(rules.vfio_device_ioctl, { device: device.device.name, cmd: BigInt(cmd >>> 0) });
    }
    return result;
  }

  #changed(): void {
    if (this.readable === this.#wasReadable) return;
    this.#wasReadable = this.readable;
    this.onReadableChange?.();
  }

  read(at: bigint, count: number, task: Task): number {
    const { device, driver } = this.device;
    if (!this.#isOpen) refuse(rules.vfio_read_not_bound, { device: device.name });
    return driver.read(at, count, task);
  }

  write(): number {
    const { name } = this.device.device;
    if (!this.#isOpen) refuse(rules.vfio_write_not_bound, { device: name });
    refuse(rules.vfio_write, { device: name });
  }

  mmap(_request: MmapRequest): SharedPages {
    const { name } = this.device.device;
    if (!this.#isOpen) refuse(rules.vfio_mmap_not_bound, { device: name });
    refuse(rules.vfio_mmap, { device: name });
  }

  release(): void {
    const { device, group } = this;
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.binding = null;
    device.driver.onReadableChange = null;
    device.close();
    if (group === null) device.group?.unblock();
  }
}
