/**
 * VFIO_DEVICE_GET_PCI_HOT_RESET_INFO and VFIO_DEVICE_PCI_HOT_RESET: a reset of everything behind a port, for which the
 * user has to have all of it. What stands on a root bus has no port above it that could reset it.
 */
import { refuse } from '../../base/errno.js';
import type { Context } from '../../iommufd/context.js';
import type { UserMemory } from '../../iommufd/user-memory.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import type { VfioDevice } from '../driver.js';
import type { VfioGroup } from '../group.js';
import { VfioGroupFile } from '../group-file.js';
import { rules } from './rules.js';

/** A function that is reset with others. */
export interface ResetMember {
  readonly segment: number;
  /** bus << 8 | device << 3 | function */
  readonly rid: number;
  readonly vfio: VfioDevice;
  /** The reset reaches it. */
  resetFunction(): void;
}

/** All functions below one port (vfio_device_set), in order. */
export type ResetSet = readonly ResetMember[];

const INFO_LEAST = v.vfio_pci_hot_reset_info.endOf('count');
const RESET_LEAST = v.vfio_pci_hot_reset.endOf('count');
const DEPENDENT = v.vfio_pci_dependent_device.size;
const DATA = BigInt(INFO_LEAST);
const NOT_OWNED = v.VFIO_PCI_DEVID_NOT_OWNED >>> 0;

/** vfio_iommufd_get_dev_id: 0 is owned without an id of its own, -1 not owned. */
function ownerId(device: VfioDevice, context: Context): number {
  const { bound } = device;
  if (bound !== null) return bound.context === context ? bound.id : -1;
  return device.device.group.isOwnedBy(context) ? v.VFIO_PCI_DEVID_OWNED : -1;
}

export function hotResetInfo(
  user: UserMemory,
  arg: bigint,
  set: ResetSet | null,
  context: Context | null,
): number {
  const bytes = user.copyIn(arg, INFO_LEAST, rules.hot_info_unreadable);
  const { argsz } = v.vfio_pci_hot_reset_info.decode(bytes);
  if (argsz < INFO_LEAST) refuse(rules.hot_info_size, { argsz, least: INFO_LEAST });
  if (set === null) refuse(rules.hot_info_root, {});
  const count = set.length;
  const isTooSmall = count > Math.floor((argsz - INFO_LEAST) / DEPENDENT);
  let flags = 0;
  if (!isTooSmall) {
    const { devices, areOwned } = describe(set, context);
    if (context !== null) flags |= v.VFIO_PCI_HOT_RESET_FLAG_DEV_ID;
    if (context !== null && areOwned) flags |= v.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
    user.copyOut(arg + DATA, devices, rules.hot_info_devices_unwritable);
  }
  v.vfio_pci_hot_reset_info.encode({ argsz, flags, count }, bytes);
  user.copyOut(arg, bytes, rules.hot_info_unwritable);
  if (isTooSmall) refuse(rules.hot_info_room, { count, argsz });
  return 0;
}

/** By iommufd's ids for a device that its own file opened, by numbers of groups for another. */
function describe(set: ResetSet, context: Context | null): { devices: Uint8Array; areOwned: boolean } {
  const devices = new Uint8Array(set.length * DEPENDENT);
  let areOwned = true;
  for (const [index, { segment, rid, vfio }] of set.entries()) {
    const id = context === null ? vfio.device.group.id : ownerId(vfio, context);
    if (id < 0) areOwned = false;
    const value = { group_id: 0, devid: id < 0 ? NOT_OWNED : id, segment, bus: rid >>> 8, devfn: rid & 0xff };
    // Both names are of the same four bytes.
    v.vfio_pci_dependent_device.encode({ ...value, group_id: value.devid }, devices, index * DEPENDENT);
  }
  return { devices, areOwned };
}

export function hotReset(
  user: UserMemory,
  arg: bigint,
  set: ResetSet | null,
  context: Context | null,
): number {
  const header = v.vfio_pci_hot_reset.decode(user.copyIn(arg, RESET_LEAST, rules.hot_reset_unreadable));
  const { argsz, flags, count } = header;
  if (argsz < RESET_LEAST) refuse(rules.hot_reset_size, { argsz, least: RESET_LEAST });
  if (flags !== 0) refuse(rules.hot_reset_flags, { flags });
  if ((count !== 0) === (context !== null)) refuse(rules.hot_reset_way, { count });
  if (set === null) refuse(rules.hot_reset_root, {});
  const groups = context === null ? groupsOf(user, arg, count, set) : [];
  for (const { vfio } of set) {
    const isOwned = context === null ? groups.includes(vfio.group) : ownerId(vfio, context) >= 0;
    if (!isOwned) refuse(rules.hot_reset_not_owned, { device: vfio.device.name });
  }
  for (const member of set) member.resetFunction();
  return 0;
}

/** vfio_pci_ioctl_pci_hot_reset_groups */
function groupsOf(user: UserMemory, arg: bigint, count: number, set: ResetSet): (VfioGroup | null)[] {
  if (count > set.length) refuse(rules.hot_reset_groups, { count, devices: set.length });
  const bytes = user.copyIn(arg + BigInt(RESET_LEAST), count * 4, rules.hot_reset_groups_unreadable);
  const view = new DataView(bytes.buffer);
  return Array.from({ length: count }, (_, index) => groupOf(user, view.getInt32(4 * index, true)));
}

function groupOf(user: UserMemory, fd: number): VfioGroup {
  const file = user.task.fileOf(fd);
  if (file === null) refuse(rules.hot_reset_group_fd, { fd });
  if (!file.isEngineFile) file.release();
  else if (file instanceof VfioGroupFile) return file.group;
  refuse(rules.hot_reset_group_kind, { fd });
}
