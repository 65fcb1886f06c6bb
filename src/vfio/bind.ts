/** VFIO_DEVICE_BIND_IOMMUFD (vfio_df_ioctl_bind_iommufd), and what a bound device holds until its file is closed. */
import { refuse } from '../base/errno.js';
import { IOMMU_NO_PASID } from '../hw/group.js';
import { Call } from '../iommufd/call.js';
import { Context } from '../iommufd/context.js';
import { Device } from '../iommufd/device.js';
import { finish } from '../iommufd/dispatch.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { Task } from '../mem/task.js';
import { VFIO_DEVICE_BIND_FLAG_TOKEN, vfio_device_bind_iommufd } from '../wire/uapi/vfio.gen.js';
import type { Access, VfioDevice } from './driver.js';
import type { VfioGroup } from './group.js';
import { UUID_BYTES } from './pci/token.js';
import { rules } from './rules.js';

const LEAST = vfio_device_bind_iommufd.endOf('out_devid');
const OUT_DEVID = BigInt(vfio_device_bind_iommufd.fields.out_devid.offset);

/** A device that is bound, and what of it is attached. */
export class Binding implements Access {
  /** The requester id is attached. */
  isAttached = false;
  /** PASIDs that are. */
  readonly pasids = new Set<number>();

  constructor(
    readonly context: Context,
    readonly bound: Device,
  ) {}

  /** vfio_iommufd_physical_detach_ioas */
  detach(): void {
    if (!this.isAttached) return;
    this.bound.detach(IOMMU_NO_PASID);
    this.isAttached = false;
  }

  /** vfio_iommufd_physical_pasid_detach_ioas */
  detachPasid(pasid: number): void {
    if (this.pasids.delete(pasid)) this.bound.detach(pasid);
  }

  /** vfio_iommufd_physical_unbind: PASIDs first, then the requester id, then the context may go. */
  end(): void {
    for (const pasid of this.pasids) this.detachPasid(pasid);
    this.detach();
    this.bound.unbind();
    this.context.put();
  }
}

/** What binding needs to know of a device file. */
interface BindingFile {
  readonly device: VfioDevice;
  /** Null: the file is the device's own. */
  readonly group: VfioGroup | null;
  readonly binding: Binding | null;
}

export function bindIommufd(user: UserMemory, arg: bigint, file: BindingFile): Binding {
  const { device, binding } = file;
  const argsz = user.copyU32(arg, rules.bind_size_unreadable);
  if (argsz < LEAST) refuse(rules.bind_size, { argsz, least: LEAST });
  const { flags, iommufd, token_uuid_ptr } = user.copyStructIn(vfio_device_bind_iommufd, arg, argsz);
  if (iommufd < 0) refuse(rules.bind_fd_negative, { iommufd });
  if ((flags & ~VFIO_DEVICE_BIND_FLAG_TOKEN) !== 0) refuse(rules.bind_flags, { flags });
  const { name } = device.device;
  if (file.group !== null) refuse(rules.bind_group_file, { device: name });
  device.group?.block(device);
  try {
    if (binding !== null) refuse(rules.bind_twice, { device: name });
    checkToken(user, flags, token_uuid_ptr, device);
    const context = contextOf(user.task, iommufd);
    if (device.isOpen) refuse(rules.bind_device_open, { device: name });
    return bindDevice(new Call(context, user.task, arg, argsz), device, arg + OUT_DEVID);
  } catch (error) {
    device.group?.unblock();
    throw error;
  }
}

/** Binds `device` to the context of `call`, and holds that open. `answerAt`: where the device's id goes, if anywhere. */
export function bindDevice(call: Call, device: VfioDevice, answerAt: bigint | null): Binding {
  const { context } = call;
  let made: Binding | null = null;
  finish(call, () => {
    const bound = Device.bindDevice(call, device.device);
    if (answerAt !== null) {
      const answer = new Uint8Array(new Uint32Array([bound.id]).buffer);
      call.copyOut(answerAt, answer, rules.bind_unwritable);
    }
    made = new Binding(context, bound);
    return 0;
  });
  context.get();
  return made!;
}

/** vfio_df_check_token */
function checkToken(user: UserMemory, flags: number, at: bigint, { driver, device }: VfioDevice): void {
  const isGiven = (flags & VFIO_DEVICE_BIND_FLAG_TOKEN) !== 0;
  if (driver.matchToken === undefined) {
    if (isGiven) refuse(rules.bind_token, { device: device.name });
    return;
  }
  driver.matchToken(isGiven ? user.copyIn(at, UUID_BYTES, rules.bind_token_unreadable) : null);
}

/** iommufd_ctx_from_fd */
function contextOf(task: Task, fd: number): Context {
  const file = task.fileOf(fd);
  if (file === null) refuse(rules.bind_fd, { fd });
  if (file instanceof Context) return file;
  if (!file.isEngineFile) file.release();
  refuse(rules.bind_fd_kind, { fd });
}
