/**
 * Page tables that belong to somebody else: a process (SVA), a virtual machine (the memory slots of its file), or a
 * program that keeps one at addresses of its own. What is missing in the first two is asked of the process whose memory
 * it is, and nobody else; the third has a unit's format, and nobody is asked.
 */
import { refuse } from '../base/errno.js';
import { respondGroup, type PageFaultGroup } from '../hw/iopf.js';
import { PageResponseCode, type UserData } from '../hw/unit.js';
import { LiveSpace, type LivePages } from '../mem/live-space.js';
import type { OwnedSpace } from '../mem/providers.js';
import {
  IOASIS_HWPT_DATA_KVM,
  IOASIS_HWPT_DATA_SVA,
  IOASIS_HWPT_DATA_USER_PAGE_TABLE,
  ioasis_hwpt_kvm,
  ioasis_hwpt_sva,
  ioasis_hwpt_user_page_table,
} from '../wire/uapi/ioasis.js';
import type { Call } from './call.js';
import type { Device } from './device.js';
import { HwptOwned } from './hwpt.js';
import { rules } from './owned-rules.js';

export const isOwnedType = (type: number): boolean =>
  type === IOASIS_HWPT_DATA_SVA || type === IOASIS_HWPT_DATA_KVM || type === IOASIS_HWPT_DATA_USER_PAGE_TABLE;

/** IOMMU_HWPT_ALLOC with a type of {@link isOwnedType}. */
export function allocOwned(call: Call, device: Device, data: UserData, hasFaultQueue: boolean): HwptOwned {
  if (data.type === IOASIS_HWPT_DATA_SVA) {
    checkOwner(hasFaultQueue);
    const { pidfd, __reserved } = data.read(ioasis_hwpt_sva, IOASIS_HWPT_DATA_SVA, '__reserved');
    checkReserved(__reserved);
    return allocSva(call, device, pidfd);
  }
  if (data.type === IOASIS_HWPT_DATA_KVM) {
    checkOwner(hasFaultQueue);
    const { kvm_fd, __reserved } = data.read(ioasis_hwpt_kvm, IOASIS_HWPT_DATA_KVM, '__reserved');
    checkReserved(__reserved);
    return allocKvm(call, device, kvm_fd);
  }
  const type = IOASIS_HWPT_DATA_USER_PAGE_TABLE;
  const { format, data_len, data_uptr } = data.read(ioasis_hwpt_user_page_table, type, 'data_uptr');
  return allocUserTable(call, device, call.userData(format, data_uptr, data_len));
}

function checkOwner(hasFaultQueue: boolean): void {
  if (hasFaultQueue) refuse(rules.owned_fault, {});
}

function checkReserved(__reserved: number): void {
  if (__reserved !== 0) refuse(rules.owned_reserved, { __reserved });
}

/** The address space of the process that `pidfd` names; -1: the caller's. */
export function allocSva(call: Call, device: Device, pidfd: number): HwptOwned {
  return allocLive(call, device, () => processPages(call, pidfd));
}

/** The guest-physical addresses of the virtual machine whose file descriptor `fd` is. */
export function allocKvm(call: Call, device: Device, fd: number): HwptOwned {
  return allocLive(call, device, () => machinePages(call, fd));
}

/** Pages that are asked for one by one, whoever owns them. */
export function allocLive(call: Call, device: Device, pagesOf: () => LivePages): HwptOwned {
  const { unit } = device.device;
  if (unit.allocProvided === undefined) refuse(rules.owned_unit, { unit: unit.name });
  const space = liveSpace(call, pagesOf());
  const domain = unit.allocProvided(space);
  call.tx.onAbort(() => domain.free());
  domain.iopfHandler = (group) => resolve(space, group);
  return call.reserve(new HwptOwned(space, domain));
}

/** A table of one stage in a format of the unit's, whose addresses are the caller's. */
export function allocUserTable(call: Call, device: Device, data: UserData): HwptOwned {
  const { unit } = device.device;
  if (unit.allocUserTable === undefined) refuse(rules.owned_user_unit, { unit: unit.name });
  const space = liveSpace(call, processPages(call, -1));
  const domain = unit.allocUserTable(space, data);
  call.tx.onAbort(() => domain.free());
  return call.reserve(new HwptOwned(space, domain));
}

function processPages({ task }: Call, pidfd: number): LivePages {
  const pages = task.processPages(pidfd) ?? refuse(rules.owned_process, { pidfd });
  return pages === 'forbidden' ? refuse(rules.owned_process_forbidden, { pidfd }) : pages;
}

function machinePages({ task }: Call, fd: number): LivePages {
  const file = task.fileOf(fd);
  if (file === null) refuse(rules.owned_kvm_fd, { kvm_fd: fd });
  if (!file.isEngineFile) {
    file.release();
    refuse(rules.owned_kvm_file, { kvm_fd: fd });
  }
  if (file.addressSpace === undefined) refuse(rules.owned_kvm_kind, { kvm_fd: fd, file: file.name });
  return file.addressSpace(task) ?? refuse(rules.owned_kvm_process, { kvm_fd: fd });
}

function liveSpace(call: Call, pages: LivePages): LiveSpace {
  const { physical } = call.env;
  if (physical.providers.isFull) refuse(rules.owned_spaces, { name: pages.name });
  const space = new LiveSpace(pages, physical);
  call.tx.onAbort(() => space.release());
  return space;
}

/** All requests of a group, one after the other: one that its process may not make ends the group. */
function resolve(space: OwnedSpace, group: PageFaultGroup): void {
  const isThere = group.faults.every(({ addr, perm }) => space.resolve(addr, perm));
  respondGroup(group, isThere ? PageResponseCode.SUCCESS : PageResponseCode.INVALID);
}
