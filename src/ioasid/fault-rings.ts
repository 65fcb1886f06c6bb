/**
 * Faults through memory: page requests and faults that ended a request go into one ring, responses come out of another.
 * Nobody waits: what does not fit is counted, and a page request that does not fit is answered FAILURE. The same for
 * every bus, with and without PASID, whoever shows the rings to a program.
 */
import type { AttachHandle } from '../hw/group.js';
import { PageRequestFlags, respondGroup, type PageFaultGroup } from '../hw/iopf.js';
import { PageResponseCode, type UnrecoverableFault } from '../hw/unit.js';
import * as uapi from '../wire/uapi/iommu.js';
import { ENTRIES, type Ring } from './ring.js';

export const FAULT_BYTES = uapi.iommu_fault_prm.size;
/** The longest that an entry of responses may be. */
export const RESPONSE_BYTES = uapi.ioasid_page_response.size;

export interface RingOwner {
  /** How entries name the device of an attachment. */
  deviceId(handle: AttachHandle): number;
  /** Something was put into the ring, or lost. */
  signal(): void;
}

export class FaultRings {
  readonly #waiting = new Set<PageFaultGroup>();

  constructor(
    readonly faults: Ring,
    readonly responses: Ring,
    readonly owner: RingOwner,
  ) {}

  /** A group waits for its response once all of it is in the ring. */
  deliver(group: PageFaultGroup): void {
    const dev_id = this.owner.deviceId(group.handle);
    for (const { flags, pasid, grpid, perm, addr } of group.faults) {
      const entry = this.faults.freeEntry();
      if (entry === null) {
        // What of the group is in the ring already will find nobody who waits.
        this.#lose();
        respondGroup(group, PageResponseCode.FAILURE);
        return;
      }
      const type = uapi.IOMMU_FAULT_PAGE_REQ;
      entry.fill(0);
      uapi.iommu_fault_prm.encode({ type, dev_id, flags, pasid, grpid, perm, addr }, entry);
      this.faults.produced();
    }
    this.#waiting.add(group);
    this.owner.signal();
  }

  /** A fault that ended a request by this attachment. */
  report(handle: AttachHandle, { reason, pasid, perm, addr }: UnrecoverableFault): void {
    const entry = this.faults.freeEntry();
    if (entry === null) return this.#lose();
    const hasPasid = pasid === null ? 0 : uapi.IOMMU_FAULT_UNRECOV_PASID_VALID;
    entry.fill(0);
    uapi.iommu_fault_unrecov.encode(
      {
        type: uapi.IOMMU_FAULT_DMA_UNRECOV,
        dev_id: this.owner.deviceId(handle),
        reason,
        flags: hasPasid | uapi.IOMMU_FAULT_UNRECOV_ADDR_VALID,
        pasid: pasid ?? 0,
        perm,
        addr,
        fetch_addr: 0n,
      },
      entry,
    );
    this.faults.produced();
    this.owner.signal();
  }

  #lose(): void {
    this.faults.count();
    this.owner.signal();
  }

  /** As many as there are entries, so that a program which writes faster than they are read holds up nobody. */
  takeResponses(): void {
    const { responses } = this;
    const bytes = new Uint8Array(RESPONSE_BYTES);
    for (let taken = 0; taken < ENTRIES; taken++) {
      const entry = responses.nextEntry();
      if (entry === null) return;
      // Entries that name no device end before its field, which stays 0.
      bytes.set(entry);
      responses.consumed();
      if (!this.#respond(uapi.ioasid_page_response.decode(bytes))) responses.count();
    }
  }

  /** False: nobody waits for this, or it is no response. */
  #respond({ argsz, version, flags, pasid, grpid, code, dev_id }: uapi.IoasidPageResponse): boolean {
    if (argsz < this.responses.entrySize || version !== uapi.IOMMU_PAGE_RESP_VERSION_1) return false;
    if (code > uapi.IOMMU_PAGE_RESP_FAILURE) return false;
    const hasPasid = (flags & uapi.IOMMU_PAGE_RESP_PASID_VALID) !== 0;
    for (const group of this.#waiting) {
      const last = group.faults[group.faults.length - 1]!;
      const isIts =
        this.owner.deviceId(group.handle) === dev_id &&
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

  /** Nobody answers any more to what came by `handle`, or (null) at all. */
  abandon(handle: AttachHandle | null): void {
    for (const group of [...this.#waiting]) {
      if (handle !== null && group.handle !== handle) continue;
      this.#waiting.delete(group);
      respondGroup(group, PageResponseCode.INVALID);
    }
  }
}
