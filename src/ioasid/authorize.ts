/**
 * The device file's only say in the matter: which PASID of the device, or the device as a whole, may use which ioasid.
 * Everything else about a page table is between the program and /dev/ioasid.
 */
import { refuse } from '../base/errno.js';
import { IOMMU_NO_PASID } from '../hw/group.js';
import { Call } from '../iommufd/call.js';
import type { Device } from '../iommufd/device.js';
import { finish } from '../iommufd/dispatch.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import { authorize_ioasid, IOASID_PASID } from '../wire/uapi/ioasid.js';
import { IoasidFile } from './ioctls.js';
import type { Ioasid } from './ioasid.js';
import { rules } from './rules.js';

/** A bound device and what of it is attached; VFIO's `Binding` is one. */
export interface AuthorizingDevice {
  readonly context: object;
  readonly bound: Device;
  isAttached: boolean;
  readonly pasids: Set<number>;
  detach(): void;
  detachPasid(pasid: number): void;
}

interface Request {
  readonly call: Call;
  readonly found: Ioasid;
  readonly pasid: number;
}

export function authorizeIoasid(user: UserMemory, arg: bigint, device: AuthorizingDevice): number {
  const { call, found, pasid } = read(user, arg, device);
  const { bound } = device;
  const { name } = bound.device;
  if (holds(device, pasid)) refuse(rules.ioasid_authorize_busy, { device: name, pasid });
  finish(call, () => {
    found.attach(call, bound, pasid);
    return 0;
  });
  if (pasid === IOMMU_NO_PASID) device.isAttached = true;
  else device.pasids.add(pasid);
  return 0;
}

export function deauthorizeIoasid(user: UserMemory, arg: bigint, device: AuthorizingDevice): number {
  const { found, pasid } = read(user, arg, device);
  const { bound } = device;
  const hwpt = bound.group.attachments.get(pasid)?.hwpt;
  const isIts = holds(device, pasid) && hwpt !== undefined && found.isShownBy(hwpt);
  if (!isIts) refuse(rules.ioasid_deauthorize_other, { device: bound.device.name, ioasid: found.id, pasid });
  if (pasid === IOMMU_NO_PASID) device.detach();
  else device.detachPasid(pasid);
  return 0;
}

/** Of this device: what its group has attached may be another's of the group. */
const holds = ({ isAttached, pasids }: AuthorizingDevice, pasid: number): boolean =>
  pasid === IOMMU_NO_PASID ? isAttached : pasids.has(pasid);

function read(user: UserMemory, arg: bigint, { context, bound }: AuthorizingDevice): Request {
  const { name, maxPasids } = bound.device;
  const cmd = authorize_ioasid.decode(
    user.copyIn(arg, authorize_ioasid.size, rules.ioasid_authorize_unreadable),
  );
  const { argsz, flags, ioasid, pasid } = cmd;
  if (argsz < authorize_ioasid.size)
    refuse(rules.ioasid_authorize_size, { argsz, least: authorize_ioasid.size });
  if ((flags & ~IOASID_PASID) !== 0) refuse(rules.ioasid_authorize_flags, { flags });
  if (!(context instanceof IoasidFile)) refuse(rules.ioasid_authorize_file, { device: name });
  const hasPasid = (flags & IOASID_PASID) !== 0;
  if (!hasPasid && pasid !== 0) refuse(rules.ioasid_authorize_needless_pasid, { pasid });
  if (hasPasid && (pasid === 0 || pasid >= maxPasids))
    refuse(rules.ioasid_authorize_pasid, { pasid, limit: maxPasids, device: name });
  const call = new Call(context, user.task, arg, argsz);
  const found = context.objects.peek(ioasid);
  if (found === undefined || found.type !== 'IOASID') {
    refuse(rules.ioasid_authorize_ioasid, { id: ioasid, device: name });
  }
  return { call, found: found as Ioasid, pasid: hasPasid ? pasid : IOMMU_NO_PASID };
}
