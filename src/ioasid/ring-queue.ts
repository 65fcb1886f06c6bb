/**
 * Faults through memory: page requests and faults that ended a request go into a ring that the program maps, an eventfd
 * is signalled, and responses come back through a second ring. Nobody waits: what does not fit is counted, and a page
 * request that does not fit is answered FAILURE. The same for every bus, with and without PASID.
 */
import { refuse } from '../base/errno.js';
import type { AttachHandle } from '../hw/group.js';
import { PageRequestFlags, respondGroup, type PageFaultGroup } from '../hw/iopf.js';
import { PageResponseCode, type UnrecoverableFault } from '../hw/unit.js';
import type { Context } from '../iommufd/context.js';
import type { DeviceHandle } from '../iommufd/device.js';
import { FaultQueue } from '../iommufd/fault-queue.js';
import type { EventCounter, MmapRequest, SharedPages } from '../mem/task.js';
import * as uapi from '../wire/uapi/iommu.js';
import { ENTRIES, Ring } from './ring.js';
import { rules } from './rules.js';

const PAGE = 4096;
const FAULT_BYTES = uapi.iommu_fault_prm.size;
const RESPONSE_BYTES = uapi.ioasid_page_response.size;
const RESPONSES_AT = PAGE + ENTRIES * FAULT_BYTES;
/** Two header pages and two rings. */
export const RING_BYTES = RESPONSES_AT + PAGE + ENTRIES * RESPONSE_BYTES;

export interface RingEvents {
  /** Signalled when something was put into the ring, or lost. */
  readonly faults: EventCounter;
  /** The program signals it when it has written responses. */
  readonly responses: EventCounter;
}

export class RingQueue extends FaultQueue {
  override readonly fileName: string = '[ioasid-fault]';
  readonly #faults: Ring;
  readonly #responses: Ring;
  readonly #waiting = new Set<PageFaultGroup>();
  readonly #pages: SharedPages;

  constructor(
    context: Context,
    readonly memory: Uint8Array,
    readonly events: RingEvents,
  ) {
    super(context);
    this.#faults = new Ring(memory, 0, FAULT_BYTES, PAGE);
    this.#responses = new Ring(memory, RESPONSES_AT, RESPONSE_BYTES, PAGE);
    events.responses.watch(() => this.#takeResponses());
    // A mapping keeps the queue, and with it the memory.
    this.#pages = {
      bytes: memory,
      opened: () => void (this.users += 1),
      closed: () => void (this.users -= 1),
      onGone: null,
    };
  }

  /** A group waits for its response once all of it is in the ring. */
  override deliver(group: PageFaultGroup): void {
    const { bound } = group.handle as DeviceHandle;
    for (const { flags, pasid, grpid, perm, addr } of group.faults) {
      const entry = this.#faults.freeEntry();
      if (entry === null) {
        // What of the group is in the ring already will find nobody who waits.
        this.#lose();
        respondGroup(group, PageResponseCode.FAILURE);
        return;
      }
      const type = uapi.IOMMU_FAULT_PAGE_REQ;
      const record = { type, dev_id: bound.id, flags, pasid, grpid, perm, addr };
      entry.fill(0);
      uapi.iommu_fault_prm.encode(record, entry);
      this.#faults.produced();
    }
    this.#waiting.add(group);
    this.events.faults.signal();
  }

  /** A fault that ended a request of `handle`'s device. */
  override report(handle: AttachHandle, { reason, pasid, perm, addr }: UnrecoverableFault): void {
    const entry = this.#faults.freeEntry();
    if (entry === null) return this.#lose();
    const hasPasid = pasid === null ? 0 : uapi.IOMMU_FAULT_UNRECOV_PASID_VALID;
    entry.fill(0);
    uapi.iommu_fault_unrecov.encode(
      {
        type: uapi.IOMMU_FAULT_DMA_UNRECOV,
        dev_id: (handle as DeviceHandle).bound.id,
        reason,
        flags: hasPasid | uapi.IOMMU_FAULT_UNRECOV_ADDR_VALID,
        pasid: pasid ?? 0,
        perm,
        addr,
        fetch_addr: 0n,
      },
      entry,
    );
    this.#faults.produced();
    this.events.faults.signal();
  }

  #lose(): void {
    this.#faults.count();
    this.events.faults.signal();
  }

  /** As many as there are entries, so that a program which writes faster than they are read holds up nobody. */
  #takeResponses(): void {
    for (let taken = 0; taken < ENTRIES; taken++) {
      const entry = this.#responses.nextEntry();
      if (entry === null) return;
      this.#responses.consumed();
      if (!this.#respond(uapi.ioasid_page_response.decode(entry))) this.#responses.count();
    }
  }

  /** False: nobody waits for this, or it is no response. */
  #respond({ argsz, version, flags, pasid, grpid, code, dev_id }: uapi.IoasidPageResponse): boolean {
    if (argsz < RESPONSE_BYTES || version !== uapi.IOMMU_PAGE_RESP_VERSION_1) return false;
    if (code > uapi.IOMMU_PAGE_RESP_FAILURE) return false;
    const hasPasid = (flags & uapi.IOMMU_PAGE_RESP_PASID_VALID) !== 0;
    for (const group of this.#waiting) {
      const last = group.faults[group.faults.length - 1]!;
      const isIts =
        (group.handle as DeviceHandle).bound.id === dev_id &&
        last.grpid === grpid &&
        ((last.flags & PageRequestFlags.PASID_VALID) !== 0) === hasPasid &&
        (!hasPasid || last.pasid === pasid);
      if (!isIts) continue;
      this.#waiting.delete(group);
      respondGroup(group, code);
      return true;
    }
    return false;
  }

  override autoRespond(handle: AttachHandle): void {
    for (const group of [...this.#waiting]) {
      if (group.handle !== handle) continue;
      this.#waiting.delete(group);
      respondGroup(group, PageResponseCode.INVALID);
    }
  }

  override read(): number {
    refuse(rules.ring_read, {});
  }

  override write(): number {
    refuse(rules.ring_write, {});
  }

  mmap({ offset, length, shared }: MmapRequest): SharedPages {
    if (!shared) refuse(rules.ring_private, {});
    if (offset !== 0n || length !== BigInt(RING_BYTES)) {
      refuse(rules.ring_range, { offset, length, size: RING_BYTES });
    }
    return this.#pages;
  }

  override destroy(): void {
    for (const group of this.#waiting) respondGroup(group, PageResponseCode.INVALID);
    this.#waiting.clear();
    this.events.responses.watch(null);
    this.events.faults.close();
    this.events.responses.close();
    this.#pages.onGone?.();
    this.context.env.freeSharedMemory(this.memory);
  }
}
