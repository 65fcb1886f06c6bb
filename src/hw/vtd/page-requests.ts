/**
 * Page request queue (section 7.4): what devices ask for, in memory, for software to answer through the invalidation
 * queue. A full queue is noted (PRS_REG.PRO) and answered for software, so that no device waits for ever.
 */
import {
  DMA_EXEC,
  DMA_PRIV,
  DMA_READ,
  DMA_WRITE,
  NO_PASID,
  PRG_INVALID,
  PRG_SUCCESS,
  type EndpointRouter,
  type PageRequestMessage,
} from '../../bus/dma.js';
import { highWord, lowWord } from '../../base/words.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import type { Caches } from './caches.js';
import type { FaultRecords } from './faults.js';
import type { Interrupt } from './interrupt.js';
import type { RegisterFile } from './register-file.js';
import * as reg from './registers.js';
import * as bits from './structures.js';

const PAGE = -1 << 12;

export interface PageRequestParts {
  readonly registers: RegisterFile;
  readonly memory: PhysicalMemory;
  readonly caches: Caches;
  readonly faults: FaultRecords;
  readonly endpoints: EndpointRouter;
  readonly interrupt: Interrupt;
}

export class PageRequests {
  /** Requests that were answered because the queue was full, ever; for people. */
  overflowed = 0;
  readonly #parts: PageRequestParts;

  constructor(parts: PageRequestParts) {
    this.#parts = parts;
  }

  request(message: PageRequestMessage): void {
    const { caches, faults } = this.#parts;
    const { contexts } = caches;
    const { sourceId, pasid, address, access } = message;
    const hi = highWord(address);
    const lo = lowWord(address);
    const row = contexts.findForPageRequest(sourceId, pasid);
    if (row < 0) {
      faults.pageRequestRefused(contexts.reason, sourceId, pasid, hi, lo, access, contexts.isSilenced);
      this.#answer(message, PRG_INVALID);
      return;
    }
    if (!this.#enqueue(message)) {
      this.overflowed += 1;
      this.#raise(reg.PRS_PRO);
      this.#answer(message, PRG_SUCCESS);
      return;
    }
    caches.invalidateForPageRequest(row, hi, lo);
    this.#raise(reg.PRS_PPR);
  }

  /** Software has written PRS_REG. */
  statusCleared(): void {
    const { registers, interrupt } = this.#parts;
    if ((registers.get(reg.PRS_REG) & (reg.PRS_PPR | reg.PRS_PRO)) === 0) interrupt.withdraw();
  }

  /** False: the queue is full or has been, or is not in memory. */
  #enqueue(message: PageRequestMessage): boolean {
    const { registers, memory } = this.#parts;
    if ((registers.get(reg.PRS_REG) & reg.PRS_PRO) !== 0) return false;
    const size = registers.get(reg.PQA_REG) & reg.QUEUE_SIZE_MASK;
    const mask = (1 << (size + 12)) - 1;
    const tail = registers.get(reg.PQT_REG) & mask;
    const next = (tail + bits.PAGE_REQUEST) & mask;
    if (next === (registers.get(reg.PQH_REG) & mask)) return false;
    const base = registers.get(reg.PQA_REG) & PAGE;
    const hi = registers.get(reg.PQA_REG + 4);
    const at = base + tail;
    const { pasid, access } = message;
    const isPresent = pasid !== NO_PASID;
    const low =
      bits.PR_TYPE_REQUEST |
      (isPresent ? bits.PR_PASID_PRESENT : 0) |
      (message.sourceId << bits.PR_SOURCE_SHIFT);
    const modifiers =
      ((access & DMA_EXEC) === 0 ? 0 : bits.PR_EXECUTE) |
      ((access & DMA_PRIV) === 0 ? 0 : bits.PR_PRIVILEGED);
    const stored =
      memory.store64(hi, at, isPresent ? pasid | modifiers : 0, low) &&
      memory.store64(hi, at + 8, highWord(message.address), requestLow(message)) &&
      memory.store64(hi, at + 16, 0, 0) &&
      memory.store64(hi, at + 24, 0, 0);
    if (stored) registers.set(reg.PQT_REG, next);
    return stored;
  }

  #raise(bit: number): void {
    const { registers, interrupt } = this.#parts;
    const status = registers.get(reg.PRS_REG);
    registers.set(reg.PRS_REG, status | bit);
    if (status === 0) interrupt.raise();
  }

  /** A group gets one answer, for its last request. */
  #answer({ sourceId, pasid, group, last }: PageRequestMessage, code: number): void {
    if (last) this.#parts.endpoints.endpoint(sourceId)?.pageGroupResponse(pasid, group, code);
  }
}

function requestLow({ address, access, group, last }: PageRequestMessage): number {
  const asks =
    ((access & DMA_READ) === 0 ? 0 : bits.PR_READ) | ((access & DMA_WRITE) === 0 ? 0 : bits.PR_WRITE);
  return (
    (lowWord(address) & PAGE) |
    asks |
    (last ? bits.PR_LAST : 0) |
    ((group & bits.PR_GROUP_MASK) << bits.PR_GROUP_SHIFT)
  );
}
