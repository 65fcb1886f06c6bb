/**
 * vIOMMU: a slice of a unit given to a guest; vDEVICE: a device as that guest numbers it; and the queues of the
 * guest that the unit reads by itself.
 */
import { refuse } from '../base/errno.js';
import {
  IOMMU_HW_QUEUE_TYPE_DEFAULT,
  IOMMU_VIOMMU_TYPE_DEFAULT,
  iommu_hw_queue_alloc,
  iommu_vdevice_alloc,
  iommu_viommu_alloc,
  type IommuHwQueueAlloc,
  type IommuVdeviceAlloc,
  type IommuViommuAlloc,
} from '../wire/uapi/iommufd.gen.js';
import type { SharedPages } from '../mem/task.js';
import type { DmaDevice, HwQueue, HwQueueCore, Unit, Viommu, ViommuCore } from '../hw/unit.js';
import { Access } from './access.js';
import type { Call } from './call.js';
import type { Context } from './context.js';
import type { Device } from './device.js';
import type { HwptPaging } from './hwpt.js';
import { IommufdObject } from './object.js';
import { PAGE_SIZE, U64_MAX, pageDown, pageOffset } from './units.js';
import type { VeventQueue } from './veventq.js';
import { rules } from './rules.js';

export class ViommuObject extends IommufdObject implements ViommuCore {
  readonly type = 'VIOMMU';
  readonly queues: VeventQueue[] = [];
  /** By virtual id. */
  readonly vdevices = new Map<bigint, Vdevice>();
  /** Set once the driver has accepted it. */
  driver: Viommu = { destroy: () => {} };

  constructor(
    readonly context: Context,
    readonly unit: Unit,
    readonly hwpt: HwptPaging,
  ) {
    super();
  }

  findDevice(virtId: bigint): DmaDevice | null {
    return this.vdevices.get(virtId)?.device.device ?? null;
  }

  virtIdOf(device: DmaDevice): bigint | null {
    let lowest: bigint | null = null;
    for (const vdevice of this.vdevices.values()) {
      if (vdevice.device.device === device && (lowest === null || vdevice.virtId < lowest))
        lowest = vdevice.virtId;
    }
    return lowest;
  }

  allocMmap(pages: SharedPages): bigint {
    return this.context.mmapSpace.alloc(this, pages);
  }

  destroyMmap(offset: bigint): void {
    this.context.mmapSpace.free(offset);
  }

  queueOf(type: number): VeventQueue | undefined {
    return this.queues.find((queue) => queue.eventType === type);
  }

  listens(type: number): boolean {
    return this.queueOf(type) !== undefined;
  }

  reportEvent(type: number, data: Uint8Array): void {
    const queue = this.queueOf(type);
    if (queue === undefined) refuse(rules.vevent_no_queue, { type, viommu_id: this.id });
    queue.report(data);
  }

  destroy(): void {
    this.driver.destroy();
    this.hwpt.users -= 1;
  }
}

export class Vdevice extends IommufdObject {
  readonly type = 'VDEVICE';

  constructor(
    readonly viommu: ViommuObject,
    readonly device: Device,
    readonly virtId: bigint,
  ) {
    super();
  }

  destroy(): void {
    this.viommu.vdevices.delete(this.virtId);
    this.viommu.users -= 1;
    this.device.vdevice = null;
    this.device.users -= 1;
  }
}

/** IOMMU_VIOMMU_ALLOC. */
export function viommuAlloc(call: Call, cmd: IommuViommuAlloc): void {
  const { context } = call;
  if (cmd.flags !== 0) refuse(rules.viommu_flags, { flags: cmd.flags });
  if (cmd.type === IOMMU_VIOMMU_TYPE_DEFAULT) refuse(rules.viommu_type, { type: cmd.type });
  const { device } = context.find<Device>(call, cmd.dev_id, 'DEVICE', rules.viommu_device);
  const { unit } = device;
  if (unit.supportsViommu === undefined || unit.initViommu === undefined) {
    refuse(rules.viommu_unit, { unit: unit.name });
  }
  if (!unit.supportsViommu(device, cmd.type))
    refuse(rules.viommu_unit_type, { unit: unit.name, type: cmd.type });
  const hwpt = context.find<HwptPaging>(call, cmd.hwpt_id, 'HWPT_PAGING', rules.viommu_hwpt);
  if (!hwpt.nestParent) refuse(rules.viommu_parent, { hwpt_id: hwpt.id });
  const viommu = call.reserve(new ViommuObject(context, unit, hwpt));
  hwpt.users += 1;
  call.tx.onAbort(() => (hwpt.users -= 1));
  const data = cmd.data_len === 0 ? null : call.userData(cmd.type, cmd.data_uptr, cmd.data_len);
  viommu.driver = unit.initViommu(viommu, hwpt.domain, data);
  call.tx.onAbort(() => viommu.driver.destroy());
  call.respond(iommu_viommu_alloc, { ...cmd, out_viommu_id: viommu.id }, true);
}

