/** IOMMU_HWPT_ALLOC: what a page table is made from says which kind it is. */
import { refuse } from '../base/errno.js';
import {
  IOMMU_HWPT_DATA_NONE,
  IOMMU_HWPT_FAULT_ID_VALID,
  iommu_hwpt_alloc,
  type IommuHwptAlloc,
} from '../wire/uapi/iommufd.gen.js';
import type { Call } from './call.js';
import type { Device } from './device.js';
import type { FaultQueue } from './fault-queue.js';
import {
  allocNested,
  allocNestedInViommu,
  allocPaging,
  HwptPaging,
  NESTED_FLAGS,
  type Hwpt,
  type HwptOwned,
} from './hwpt.js';
import { Ioas } from './ioas.js';
import type { IommufdObject } from './object.js';
import { allocOwned, isOwnedType } from './owned.js';
import { ViommuObject } from './viommu.js';
import { rules as ownedRules } from './owned-rules.js';
import { rules } from './rules.js';

function allocByTarget(call: Call, cmd: IommuHwptAlloc, device: Device, target: IommufdObject): Hwpt {
  const data = call.userData(cmd.data_type, cmd.data_uptr, cmd.data_len);
  if (target instanceof Ioas) {
    return allocPaging(call, target, device, cmd.flags, cmd.data_len === 0 ? null : data);
  }
  if (target instanceof HwptPaging) return allocNested(call, target, device, cmd.flags, data);
  if (!(target instanceof ViommuObject))
    refuse(rules.hwpt_target_type, { pt_id: cmd.pt_id, type: target.type });
  if (target.unit !== device.device.unit) {
    refuse(rules.hwpt_viommu_unit, { viommu: target.unit.name, unit: device.device.unit.name });
  }
  return allocNestedInViommu(call, target, cmd.flags, data);
}

/** Page requests of what is attached to `hwpt` go to `fault`. */
export function deliverFaults(call: Call, hwpt: Hwpt, fault: FaultQueue): void {
  hwpt.fault = fault;
  hwpt.domain.iopfHandler = (group) => fault.deliver(group);
  if (fault.report !== undefined) hwpt.domain.faultHandler = (handle, event) => fault.report!(handle, event);
  fault.users += 1;
  call.tx.onAbort(() => (fault.users -= 1));
}

/** ioasis' own: the data says whose table it is, so there is no pt_id to show. */
function allocOwnedTable(call: Call, cmd: IommuHwptAlloc, device: Device): HwptOwned {
  if (cmd.pt_id !== 0) refuse(ownedRules.owned_target, { pt_id: cmd.pt_id });
  if ((cmd.flags & ~NESTED_FLAGS) !== 0) refuse(ownedRules.owned_flags, { flags: cmd.flags });
  const data = call.userData(cmd.data_type, cmd.data_uptr, cmd.data_len);
  return allocOwned(call, device, data, (cmd.flags & IOMMU_HWPT_FAULT_ID_VALID) !== 0);
}

/** IOMMU_HWPT_ALLOC. A missing pt_id is EINVAL here, unlike everywhere else. */
export function hwptAlloc(call: Call, cmd: IommuHwptAlloc): void {
  const { context } = call;
  if (cmd.__reserved !== 0) refuse(rules.hwpt_reserved, { __reserved: cmd.__reserved });
  if ((cmd.data_type === IOMMU_HWPT_DATA_NONE) !== (cmd.data_len === 0)) {
    refuse(rules.hwpt_data, { data_type: cmd.data_type, data_len: cmd.data_len });
  }
  const device = context.find<Device>(call, cmd.dev_id, 'DEVICE', rules.hwpt_device);
  const hwpt = isOwnedType(cmd.data_type)
    ? allocOwnedTable(call, cmd, device)
    : allocByTarget(call, cmd, device, context.findAny(call, cmd.pt_id, rules.hwpt_target));
  if ((cmd.flags & IOMMU_HWPT_FAULT_ID_VALID) !== 0) {
    deliverFaults(call, hwpt, context.find<FaultQueue>(call, cmd.fault_id, 'FAULT', rules.hwpt_fault));
  }
  call.respond(iommu_hwpt_alloc, { ...cmd, out_hwpt_id: hwpt.id }, true);
}
