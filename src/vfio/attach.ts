/**
 * VFIO_DEVICE_ATTACH_IOMMUFD_PT and VFIO_DEVICE_DETACH_IOMMUFD_PT (vfio_df_ioctl_attach_pt, vfio_df_ioctl_detach_pt):
 * of the requester id or of a PASID. To attach what is attached is to replace.
 */
import { refuse } from '../base/errno.js';
import { IOMMU_NO_PASID } from '../hw/group.js';
import { Call } from '../iommufd/call.js';
import { finish } from '../iommufd/dispatch.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import {
  VFIO_DEVICE_ATTACH_PASID,
  VFIO_DEVICE_DETACH_PASID,
  vfio_device_attach_iommufd_pt,
  vfio_device_detach_iommufd_pt,
} from '../wire/uapi/vfio.gen.js';
import type { Binding } from './bind.js';
import type { VfioDevice } from './driver.js';
import { rules } from './rules.js';

const ATTACH_LEAST = vfio_device_attach_iommufd_pt.endOf('pt_id');
const PT_ID = BigInt(vfio_device_attach_iommufd_pt.fields.pt_id.offset);
const DETACH_LEAST = vfio_device_detach_iommufd_pt.endOf('flags');
// The PASID follows what every version of the structs has.
const INT_MAX = 0x7fffffff;

export function attachPt(user: UserMemory, arg: bigint, device: VfioDevice, binding: Binding): number {
  const struct = vfio_device_attach_iommufd_pt;
  const { argsz, flags, pt_id } = user.copyHead(struct, arg, ATTACH_LEAST, rules.attach_unreadable);
  if (argsz < ATTACH_LEAST) refuse(rules.attach_size, { argsz, least: ATTACH_LEAST });
  if ((flags & ~VFIO_DEVICE_ATTACH_PASID) !== 0) refuse(rules.attach_flags, { flags });
  let pasid: number | null = null;
  if ((flags & VFIO_DEVICE_ATTACH_PASID) !== 0) {
    if (!device.attachesPasids) refuse(rules.attach_no_pasid, { device: device.device.name });
    if (argsz < struct.size) refuse(rules.attach_pasid_size, { argsz, least: struct.size });
    pasid = user.copyU32(arg + BigInt(ATTACH_LEAST), rules.attach_pasid_unreadable);
  }
  const call = new Call(binding.context, user.task, arg, argsz);
  const id = pasid === null ? attachRid(call, binding, pt_id) : attachPasid(call, binding, pasid, pt_id);
  const answer = new Uint8Array(new Uint32Array([id]).buffer);
  try {
    user.copyOut(arg + PT_ID, answer, rules.attach_unwritable);
  } catch (error) {
    // Whatever was attached: Linux takes back the requester id.
    binding.detach();
    throw error;
  }
  return 0;
}

/** vfio_iommufd_physical_attach_ioas */
function attachRid(call: Call, binding: Binding, ptId: number): number {
  const { bound } = binding;
  const id = finish(call, () =>
    binding.isAttached ? bound.replace(call, IOMMU_NO_PASID, ptId) : bound.attach(call, IOMMU_NO_PASID, ptId),
  );
  binding.isAttached = true;
  return id;
}

/** vfio_iommufd_physical_pasid_attach_ioas. PASID 0 is not refused, and is the requester id to iommufd. */
function attachPasid(call: Call, binding: Binding, pasid: number, ptId: number): number {
  const { bound, pasids } = binding;
  if (pasids.has(pasid)) return finish(call, () => bound.replace(call, pasid, ptId));
  if (pasid > INT_MAX) refuse(rules.attach_pasid_range, { pasid });
  const id = finish(call, () => bound.attach(call, pasid, ptId));
  pasids.add(pasid);
  return id;
}

export function detachPt(user: UserMemory, arg: bigint, device: VfioDevice, binding: Binding): number {
  const struct = vfio_device_detach_iommufd_pt;
  const { argsz, flags } = user.copyHead(struct, arg, DETACH_LEAST, rules.detach_unreadable);
  if (argsz < DETACH_LEAST) refuse(rules.detach_size, { argsz, least: DETACH_LEAST });
  if ((flags & ~VFIO_DEVICE_DETACH_PASID) !== 0) refuse(rules.detach_flags, { flags });
  if ((flags & VFIO_DEVICE_DETACH_PASID) === 0) {
    binding.detach();
    return 0;
  }
  if (!device.attachesPasids) refuse(rules.detach_no_pasid, { device: device.device.name });
  if (argsz < struct.size) refuse(rules.detach_pasid_size, { argsz, least: struct.size });
  binding.detachPasid(user.copyU32(arg + BigInt(DETACH_LEAST), rules.detach_pasid_unreadable));
  return 0;
}
