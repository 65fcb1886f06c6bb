/**
 * Hardware page tables: a domain of some unit, wrapped so that programs can name it. A paging one shows an IOAS;
 * a nested one is a guest's first stage on top of a paging one.
 */
import { refuse } from '../base/errno.js';
import {
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
  IOMMU_HWPT_ALLOC_NEST_PARENT,
  IOMMU_HWPT_ALLOC_PASID,
  IOMMU_HWPT_FAULT_ID_VALID,
} from '../wire/uapi/iommufd.gen.js';
import type { NestedDomain, PagingDomain, ProvidedDomain, UserData } from '../hw/unit.js';
import type { OwnedSpace } from '../mem/providers.js';
import type { Call } from './call.js';
import type { Device } from './device.js';
import type { FaultQueue } from './fault-queue.js';
import { Ioas } from './ioas.js';
import { IommufdObject } from './object.js';
import { ViommuObject } from './viommu.js';
import { rules } from './rules.js';

const PAGING_FLAGS =
  IOMMU_HWPT_ALLOC_NEST_PARENT |
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
  IOMMU_HWPT_FAULT_ID_VALID |
  IOMMU_HWPT_ALLOC_PASID;
/** Flags of a table that is not kernel-managed. */
export const NESTED_FLAGS = IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID;

abstract class HwptCommon extends IommufdObject {
  fault: FaultQueue | null = null;

  constructor(
    /** May be attached beside PASIDs, or to one. */
    readonly pasidCompat: boolean,
  ) {
    super();
  }

  protected dropFault(): void {
    if (this.fault !== null) this.fault.users -= 1;
  }
}

export class HwptPaging extends HwptCommon {
  readonly type = 'HWPT_PAGING';
  /** Made by an attachment to an IOAS, and goes with the last one. */
  automatic = false;
  enforceCacheCoherency = false;
  readonly nestParent: boolean;

  constructor(
    readonly ioas: Ioas,
    readonly domain: PagingDomain,
    flags: number,
  ) {
    super((flags & IOMMU_HWPT_ALLOC_PASID) !== 0);
    this.nestParent = (flags & IOMMU_HWPT_ALLOC_NEST_PARENT) !== 0;
  }

  destroy(): void {
    this.ioas.hwpts.splice(this.ioas.hwpts.indexOf(this), 1);
    this.ioas.table.removeDomain(this.domain);
    this.domain.free();
    this.dropFault();
    this.ioas.users -= 1;
  }
}

export class HwptNested extends HwptCommon {
  readonly type = 'HWPT_NESTED';

  constructor(
    readonly parent: HwptPaging,
    readonly viommu: ViommuObject | null,
    readonly domain: NestedDomain,
    flags: number,
  ) {
    super((flags & IOMMU_HWPT_ALLOC_PASID) !== 0);
  }

  destroy(): void {
    this.domain.free();
    this.dropFault();
    (this.viommu ?? this.parent).users -= 1;
  }
}

/**
 * A table that is not ioasis' and stands on none of its: the address space of a process or a virtual machine, or what a
 * program wrote at addresses of its own. Linux has none.
 */
export class HwptOwned extends HwptCommon {
  readonly type = 'HWPT_OWNED';

  constructor(
    readonly space: OwnedSpace,
    readonly domain: ProvidedDomain | NestedDomain,
  ) {
    super(true);
  }

  destroy(): void {
    this.domain.free();
    this.space.release();
    this.dropFault();
  }
}

export type Hwpt = HwptPaging | HwptNested | HwptOwned;

/** The address space whose mappings it shows, itself or through what it is nested on; null: none of ioasis'. */
export function ioasOf(hwpt: Hwpt): Ioas | null {
  if (hwpt.type === 'HWPT_OWNED') return null;
  return (hwpt.type === 'HWPT_PAGING' ? hwpt : hwpt.parent).ioas;
}

/**
 * Makes a paging HWPT that shows `ioas`. `attach` runs between the making of the domain and its filling, where
 * Linux attaches the device in automatic mode.
 */
