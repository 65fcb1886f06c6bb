/**
 * A device that a driver has bound to a context, and its way to a page table: attach, replace, detach, for the
 * requester id and for PASIDs (iommufd_device_*).
 */
import { refuse, Errno } from '../base/errno.js';
import { IOMMU_NO_PASID, type AttachHandle } from '../hw/group.js';
import type { DmaDevice } from '../hw/unit.js';
import type { Call } from './call.js';
import type { Context } from './context.js';
import { DeviceGroup } from './device-group.js';
import { HwptNested, HwptOwned, HwptPaging, allocPaging, ioasOf, type Hwpt } from './hwpt.js';
import { Ioas } from './ioas.js';
import { IommufdObject } from './object.js';
import type { Vdevice } from './viommu.js';
import { rules } from './rules.js';

/** Tells the page-fault path which bound device an attachment is of. */
export interface DeviceHandle extends AttachHandle {
  readonly bound: Device;
}

export class Device extends IommufdObject {
  readonly type = 'DEVICE';
  vdevice: Vdevice | null = null;
  /** No new vDEVICE any more: the driver is letting go. */
  unbinding = false;
  /** The devices of an attachment of this one alone: the same array for a million of them. */
  readonly #alone: readonly Device[] = [this];

  private constructor(
    readonly context: Context,
    readonly device: DmaDevice,
    readonly group: DeviceGroup,
  ) {
    super();
  }

  /** iommufd_device_bind: the device's DMA is this context's from now on. The caller is one of its users. */
  static bindDevice(call: Call, device: DmaDevice): Device {
    const { context } = call;
    if (!device.capable('CACHE_COHERENCY')) refuse(rules.bind_not_coherent, { device: device.name });
    call.alloc('iommufd_group');
    const group = DeviceGroup.get(context, device.group);
    call.tx.onAbort(() => group.put());
    device.group.claimDmaOwner(context);
    call.tx.onAbort(() => device.group.releaseDmaOwner());
    const bound = call.reserve(new Device(context, device, group));
    bound.users += 1;
    call.publishEarly(bound);
    return bound;
  }

  /** iommufd_device_unbind: gives up the driver's reference. */
  unbind(): void {
    this.context.objects.putAndDestroy(this);
  }

  override preDestroy(): void {
    const { vdevice } = this;
    if (vdevice === null) return;
    this.unbinding = true;
    vdevice.users += 1;
    this.context.objects.putAndDestroy(vdevice, true);
  }

  destroy(): void {
    this.device.group.releaseDmaOwner();
    this.group.put();
  }

  /** iommufd_device_attach: `ptId` names an IOAS or an HWPT. Returns the id of the HWPT. */
  attach(call: Call, pasid: number, ptId: number): number {
    const id = this.#changeTable(call, pasid, ptId, true);
    this.users += 1;
    call.tx.onAbort(() => (this.users -= 1));
    return id;
  }

  /** iommufd_device_replace: as attach, from one page table to another. */
  replace(call: Call, pasid: number, ptId: number): number {
    return this.#changeTable(call, pasid, ptId, false);
  }

  /** iommufd_device_detach: DMA is blocked again. Nothing happens when nothing is attached. */
  detach(pasid: number): void {
    const hwpt = this.#leave(pasid);
    if (hwpt === null) return;
    this.#putHwpt(hwpt);
    this.users -= 1;
  }

