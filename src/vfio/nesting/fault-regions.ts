/**
 * Faults of the guest's page tables as regions of the device (VFIO_REGION_TYPE_NESTED): a ring of faults, a ring of
 * responses, and an interrupt that tells of the first. The rings are those of /dev/ioasid; here the page of header is not
 * mapped, and the program's index comes by write(2). Without an eventfd nobody listens: page requests are refused, and
 * nothing is put into the ring.
 */
import { refuse } from '../../base/errno.js';
import type { AttachHandle } from '../../hw/group.js';
import { respondGroup, type PageFaultGroup } from '../../hw/iopf.js';
import { PageResponseCode, type UnrecoverableFault } from '../../hw/unit.js';
import { FAULT_BYTES, FaultRings, type RingOwner } from '../../ioasid/fault-rings.js';
import { ENTRIES, PAGE, Ring, ringBytes } from '../../ioasid/ring.js';
import type { Env } from '../../iommufd/env.js';
import type { UserMemory } from '../../iommufd/user-memory.js';
import type { EventCounter, MmapRequest, SharedPages } from '../../mem/task.js';
import { iommu_page_response } from '../../wire/uapi/iommu.js';
import * as u from '../../wire/uapi/vfio-nesting.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import { takeEventFd } from '../eventfd.js';
import type { ExtraRegion, ExtraRegions } from '../extra-regions.js';
import { InfoCaps } from '../info-caps.js';
import type { IrqSet } from '../irq-set.js';
import type { RegionInfo } from '../region-info.js';
import { rules } from './fault-rules.js';

const FAULT_REGION = ringBytes(FAULT_BYTES);
const RESPONSE_REGION = ringBytes(iommu_page_response.size);
const VERSION = 1;
/** The program's index is the first word of a region. */
const INDEX_BYTES = 4;

/** A capability: its header, then words. */
const capOf = (id: number, ...words: number[]): Uint8Array =>
  new Uint8Array(new Uint32Array([id | (VERSION << 16), 0, ...words]).buffer);

export class FaultRegions implements ExtraRegions, RingOwner {
  readonly regions: readonly RingRegion[];
  readonly irqCaps = new InfoCaps();
  readonly #rings: FaultRings;
  #event: EventCounter | null = null;

  constructor(
    readonly env: Env,
    readonly memory: Uint8Array,
  ) {
    const faults = new RingRegion(
      memory.subarray(0, FAULT_REGION),
      FAULT_BYTES,
      u.VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT,
      u.VFIO_REGION_INFO_CAP_DMA_FAULT,
      () => {},
    );
    const responses = new RingRegion(
      memory.subarray(FAULT_REGION),
      iommu_page_response.size,
      u.VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT_RESPONSE,
      u.VFIO_REGION_INFO_CAP_DMA_FAULT_RESPONSE,
      () => this.#rings.takeResponses(),
    );
    this.regions = [faults, responses];
    this.#rings = new FaultRings(faults.ring, responses.ring, this);
    this.irqCaps.add(capOf(u.VFIO_IRQ_INFO_CAP_TYPE, u.VFIO_IRQ_TYPE_NESTED, u.VFIO_IRQ_SUBTYPE_DMA_FAULT));
  }

  /** Of a device that is being opened. */
  static open(env: Env, device: string): FaultRegions {
    const memory = env.sharedMemory(FAULT_REGION + RESPONSE_REGION);
    if (memory === null) refuse(rules.nesting_fault_memory, { device });
    return new FaultRegions(env, memory);
  }

  /** A region is of one device. */
  deviceId(): number {
    return 0;
  }

  signal(): void {
    this.#event?.signal();
  }

  deliver(group: PageFaultGroup): void {
    if (this.#event === null) respondGroup(group, PageResponseCode.INVALID);
    else this.#rings.deliver(group);
  }

  report(handle: AttachHandle, fault: UnrecoverableFault): void {
    if (this.#event !== null) this.#rings.report(handle, fault);
  }

  abandon(handle: AttachHandle): void {
    this.#rings.abandon(handle);
  }

  setIrq({ user, start, count, kind, action, values }: IrqSet): void {
    if (action !== v.VFIO_IRQ_SET_ACTION_TRIGGER) refuse(rules.nesting_fault_action, { action });
    if (kind === v.VFIO_IRQ_SET_DATA_NONE && count === 0) return this.#listen(null);
    const fd = values[0];
    if (kind !== v.VFIO_IRQ_SET_DATA_EVENTFD || fd === undefined)
      refuse(rules.nesting_fault_eventfd, { start, count });
    this.#listen(fd < 0 ? null : takeEventFd(user, fd));
  }

  #listen(event: EventCounter | null): void {
    this.#event?.close();
    this.#event = event;
  }

  /** The device is closed. */
  end(): void {
    this.#listen(null);
    this.#rings.abandon(null);
    this.env.freeSharedMemory(this.memory);
  }
}

/** One of them: a page of header, which calls read and write, and the entries, which are mapped. */
class RingRegion implements ExtraRegion {
  readonly ring: Ring;
  readonly #caps = new InfoCaps();

  constructor(
    readonly bytes: Uint8Array,
    entrySize: number,
    subtype: number,
    cap: number,
    /** The program has set its index. */
    readonly onIndex: () => void,
  ) {
    this.ring = new Ring(bytes, 0, entrySize);
    const mapped = bytes.length - PAGE;
    this.#caps.add(capOf(v.VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0, PAGE, 0, mapped, 0));
    this.#caps.add(capOf(v.VFIO_REGION_INFO_CAP_TYPE, u.VFIO_REGION_TYPE_NESTED, subtype));
    this.#caps.add(capOf(cap, VERSION));
  }

  info(): RegionInfo {
    const flags = v.VFIO_REGION_INFO_FLAG_READ | v.VFIO_REGION_INFO_FLAG_WRITE | v.VFIO_REGION_INFO_FLAG_MMAP;
    return { size: this.bytes.length, flags, caps: this.#caps };
  }

  read(offset: number, at: bigint, count: number, user: UserMemory): number {
    const size = this.bytes.length;
    if (offset >= size) refuse(rules.nesting_fault_read, { offset, size });
    const length = Math.min(count, size - offset);
    user.answer(at, this.bytes.subarray(offset, offset + length), rules.nesting_fault_unwritable);
    return length;
  }

  write(offset: number, at: bigint, count: number, user: UserMemory): number {
    if (offset !== 0 || count !== INDEX_BYTES) refuse(rules.nesting_fault_write, { offset, count });
    const index = user.copyU32(at, rules.nesting_fault_unreadable);
    if (index >= ENTRIES) refuse(rules.nesting_fault_index, { index, entries: ENTRIES });
    this.ring.theirs = index;
    this.onIndex();
    return INDEX_BYTES;
  }

  mmap(start: number, { length, shared }: MmapRequest): SharedPages {
    if (!shared) refuse(rules.nesting_fault_private, {});
    const size = this.bytes.length;
    if (start < PAGE || BigInt(start) + length > BigInt(size))
      refuse(rules.nesting_fault_range, { start, length, first: PAGE, size });
    const bytes = this.bytes.subarray(start, start + Number(length));
    return { bytes, opened: () => {}, closed: () => {}, onGone: null };
  }
}
