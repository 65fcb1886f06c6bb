/**
 * An open device (struct vfio_device_file). Through `/dev/vfio/devices/vfioN` nothing but BIND_IOMMUFD works until the
 * device is bound to an iommufd; then the file holds that context open, and closing the file unbinds. Either may be
 * closed first. A file that a group gave out is open from the start.
 */
import { refuse } from '../base/errno.js';
import type { Env } from '../iommufd/env.js';
import { authorizeIoasid, deauthorizeIoasid } from '../ioasid/authorize.js';
import { UserMemory } from '../iommufd/user-memory.js';
import type { MmapRequest, OpenFile, SharedPages, Task } from '../mem/task.js';
import { AUTHORIZE_IOASID, DEAUTHORIZE_IOASID } from '../wire/uapi/ioasid.js';
import * as v from '../wire/uapi/vfio.gen.js';
import { attachPt, detachPt } from './attach.js';
import { bindIommufd, type Binding } from './bind.js';
import { extraAt, extraIrq, regionInfo } from './extra-regions.js';
import type { Access, OpenDevice, VfioDevice } from './driver.js';
import { deviceFeature } from './feature.js';
import type { VfioGroup } from './group.js';
import { getRegionInfo } from './region-info.js';
import { rules } from './rules.js';

export class VfioDeviceFile implements OpenFile, OpenDevice {
  readonly isEngineFile = true;
  onReadableChange: (() => void) | null = null;
  /** Made by this file. */
  binding: Binding | null = null;
  /** access_granted: the device is open through this file. */
  #isOpen = false;
  #wasReadable = false;
  /** The position of the file, for read(2) and write(2) without one. */
  #position = 0n;

  constructor(
    readonly env: Env,
    readonly device: VfioDevice,
    /** That gave it out; null: it is the device's own file. */
    readonly group: VfioGroup | null = null,
  ) {}

  get isCdev(): boolean {
    return this.group === null;
  }

  get name(): string {
    return this.isCdev ? this.device.path : '[vfio-device]';
  }

  /** A file of VFIO has no poll operation; records of ours can be waited for. */
  get pollMode(): 'none' | 'in' {
    return this.device.extension === null ? 'none' : 'in';
  }

  get readable(): boolean {
    return this.#isOpen && (this.device.extension?.readable ?? false);
  }

  /** `first` gives the device what it needs, if nobody has it open yet. */
  open(first: () => Access): void {
    const { device } = this;
    device.open(first);
    this.#isOpen = true;
    if (device.extension !== null) device.extension.onReadableChange = () => this.#changed();
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    const user = new UserMemory(this.env, task);
    const { device } = this;
    if (cmd === v.VFIO_DEVICE_BIND_IOMMUFD) {
      const binding = bindIommufd(user, arg, this);
      this.binding = binding;
      this.open(() => binding);
      return 0;
    }
    const { name } = device.device;
    if (!this.#isOpen) refuse(rules.vfio_not_bound, { device: name, cmd: BigInt(cmd >>> 0) });
    device.driver.wake?.();
    const { binding } = this;
    // Through a group these are numbers that the driver does not know.
    if (binding !== null) {
      if (cmd === v.VFIO_DEVICE_ATTACH_IOMMUFD_PT) return attachPt(user, arg, device, binding);
      if (cmd === v.VFIO_DEVICE_DETACH_IOMMUFD_PT) return detachPt(user, arg, device, binding);
      if (cmd === AUTHORIZE_IOASID) return authorizeIoasid(user, arg, binding);
      if (cmd === DEAUTHORIZE_IOASID) return deauthorizeIoasid(user, arg, binding);
    }
    if (cmd === v.VFIO_DEVICE_FEATURE) return deviceFeature(user, arg, device);
    if (cmd === v.VFIO_DEVICE_GET_REGION_INFO)
      return getRegionInfo(user, arg, (index) => regionInfo(device, index));
    const result =
      extraIrq(cmd, arg, user, device) ??
      device.driver.ioctl(cmd, arg, user, this) ??
      device.extension?.ioctl(cmd, arg, user);
    return result ?? refuse(rules.vfio_device_ioctl, { device: name, cmd: BigInt(cmd >>> 0) });
  }

  #changed(): void {
    if (this.readable === this.#wasReadable) return;
    this.#wasReadable = this.readable;
    this.onReadableChange?.();
  }

  read(at: bigint, count: number, task: Task): number {
    return this.readAt(null, at, count, task);
  }

  readAt(offset: bigint | null, at: bigint, count: number, task: Task): number {
    const { device } = this;
    const { extension } = device;
    if (!this.#isOpen) refuse(rules.vfio_read_not_bound, { device: device.device.name });
    if (offset === null && extension !== null) return extension.read(at, count, task);
    if (count === 0) return 0;
    const user = new UserMemory(this.env, task);
    const position = offset ?? this.#position;
    const [extra, within] = extraAt(device, position);
    const done = extra?.read(within, at, count, user) ?? device.driver.read(position, at, count, user);
    if (offset === null) this.#position += BigInt(done);
    return done;
  }

  write(at: bigint, count: number, task: Task): number {
    return this.writeAt(null, at, count, task);
  }

  writeAt(offset: bigint | null, at: bigint, count: number, task: Task): number {
    const { device } = this;
    if (!this.#isOpen) refuse(rules.vfio_write_not_bound, { device: device.device.name });
    if (count === 0) return 0;
    const user = new UserMemory(this.env, task);
    const position = offset ?? this.#position;
    const [extra, within] = extraAt(device, position);
    const done = extra?.write(within, at, count, user) ?? device.driver.write(position, at, count, user);
    if (offset === null) this.#position += BigInt(done);
    return done;
  }

  mmap(request: MmapRequest): SharedPages {
    const { device } = this;
    if (!this.#isOpen) refuse(rules.vfio_mmap_not_bound, { device: device.device.name });
    const [extra, within] = extraAt(device, request.offset);
    return extra?.mmap(within, request) ?? device.driver.mmap(request);
  }

  release(): void {
    const { device, group } = this;
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.binding = null;
    if (device.extension !== null) device.extension.onReadableChange = null;
    device.close();
    if (group === null) device.group?.unblock();
  }
}
