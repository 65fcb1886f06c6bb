/**
 * The invalidations that Linux' driver makes, as descriptors (VT-d 6.5.2; Linux: qi_desc_*). Each method appends one;
 * {@link InvalidationQueue.sync} has them done. Orders are lg2 of 4 KiB pages; {@link EVERYTHING} is all of them.
 */
import { CAP, registerField } from '../registers.js';
import {
  QI_CONTEXT_CACHE,
  QI_DEVICE_TLB,
  QI_IOTLB,
  QI_PAGE_GROUP_RESPONSE,
  QI_PASID_CACHE,
  QI_PASID_DEVICE_TLB,
  QI_PASID_IOTLB,
} from '../structures.js';
import { IOMMU_NO_PASID } from '../../group.js';
import type { InvalidationQueue } from './queue.js';

/** MAX_AGAW_PFN_WIDTH. */
export const EVERYTHING = 52;

const DID_SHIFT = 16;
const GRANULARITY_SHIFT = 4;
/** Of context cache and IOTLB. */
const GLOBAL = 1 << GRANULARITY_SHIFT;
const DOMAIN = 2 << GRANULARITY_SHIFT;
const PAGES = 3 << GRANULARITY_SHIFT;
const DEVICE = 3 << GRANULARITY_SHIFT;
/** Of the PASID cache. */
const ONE_PASID = 1 << GRANULARITY_SHIFT;
const ALL_PASIDS = 3 << GRANULARITY_SHIFT;
/** Of the PASID-based IOTLB. */
const WHOLE_PASID = 2 << GRANULARITY_SHIFT;
const PAGES_OF_PASID = 3 << GRANULARITY_SHIFT;

/** IOTLB, word 0. */
const DRAIN_WRITES = 1 << 6;
const DRAIN_READS = 1 << 7;
/** IOTLB and PASID-based IOTLB, word 2: only leaves have changed. */
const INVALIDATION_HINT = 1 << 6;

const DEVICE_TLB_SIZE = 1 << 0;
const PASID_DEVICE_TLB_SIZE = 1 << 11;

const RESPONSE_HAS_PASID = 1 << 4;
const RESPONSE_CODE_SHIFT = 12;
const RESPONSE_GROUP_SHIFT = 3;

export class Commands {
  readonly #queue: InvalidationQueue;
  readonly #drains: number;
  readonly #hasPages: boolean;
  readonly #mostOrder: number;

  constructor(queue: InvalidationQueue, cap: bigint) {
    this.#queue = queue;
    this.#drains =
      (registerField(cap, CAP.DWD) === 0 ? 0 : DRAIN_WRITES) |
      (registerField(cap, CAP.DRD) === 0 ? 0 : DRAIN_READS);
    this.#hasPages = registerField(cap, CAP.PSI) === 1;
    this.#mostOrder = registerField(cap, CAP.MAMV);
  }

  contexts(): void {
    this.#queue.append(QI_CONTEXT_CACHE | GLOBAL, 0, 0, 0);
  }

  contextOf(sourceId: number): void {
    this.#queue.append(QI_CONTEXT_CACHE | DEVICE, sourceId, 0, 0);
  }

  pasidCaches(): void {
    this.#queue.append(QI_PASID_CACHE | ALL_PASIDS, 0, 0, 0);
  }

  pasidCache(did: number, pasid: number): void {
    this.#queue.append(QI_PASID_CACHE | ONE_PASID | (did << DID_SHIFT), pasid, 0, 0);
  }

  iotlbs(): void {
    this.#queue.append(QI_IOTLB | GLOBAL | this.#drains, 0, 0, 0);
  }

  iotlbOf(did: number): void {
    this.#queue.append(QI_IOTLB | DOMAIN | this.#drains | (did << DID_SHIFT), 0, 0, 0);
  }

  /** The second stage's translations of a range; all of the domain when the range is too large to say. */
  iotlb(did: number, hi: number, lo: number, order: number, leafOnly: boolean): void {
    if (!this.#hasPages || order > this.#mostOrder) {
      this.iotlbOf(did);
      return;
    }
    const w2 = lo | (leafOnly ? INVALIDATION_HINT : 0) | order;
    this.#queue.append(QI_IOTLB | PAGES | this.#drains | (did << DID_SHIFT), 0, w2, hi);
  }

  /** The same of a first stage, which a PASID names. */
  pasidIotlb(did: number, pasid: number, hi: number, lo: number, order: number, leafOnly: boolean): void {
    const w0 = QI_PASID_IOTLB | (did << DID_SHIFT);
    if (order >= EVERYTHING) {
      this.#queue.append(w0 | WHOLE_PASID, pasid, 0, 0);
      return;
    }
    this.#queue.append(w0 | PAGES_OF_PASID, pasid, lo | (leafOnly ? INVALIDATION_HINT : 0) | order, hi);
  }

  /** What the device has cached; without a PASID for the requester id alone. */
  deviceTlb(sourceId: number, pasid: number, hi: number, lo: number, order: number): void {
    // The size is said by the lowest address bit that is 0, from bit 12 on.
    const ones = order === 0 ? 0 : order - 1;
    const w3 = hi | ((1 << Math.max(0, ones - 20)) - 1);
    const w2 = lo | (((1 << Math.min(20, ones)) - 1) << 12);
    if (pasid === IOMMU_NO_PASID) {
      this.#queue.append(QI_DEVICE_TLB, sourceId, w2 | (order === 0 ? 0 : DEVICE_TLB_SIZE), w3);
    } else {
      const w0 = QI_PASID_DEVICE_TLB | (sourceId << 16);
      this.#queue.append(w0, pasid, w2 | (order === 0 ? 0 : PASID_DEVICE_TLB_SIZE), w3);
    }
  }

  /** `pasid` -1: the request had none. */
  pageGroupResponse(sourceId: number, pasid: number, group: number, code: number): void {
    const hasPasid = pasid >= 0;
    const w0 = QI_PAGE_GROUP_RESPONSE | (hasPasid ? RESPONSE_HAS_PASID : 0) | (code << RESPONSE_CODE_SHIFT);
    this.#queue.append(w0 | (sourceId << 16), hasPasid ? pasid : 0, group << RESPONSE_GROUP_SHIFT, 0);
  }
}
