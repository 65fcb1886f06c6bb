/**
 * An open `/dev/vfio/devices/vfioN` (vfio_device_file): nothing but BIND_IOMMUFD works until the device is bound to an
 * iommufd; then the file holds that context open, and closing the file unbinds. Either may be closed first.
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
import { authorizeIoasid, deauthorizeIoasid } from '../ioasid/authorize.js';
import { AUTHORIZE_IOASID, DEAUTHORIZE_IOASID } from '../wire/uapi/ioasid.js';
import { UserMemory } from '../iommufd/user-memory.js';
import { attachPt, detachPt } from './attach.js';
import { bindIommufd, type Binding } from './bind.js';
import type { VfioDevice } from './driver.js';
import { getInfo } from './info.js';
import { rules } from './rules.js';

export class VfioDeviceFile implements OpenFile {
  readonly isEngineFile = true;
  readonly pollMode = 'in';
  onReadableChange: (() => void) | null = null;
  binding: Binding | null = null;
  #wasReadable = false;

  constructor(
    readonly env: Env,
    readonly device: VfioDevice,
  ) {}

  get name(): string {
    return this.device.path;
  }

  get readable(): boolean {
    return this.binding !== null && this.device.driver.readable;
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    const user = new UserMemory(this.env, task);
    const { device } = this;
    if (cmd === VFIO_DEVICE_BIND_IOMMUFD) {
      this.binding = bindIommufd(user, arg, this);
      device.driver.onReadableChange = () => this.#changed();
      return 0;
    }
    const { binding } = this;
    if (binding === null) {
      refuse(rules.vfio_not_bound, { device: device.device.name, cmd: BigInt(cmd >>> 0) });
    }
    switch (cmd) {
      case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
        return attachPt(user, arg, device, binding);
      case VFIO_DEVICE_DETACH_IOMMUFD_PT:
        return detachPt(user, arg, device, binding);
      case VFIO_DEVICE_GET_INFO:
        return getInfo(user, arg, device);
      case AUTHORIZE_IOASID:
        return authorizeIoasid(user, arg, binding);
      case DEAUTHORIZE_IOASID:
        return deauthorizeIoasid(user, arg, binding);
    }
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
    if (this.binding === null) refuse(rules.vfio_read_not_bound, { device: device.name });
    return driver.read(at, count, task);
  }

  write(): number {
    const { name } = this.device.device;
    if (this.binding === null) refuse(rules.vfio_write_not_bound, { device: name });
    refuse(rules.vfio_write, { device: name });
  }

  mmap(_request: MmapRequest): SharedPages {
    const { name } = this.device.device;
    if (this.binding === null) refuse(rules.vfio_mmap_not_bound, { device: name });
    refuse(rules.vfio_mmap, { device: name });
  }

  release(): void {
    const { binding, device } = this;
    if (binding === null) return;
    this.binding = null;
    device.driver.onReadableChange = null;
    device.driver.close();
    binding.end();
    device.isOpen = false;
  }
}