  #changeTable(call: Call, pasid: number, ptId: number, isAttach: boolean): number {
    const target = this.context.findAny(call, ptId, rules.attach_target);
    if (target instanceof HwptPaging || target instanceof HwptNested || target instanceof HwptOwned) {
      this.#doAttach(call, pasid, target, isAttach);
      return ptId;
    }
    if (!(target instanceof Ioas)) refuse(rules.attach_target_type, { pt_id: ptId, type: target.type });
    return this.#autoDomain(call, pasid, target, isAttach).id;
  }

  #doAttach(call: Call, pasid: number, hwpt: Hwpt, isAttach: boolean): void {
    if (isAttach) this.#join(call, hwpt, pasid);
    else this.#switch(call, hwpt, pasid);
  }

  /** Any automatic HWPT of the IOAS that takes the device will do; EINVAL means that this one does not. */
  #autoDomain(call: Call, pasid: number, ioas: Ioas, isAttach: boolean): HwptPaging {
    for (const hwpt of [...ioas.hwpts]) {
      if (!hwpt.automatic) continue;
      const outcome = call.tx.attempt(() => this.#doAttach(call, pasid, hwpt, isAttach));
      if (!(outcome instanceof Errno)) return hwpt;
      if (outcome.code !== 'EINVAL') throw outcome;
    }
    const join = (hwpt: HwptPaging): void => this.#join(call, hwpt, pasid);
    const hwpt = allocPaging(call, ioas, this, 0, null, isAttach ? join : undefined);
    if (!isAttach) this.#switch(call, hwpt, pasid);
    hwpt.automatic = true;
    return hwpt;
  }

  /** iommufd_hw_pagetable_attach. */
  #join(call: Call, hwpt: Hwpt, pasid: number): void {
    const { attachments } = this.group;
    const current = attachments.get(pasid);
    if (current === undefined) call.alloc('iommufd_attach');
    if (current !== undefined) {
      if (current.devices.includes(this)) refuse(rules.attach_twice, { device: this.id, pasid });
      if (current.hwpt !== hwpt)
        refuse(rules.attach_group_hwpt, { pasid, attached: current.hwpt.id, hwpt: hwpt.id });
    }
    if (pasid === IOMMU_NO_PASID) ioasOf(hwpt)?.table.reserveDevice(call, this.device);
    if (current === undefined) {
      this.#attachHardware(call, hwpt, pasid);
      attachments.set(pasid, { hwpt, devices: this.#alone });
    } else {
      current.devices = [...current.devices, this];
    }
    hwpt.users += 1;
    call.tx.onAbort(() => this.#undoJoin(pasid));
  }

  #undoJoin(pasid: number): void {
    const hwpt = this.#leave(pasid);
    if (hwpt !== null) hwpt.users -= 1;
  }

  #attachHardware(call: Call, hwpt: Hwpt, pasid: number): void {
    this.#checkFaultCapable(hwpt);
    this.#checkPasidCompat(hwpt, pasid);
    call.alloc('iommufd_attach_handle');
    const handle: DeviceHandle = { domain: hwpt.domain, bound: this };
    const { group } = this.device;
    if (pasid === IOMMU_NO_PASID) group.attach(hwpt.domain, handle);
    else group.attachPasid(hwpt.domain, this.device, pasid, handle);
  }

  #checkFaultCapable(hwpt: Hwpt): void {
    if (hwpt.fault === null || !this.device.isVirtualFunctionWithPri) return;
    refuse(rules.attach_fault_vf, { device: this.device.name });
  }

  /** A requester id beside PASIDs, and a PASID beside a requester id, both need HWPTs made for that. */
  #checkPasidCompat(hwpt: Hwpt, pasid: number): void {
    if (pasid === IOMMU_NO_PASID) {
      if (!hwpt.pasidCompat && this.group.hasPasids) refuse(rules.attach_rid_beside_pasid, { hwpt: hwpt.id });
      return;
    }
    if (!hwpt.pasidCompat) refuse(rules.attach_pasid_hwpt, { hwpt: hwpt.id, pasid });
    const own = this.group.attachments.get(IOMMU_NO_PASID);
    if (own !== undefined && !own.hwpt.pasidCompat) {
      refuse(rules.attach_pasid_beside_rid, { pasid, attached: own.hwpt.id });
    }
  }

  /** iommufd_hw_pagetable_detach; returns the HWPT, whose reference the caller now has to give up. */
  #leave(pasid: number): Hwpt | null {
    const { attachments } = this.group;
    const current = attachments.get(pasid);
    if (current === undefined) return null;
    const { hwpt, devices } = current;
    current.devices = devices === this.#alone ? [] : devices.filter((device) => device !== this);
    if (current.devices.length === 0) {
      const handle = this.device.group.handle(pasid);
      if (pasid === IOMMU_NO_PASID) this.device.group.detach();
      else this.device.group.detachPasid(pasid);
      if (handle !== null) hwpt.fault?.autoRespond(handle);
      attachments.delete(pasid);
    }
    if (pasid === IOMMU_NO_PASID) ioasOf(hwpt)?.table.reserved.removeOwner(this.device);
    return hwpt;
  }

  /** iommufd_device_do_replace. */
  #switch(call: Call, hwpt: Hwpt, pasid: number): void {
    const current = this.group.attachments.get(pasid);
    if (current === undefined) refuse(rules.replace_not_attached, { pasid });
    if (!current.devices.includes(this)) refuse(rules.replace_other_device, { device: this.id, pasid });
    const old = current.hwpt;
    if (old === hwpt) return;
    const isRid = pasid === IOMMU_NO_PASID;
    const oldTable = ioasOf(old)?.table;
    const table = ioasOf(hwpt)?.table;
    if (isRid && table !== oldTable) {
      for (const { device } of current.devices) table?.reserveDevice(call, device);
    }
    const { group } = this.device;
    const oldHandle = group.handle(pasid);
    this.#checkFaultCapable(hwpt);
    this.#checkPasidCompat(hwpt, pasid);
    call.alloc('iommufd_attach_handle of a replacement');
    const handle: DeviceHandle = { domain: hwpt.domain, bound: this };
    if (isRid) group.replace(hwpt.domain, handle);
    else group.replacePasid(hwpt.domain, this.device, pasid, handle);
    // From here on nothing fails: no undo is owed.
    if (oldHandle !== null) old.fault?.autoRespond(oldHandle);
    if (isRid && table !== oldTable) {
      for (const { device } of current.devices) oldTable?.reserved.removeOwner(device);
    }
    current.hwpt = hwpt;
    hwpt.users += current.devices.length;
    old.users -= current.devices.length - 1;
    call.commit();
    this.#putHwpt(old);
  }

  /** iommufd_hw_pagetable_put: an automatic HWPT goes with its last user. */
  #putHwpt(hwpt: Hwpt): void {
    if (hwpt.type === 'HWPT_PAGING' && hwpt.automatic) this.context.objects.putAndDestroy(hwpt);
    else hwpt.users -= 1;
  }
}