export function allocPaging(
  call: Call,
  ioas: Ioas,
  device: Device,
  flags: number,
  data: UserData | null,
  attach: (hwpt: HwptPaging) => void = () => {},
): HwptPaging {
  if ((flags & ~PAGING_FLAGS) !== 0) refuse(rules.hwpt_paging_flags, { flags });
  if ((flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING) !== 0 && !device.device.capable('DIRTY_TRACKING')) {
    refuse(rules.hwpt_dirty_device, { device: device.device.name });
  }
  if ((flags & IOMMU_HWPT_FAULT_ID_VALID) !== 0 && (flags & IOMMU_HWPT_ALLOC_NEST_PARENT) !== 0) {
    refuse(rules.hwpt_fault_parent, { flags });
  }
  const { unit } = device.device;
  call.context.objects.checkRoom(call, 'HWPT_PAGING');
  const domain = unit.allocPaging(device.device, flags & ~IOMMU_HWPT_FAULT_ID_VALID, data);
  call.tx.onAbort(() => domain.free());
  const hwpt = call.reserve(new HwptPaging(ioas, domain, flags));
  ioas.users += 1;
  call.tx.onAbort(() => (ioas.users -= 1));
  if (device.device.capable('ENFORCE_CACHE_COHERENCY')) {
    hwpt.enforceCacheCoherency = domain.enforceCacheCoherency?.() ?? false;
  }
  attach(hwpt);
  ioas.table.addDomain(call, domain);
  ioas.hwpts.push(hwpt);
  call.tx.onAbort(() => ioas.hwpts.splice(ioas.hwpts.indexOf(hwpt), 1));
  return hwpt;
}

/** Makes a nested HWPT on `parent`, whose first stage `data` describes. */
export function allocNested(
  call: Call,
  parent: HwptPaging,
  device: Device,
  flags: number,
  data: UserData,
): HwptNested {
  const { unit } = device.device;
  if ((flags & ~NESTED_FLAGS) !== 0) refuse(rules.hwpt_nested_flags, { flags });
  if (data.length === 0) refuse(rules.hwpt_nested_data, {});
  if (unit.allocNested === undefined) refuse(rules.hwpt_nested_unit, { unit: unit.name });
  if (parent.automatic) refuse(rules.hwpt_parent_automatic, { pt_id: parent.id });
  if (!parent.nestParent) refuse(rules.hwpt_parent_flag, { pt_id: parent.id });
  if (parent.domain.unit.ops !== unit.ops)
    refuse(rules.hwpt_parent_unit, { parent: parent.domain.unit.name, unit: unit.name });
  call.context.objects.checkRoom(call, 'HWPT_NESTED');
  const domain = unit.allocNested(device.device, parent.domain, flags & ~IOMMU_HWPT_FAULT_ID_VALID, data);
  return reserveNested(call, new HwptNested(parent, null, domain, flags));
}

/** The same in a vIOMMU, on the HWPT that it was made on. */
export function allocNestedInViommu(
  call: Call,
  viommu: ViommuObject,
  flags: number,
  data: UserData,
): HwptNested {
  if ((flags & ~NESTED_FLAGS) !== 0) refuse(rules.viommu_nested_flags, { flags });
  if (data.length === 0) refuse(rules.viommu_nested_data, {});
  if (viommu.driver.allocNested === undefined) refuse(rules.viommu_nested_unit, { viommu_id: viommu.id });
  call.context.objects.checkRoom(call, 'HWPT_NESTED in a vIOMMU');
  const domain = viommu.driver.allocNested(flags & ~IOMMU_HWPT_FAULT_ID_VALID, data);
  return reserveNested(call, new HwptNested(viommu.hwpt, viommu, domain, flags));
}

function reserveNested(call: Call, hwpt: HwptNested): HwptNested {
  call.tx.onAbort(() => hwpt.domain.free());
  call.reserve(hwpt);
  const holder = hwpt.viommu ?? hwpt.parent;
  holder.users += 1;
  call.tx.onAbort(() => (holder.users -= 1));
  return hwpt;
}
