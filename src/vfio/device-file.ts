/**
 * An open device (struct vfio_device_file), opened by its own node or through its group. By its node, nothing but
 * BIND_IOMMUFD works until the device is bound to an iommufd; then the file holds that context open, and closing the
 * file unbinds. Either may be closed first. Through its group it works at once.
 */
import { refuse } from '../base/errno.js';
import type { Env } from '../iommufd/env.js';
import { UserMemory } from '../iommufd/user-memory.js';
import type { MmapRequest, OpenFile, SharedPages, Task } from '../mem/task.js';
import * as v from '../wire/uapi/vfio.gen.js';
import { attachPt, detachPt } from './attach.js';
import { bindIommufd, type Binding } from './bind.js';
import type { GroupUse, OpenDevice, VfioDevice } from './driver.js';
import { deviceFeature } from './feature.js';
import { getRegionInfo } from './region-info.js';
import { rules } from './rules.js';

export class VfioDeviceFile implements OpenFile, OpenDevice {
  readonly isEngineFile = true;
  onReadableChange: (() => void) | null = null;
  /** Of a file that its own node opened. */
  binding: Binding | null = null;
  #group: GroupUse | null = null;
  /** vfio_device_file.access_granted */
  #isGranted = false;
  #wasReadable = false;
  /** The position of the file, for read(2) and write(2) without one. */
  #position = 0n;

  constructor(
    readonly env: Env,
    readonly device: VfioDevice,
  ) {}

  /** vfio_df_group_open: for a file that VFIO_GROUP_GET_DEVICE_FD returns. */
  openByGroup(use: GroupUse): void {
    this.#group = use;
    this.device.open(
      this.env,
      () => use.begin(),
      () => use.end(),
    );
    this.#grant();
  }

  get isCdev(): boolean {
    return this.#group === null;
  }

  get name(): string {
    return this.isCdev ? this.device.path : '[vfio-device]';
  }

  /** A file of VFIO has no poll operation; records of ours can be waited for. */
  get pollMode(): 'none' | 'in' {
    return this.device.extension === null ? 'none' : 'in';
  }

  get readable(): boolean {
    return this.#isGranted && (this.device.extension?.readable ?? false);
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    const user = new UserMemory(this.env, task);
    const { device } = this;
    if (cmd === v.VFIO_DEVICE_BIND_IOMMUFD) {
      this.binding = bindIommufd(user, arg, this);
      this.#grant();
      return 0;
    }
    const { name } = device.device;
    if (!this.#isGranted) refuse(rules.vfio_not_bound, { device: name, cmd: BigInt(cmd >>> 0) });
    device.driver.wake?.();
    const { binding } = this;
    if (binding !== null) {
      if (cmd === v.VFIO_DEVICE_ATTACH_IOMMUFD_PT) return attachPt(user, arg, device, binding);
      if (cmd === v.VFIO_DEVICE_DETACH_IOMMUFD_PT) return detachPt(user, arg, device, binding);
    }
    if (cmd === v.VFIO_DEVICE_FEATURE) return deviceFeature(user, arg, device);
    if (cmd === v.VFIO_DEVICE_GET_REGION_INFO) return getRegionInfo(user, arg, device.driver);
    const result =
      device.driver.ioctl(cmd, arg, user, this) ?? device.extension?.ioctl(cmd, arg, user) ?? null;
    return result ?? refuse(rules.vfio_device_ioctl, { device: name, cmd: BigInt(cmd >>> 0) });
  }

  /** From now on the device can be used through this file. */
  #grant(): void {
    this.#isGranted = true;
    const { extension } = this.device;
    if (extension !== null) extension.onReadableChange = () => this.#changed();
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
    const { device, driver, extension } = this.device;
    if (!this.#isGranted) refuse(rules.vfio_read_not_bound, { device: device.name });
    if (offset === null && extension !== null) return extension.read(at, count, task);
    if (count === 0) return 0;
    const done = driver.read(offset ?? this.#position, at, count, new UserMemory(this.env, task));
    if (offset === null) this.#position += BigInt(done);
    return done;
  }

  write(at: bigint, count: number, task: Task): number {
    return this.writeAt(null, at, count, task);
  }

  writeAt(offset: bigint | null, at: bigint, count: number, task: Task): number {
    const { device, driver } = this.device;
    if (!this.#isGranted) refuse(rules.vfio_write_not_bound, { device: device.name });
    if (count === 0) return 0;
    const done = driver.write(offset ?? this.#position, at, count, new UserMemory(this.env, task));
    if (offset === null) this.#position += BigInt(done);
    return done;
  }

  mmap(request: MmapRequest): SharedPages {
    const { device, driver } = this.device;
    if (!this.#isGranted) refuse(rules.vfio_mmap_not_bound, { device: device.name });
    return driver.mmap(request);
  }

  release(): void {
    if (!this.#isGranted) return;
    this.#isGranted = false;
    const use = this.#group;
    if (use === null) return this.#unbind();
    this.device.close(() => use.end());
  }

  /** vfio_df_unbind_iommufd */
  #unbind(): void {
    const { device, binding } = this;
    this.binding = null;
    device.close(() => {
      device.bound = null;
      binding!.end();
    });
    device.isCdevOpen = false;
    device.group?.unblock();
  }
}
