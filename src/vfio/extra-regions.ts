/**
 * Regions and an interrupt that a device has beside those of its driver (vfio_pci_core_register_dev_region), whatever
 * bus it is on: their indices follow the driver's own.
 */
import { refuse } from '../base/errno.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { MmapRequest, SharedPages } from '../mem/task.js';
import * as v from '../wire/uapi/vfio.gen.js';
import { VFIO_IRQ_INFO_FLAG_CAPS, vfio_irq_info_caps } from '../wire/uapi/vfio-nesting.js';
import type { VfioDevice } from './driver.js';
import type { InfoCaps } from './info-caps.js';
import { readIrqSet, type IrqSet } from './irq-set.js';
import { indexOf, withinRegion, type RegionInfo } from './region-info.js';
import { rules } from './nesting/fault-rules.js';

export interface ExtraRegion {
  info(): RegionInfo;
  /** `count` is above 0; the number of bytes moved. */
  read(offset: number, at: bigint, count: number, user: UserMemory): number;
  write(offset: number, at: bigint, count: number, user: UserMemory): number;
  mmap(start: number, request: MmapRequest): SharedPages;
}

export interface ExtraRegions {
  readonly regions: readonly ExtraRegion[];
  /** What GET_IRQ_INFO says of the interrupt. */
  readonly irqCaps: InfoCaps;
  setIrq(request: IrqSet): void;
}

const IRQ_LEAST = v.vfio_irq_info.endOf('count');
const INDEX_END = v.vfio_irq_info.endOf('index');
const INDEX_AT = v.vfio_irq_info.fields.index.offset;

/** What GET_INFO adds to the driver's own. */
export const extraCounts = (extra: ExtraRegions | null): { regions: number; irqs: number } =>
  extra === null ? { regions: 0, irqs: 0 } : { regions: extra.regions.length, irqs: 1 };

/** The one that `index` names; null: it is the driver's to say. */
const extraRegion = ({ extra, driver }: VfioDevice, index: number): ExtraRegion | null =>
  extra?.regions[index - driver.regionCount] ?? null;

/** Of any region; the driver refuses what there is not. */
export const regionInfo = (device: VfioDevice, index: number): RegionInfo =>
  extraRegion(device, index)?.info() ?? device.driver.regionInfo(index);

/** The one at a position of the device's file, and where in it that is. */
export function extraAt(device: VfioDevice, position: bigint): [region: ExtraRegion | null, offset: number] {
  return [extraRegion(device, indexOf(position)), withinRegion(position)];
}

/** VFIO_DEVICE_GET_IRQ_INFO and SET_IRQS of the interrupt; null: it is another's, or another call. */
export function extraIrq(cmd: number, arg: bigint, user: UserMemory, device: VfioDevice): number | null {
  const { extra, driver } = device;
  const isAsked = cmd === v.VFIO_DEVICE_GET_IRQ_INFO || cmd === v.VFIO_DEVICE_SET_IRQS;
  if (extra === null || !isAsked || indexAt(user, arg) !== driver.irqCount) return null;
  if (cmd === v.VFIO_DEVICE_GET_IRQ_INFO) return irqInfo(user, arg, extra);
  extra.setIrq(readIrqSet(user, arg, driver.irqCount + 1, () => 1));
  return 0;
}

/** Both calls have it at the same place. Null: it cannot be read, which the driver says. */
function indexAt({ task }: UserMemory, arg: bigint): number | null {
  const bytes = new Uint8Array(INDEX_END);
  return task.mm.read(arg, bytes) ? new DataView(bytes.buffer).getUint32(INDEX_AT, true) : null;
}

function irqInfo(user: UserMemory, arg: bigint, { irqCaps }: ExtraRegions): number {
  const { argsz, index } = user.copyHead(v.vfio_irq_info, arg, IRQ_LEAST, rules.nesting_irq_unreadable);
  if (argsz < IRQ_LEAST) refuse(rules.nesting_irq_size, { argsz, least: IRQ_LEAST });
  const flags = v.VFIO_IRQ_INFO_EVENTFD | v.VFIO_IRQ_INFO_NORESIZE | VFIO_IRQ_INFO_FLAG_CAPS;
  const bytes = new Uint8Array(vfio_irq_info_caps.size);
  const needed = bytes.length + irqCaps.size;
  const hasRoom = argsz >= needed;
  if (hasRoom) {
    user.copyOut(arg + BigInt(bytes.length), irqCaps.bytes(bytes.length), rules.nesting_irq_caps_unwritable);
  }
  const cap_offset = hasRoom ? bytes.length : 0;
  vfio_irq_info_caps.encode({ argsz: hasRoom ? argsz : needed, flags, index, count: 1, cap_offset }, bytes);
  user.copyOut(arg, bytes.subarray(0, Math.min(argsz, bytes.length)), rules.nesting_irq_unwritable);
  return 0;
}