/** IOMMU_VDEVICE_ALLOC. */
export function vdeviceAlloc(call: Call, cmd: IommuVdeviceAlloc): void {
  const { context } = call;
  const viommu = context.find<ViommuObject>(call, cmd.viommu_id, 'VIOMMU', rules.vdevice_viommu);
  const device = context.find<Device>(call, cmd.dev_id, 'DEVICE', rules.vdevice_device);
  if (viommu.unit !== device.device.unit) {
    refuse(rules.vdevice_unit, { viommu: viommu.unit.name, unit: device.device.unit.name });
  }
  if (device.unbinding) refuse(rules.vdevice_unbinding, { dev_id: device.id });
  if (device.vdevice !== null)
    refuse(rules.vdevice_device_has_one, { dev_id: device.id, vdevice: device.vdevice.id });
  const vdevice = call.reserve(new Vdevice(viommu, device, cmd.virt_id));
  const other = viommu.vdevices.get(cmd.virt_id);
  if (other !== undefined) refuse(rules.vdevice_virt_id, { virt_id: cmd.virt_id, vdevice: other.id });
  viommu.vdevices.set(cmd.virt_id, vdevice);
  viommu.users += 1;
  device.vdevice = vdevice;
  device.users += 1;
  call.tx.onAbort(() => vdevice.destroy());
  call.respond(iommu_vdevice_alloc, { ...cmd, out_vdevice_id: vdevice.id }, true);
}

class HwQueueObject extends IommufdObject implements HwQueueCore {
  readonly type = 'HW_QUEUE';
  driver: HwQueue = { destroy: () => {} };
  /** Holds the queue's memory; made after the queue has its id. */
  access: Access | null = null;

  constructor(
    readonly viommu: ViommuObject,
    readonly baseIova: bigint,
    readonly length: bigint,
  ) {
    super();
  }

  depend(other: HwQueueCore): void {
    (other as HwQueueObject).users += 1;
  }

  undepend(other: HwQueueCore): void {
    (other as HwQueueObject).users -= 1;
  }

  destroy(): void {
    this.driver.destroy();
    this.access?.unpinPages(pageDown(this.baseIova), pagesSpan(this.baseIova, this.length));
    this.access?.destroyByDriver();
    this.viommu.users -= 1;
  }
}

/** Bytes of the whole pages that `[iova, iova + length)` touches. */
const pagesSpan = (iova: bigint, length: bigint): bigint =>
  ((pageOffset(iova) + length + PAGE_SIZE - 1n) / PAGE_SIZE) * PAGE_SIZE;

/** Pins the queue's memory in the nesting parent. Returns the access that holds it, and the queue's HPA. */
function pinQueue(
  call: Call,
  viommu: ViommuObject,
  iova: bigint,
  length: bigint,
): { access: Access; hpa: bigint } {
  const span = pagesSpan(iova, length);
  if (pageOffset(iova) + length + PAGE_SIZE - 1n > U64_MAX) refuse(rules.hw_queue_range, { iova, length });
  // Linux would first need an array of that many pages, and has not the memory.
  if (span / PAGE_SIZE > MAX_QUEUE_PAGES) refuse(rules.hw_queue_memory, { pages: span / PAGE_SIZE });
  const access = Access.createInternal(call);
  access.attach(call, viommu.hwpt.ioas);
  const start = pageDown(iova);
  const pages = access.pinPages(call, start, span, false);
  call.tx.onAbort(() => access.unpinPages(start, span));
  for (let index = 1; index < pages.length; index++) {
    if (pages[index]! !== pages[index - 1]! + PAGE_SIZE) {
      refuse(rules.hw_queue_scattered, { iova: start + BigInt(index) * PAGE_SIZE });
    }
  }
  return { access, hpa: pages[0]! + pageOffset(iova) };
}

/** kvmalloc refuses more than INT_MAX bytes of page pointers. */
const MAX_QUEUE_PAGES = 0x7fffffffn / 8n;

/** IOMMU_HW_QUEUE_ALLOC. */
export function hwQueueAlloc(call: Call, cmd: IommuHwQueueAlloc): void {
  const { flags, type, index, nesting_parent_iova: iova, length } = cmd;
  if (flags !== 0) refuse(rules.hw_queue_flags, { flags });
  if (type === IOMMU_HW_QUEUE_TYPE_DEFAULT) refuse(rules.hw_queue_type, { type });
  if (length === 0n) refuse(rules.hw_queue_length, {});
  if (iova + length - 1n > U64_MAX) refuse(rules.hw_queue_wraps, { iova, length });
  const viommu = call.context.find<ViommuObject>(call, cmd.viommu_id, 'VIOMMU', rules.hw_queue_viommu);
  const { driver } = viommu;
  if (driver.supportsHwQueue === undefined || driver.initHwQueue === undefined) {
    refuse(rules.hw_queue_unit, { viommu_id: viommu.id });
  }
  if (!driver.supportsHwQueue(type)) refuse(rules.hw_queue_unit_type, { type });
  const queue = call.reserve(new HwQueueObject(viommu, iova, length));
  const { access, hpa } = pinQueue(call, viommu, iova, length);
  queue.access = access;
  viommu.users += 1;
  call.tx.onAbort(() => (viommu.users -= 1));
  queue.driver = driver.initHwQueue(queue, index, hpa);
  call.tx.onAbort(() => queue.driver.destroy());
  call.respond(iommu_hw_queue_alloc, { ...cmd, out_hw_queue_id: queue.id }, true);
}
