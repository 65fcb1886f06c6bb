/**
 * I/O page requests: from a device's report to whoever owns the faulting address space, and the answer back.
 * Requests of one group wait for the last; a group is answered exactly once (Linux: drivers/iommu/io-pgfault.c).
 */
import { refuse } from '../base/errno.js';
import { IOMMU_NO_PASID, type AttachHandle } from './group.js';
import { PageResponseCode, type DmaDevice } from './unit.js';
import { rules } from './rules.js';

/** IOMMU_FAULT_PAGE_REQUEST_*: bits of {@link PageRequest.flags}. */
export const PageRequestFlags = { PASID_VALID: 1, LAST_PAGE: 2 } as const;

export interface PageRequest {
  readonly flags: number;
  readonly pasid: number;
  readonly grpid: number;
  readonly perm: number;
  readonly addr: bigint;
}

/** What a device needs to be able to report; counted, because several domains of it may want requests. */
export interface FaultParam {
  users: number;
  readonly partial: PageRequest[];
}

export interface PageFaultGroup {
  readonly device: DmaDevice;
  readonly handle: AttachHandle;
  /** In order of arrival, the last request last. */
  readonly faults: readonly PageRequest[];
}

/** Lets `device` report page requests. */
export function addFaultDevice(device: DmaDevice): void {
  if (device.faultParam !== null) refuse(rules.iopf_device_busy, { device: device.name });
  device.faultParam = { users: 1, partial: [] };
}

/** Stops it; requests that wait for their last are dropped. */
export function removeFaultDevice(device: DmaDevice): void {
  device.faultParam = null;
}

function findHandler(device: DmaDevice, request: PageRequest): AttachHandle | null {
  let handle: AttachHandle | null;
  if ((request.flags & PageRequestFlags.PASID_VALID) !== 0) {
    handle = device.group.handle(request.pasid);
    if (handle === null && device.unit.userPasidTable) {
      const own = device.group.handle(IOMMU_NO_PASID);
      handle = own !== null && own.domain.kind === 'nested' ? own : null;
    }
  } else {
    handle = device.group.handle(IOMMU_NO_PASID);
  }
  return handle !== null && handle.domain.iopfHandler !== null ? handle : null;
}

/** Takes one page request. Without a handler for its address space the device gets INVALID at once. */
export function reportDeviceFault(device: DmaDevice, request: PageRequest): void {
  const handle = findHandler(device, request);
  const param = device.faultParam;
  if (handle === null || param === null) {
    respond(device, request, PageResponseCode.INVALID);
    return;
  }
  if ((request.flags & PageRequestFlags.LAST_PAGE) === 0) {
    param.partial.push(request);
    return;
  }
  const earlier = param.partial.filter((waiting) => waiting.grpid === request.grpid);
  for (const waiting of earlier) param.partial.splice(param.partial.indexOf(waiting), 1);
  handle.domain.iopfHandler!({ device, handle, faults: [...earlier, request] });
}

/** Answers a group; `code` is a {@link PageResponseCode}. */
export function respondGroup(group: PageFaultGroup, code: number): void {
  respond(group.device, group.faults[group.faults.length - 1]!, code);
}

function respond(device: DmaDevice, request: PageRequest, code: number): void {
  const hasPasid = (request.flags & PageRequestFlags.PASID_VALID) !== 0;
  device.unit.pageResponse(device, { hasPasid, pasid: request.pasid, grpid: request.grpid, code });
}
