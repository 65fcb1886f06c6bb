/** vfio-platform (vfio_platform_common.c): a device on no bus to speak of, with its registers and its interrupt. */
import { refuse } from '../../base/errno.js';
import type { DeviceModel } from '../../bus/model.js';
import type { Region } from '../../bus/region.js';
import type { UserMemory } from '../../iommufd/user-memory.js';
import type { MmapRequest, SharedPages } from '../../mem/task.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import type { OpenDevice, VfioDriver } from '../driver.js';
import { extraCounts, type ExtraRegions } from '../extra-regions.js';
import { readIrqSet } from '../irq-set.js';
import { loadRegion, sharedPages, storeRegion } from '../region-access.js';
import { indexOf, withinRegion, type RegionInfo } from '../region-info.js';
import { PlatformIrq } from './irq.js';
import { rules } from './rules.js';

const INFO_LEAST = v.vfio_device_info.endOf('num_irqs');
const IRQ_LEAST = v.vfio_irq_info.endOf('count');
const READ_WRITE = v.VFIO_REGION_INFO_FLAG_READ | v.VFIO_REGION_INFO_FLAG_WRITE;
/** A level. */
const IRQ_FLAGS = v.VFIO_IRQ_INFO_EVENTFD | v.VFIO_IRQ_INFO_MASKABLE | v.VFIO_IRQ_INFO_AUTOMASKED;

export class VfioPlatformDriver implements VfioDriver {
  readonly #irq: PlatformIrq;
  #isOpen = false;

  /** `mapsRegisters`: stores to registers that are mapped reach the device. */
  constructor(
    readonly model: DeviceModel,
    readonly mapsRegisters = true,
  ) {
    this.#irq = new PlatformIrq(model.interrupts);
  }

  /** vfio_platform_open_device */
  open(): void {
    this.model.reset();
    this.#irq.open();
    this.#isOpen = true;
  }

  close(): void {
    this.#isOpen = false;
    this.model.reset();
    this.#irq.close();
  }

  get regionCount(): number {
    return this.model.regions.length;
  }

  get irqCount(): number {
    return this.model.interrupts.capability.intx ? 1 : 0;
  }

  ioctl(cmd: number, arg: bigint, user: UserMemory, { device }: OpenDevice): number | null {
    switch (cmd) {
      case v.VFIO_DEVICE_GET_INFO:
        return this.#getInfo(user, arg, device.extra);
      case v.VFIO_DEVICE_GET_IRQ_INFO:
        return this.#getIrqInfo(user, arg);
      case v.VFIO_DEVICE_SET_IRQS:
        this.#irq.set(readIrqSet(user, arg, this.irqCount, () => this.irqCount));
        return 0;
      case v.VFIO_DEVICE_RESET:
        this.model.reset();
        return 0;
      default:
        return null;
    }
  }

  /** Only the first version of the struct is known. */
  #getInfo(user: UserMemory, arg: bigint, extra: ExtraRegions | null): number {
    const { argsz } = user.copyHead(v.vfio_device_info, arg, INFO_LEAST, rules.platform_info_unreadable);
    if (argsz < INFO_LEAST) refuse(rules.platform_info_size, { argsz, least: INFO_LEAST });
    const info = v.vfio_device_info.create({
      argsz,
      flags: v.VFIO_DEVICE_FLAGS_PLATFORM | v.VFIO_DEVICE_FLAGS_RESET,
      num_regions: this.regionCount + extraCounts(extra).regions,
      num_irqs: this.irqCount + extraCounts(extra).irqs,
    });
    const bytes = new Uint8Array(v.vfio_device_info.size);
    v.vfio_device_info.encode(info, bytes);
    user.copyOut(arg, bytes.subarray(0, INFO_LEAST), rules.platform_info_unwritable);
    return 0;
  }

  #getIrqInfo(user: UserMemory, arg: bigint): number {
    const bytes = user.copyIn(arg, IRQ_LEAST, rules.platform_irq_info_unreadable);
    const { argsz, index } = v.vfio_irq_info.decode(bytes);
    if (argsz < IRQ_LEAST) refuse(rules.platform_irq_info_size, { argsz, least: IRQ_LEAST });
    if (index >= this.irqCount) refuse(rules.platform_irq_info_index, { index });
    v.vfio_irq_info.encode({ argsz, flags: IRQ_FLAGS, index, count: 1 }, bytes);
    user.copyOut(arg, bytes, rules.platform_irq_info_unwritable);
    return 0;
  }

  regionInfo(index: number): RegionInfo {
    const region = this.model.regions[index] ?? refuse(rules.platform_region, { index });
    const canMap = region.kind === 'memory' || this.mapsRegisters;
    const flags = READ_WRITE | (canMap ? v.VFIO_REGION_INFO_FLAG_MMAP : 0);
    return { size: region.image.length, flags };
  }

  feature(): null {
    return null;
  }

  read(position: bigint, at: bigint, count: number, user: UserMemory): number {
    const index = indexOf(position);
    const offset = withinRegion(position);
    const region = this.model.regions[index] ?? refuse(rules.platform_read_region, { index });
    const size = region.image.length;
    if (offset >= size) refuse(rules.platform_read_offset, { index, offset, size });
    const length = Math.min(count, size - offset);
    loadRegion(user, region, offset, at, length, rules.platform_read_unwritable);
    return length;
  }

  /** In pieces of at most 4 bytes. */
  write(position: bigint, at: bigint, count: number, user: UserMemory): number {
    const index = indexOf(position);
    const offset = withinRegion(position);
    const region = this.model.regions[index] ?? refuse(rules.platform_write_region, { index });
    const size = region.image.length;
    if (offset >= size) refuse(rules.platform_write_offset, { index, offset, size });
    const length = Math.min(count, size - offset);
    storeRegion(user, region, offset, at, length, 4, rules.platform_write_unreadable);
    return length;
  }

  mmap({ offset, length, shared }: MmapRequest): SharedPages {
    const index = indexOf(offset);
    if (!shared) refuse(rules.platform_map_private, { index });
    const region: Region = this.model.regions[index] ?? refuse(rules.platform_map_region, { index });
    const canMap = region.kind === 'memory' || this.mapsRegisters;
    if (!canMap) refuse(rules.platform_map_registers, { index });
    const start = withinRegion(offset);
    const size = region.image.length;
    if (BigInt(start) + length > BigInt(size)) refuse(rules.platform_map_range, { start, length, size });
    return sharedPages(region, start, Number(length), () => this.#isOpen);
  }
}
