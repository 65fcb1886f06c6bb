/**
 * Invalidation queue (section 6.5.2). A write to IQT_REG does all that is queued before it returns; each descriptor is
 * judged by one row of a table: which bits must be zero, and what it does. The first one that is wrong stops the queue
 * with its head on it (FSTS_REG.IQE) until software has cleared the error; a device that did not answer makes the next
 * wait fail (ITE).
 */
import { ALL_PASIDS, NO_PASID, type EndpointRouter } from '../../bus/dma.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import type { Abilities } from './capabilities.js';
import type { Caches } from './caches.js';
import type { FaultRecords } from './faults.js';
import type { Interrupt } from './interrupt.js';
import type { RegisterFile } from './register-file.js';
import * as reg from './registers.js';
import * as qi from './structures.js';

const PAGE = -1 << 12;
const WAIT_IF = 1 << 4;
const WAIT_SW = 1 << 5;
const WAIT_PD = 1 << 7;
const IH = 1 << 6;
const AM_MASK = 0x3f;
const DTLB_S = 1 << 0;
const PASID_DTLB_S = 1 << 11;
const PASID_DTLB_G = 1 << 0;
const RESPONSE_PASID_PRESENT = 1 << 4;
const PASID_MASK = 0xfffff;
const STOPPED = reg.FSTS_IQE | reg.FSTS_ITE;
/** Words of a descriptor. */
const WORDS = 8;

/** What a descriptor did: nothing wrong, or the IQEI of what was. */
const DONE = 0;
/** It is done with, but the queue stops behind it. */
const HALT = -1;

interface Row {
  /** Bits that must be zero in words 0 to 3. */
  readonly reserved: readonly [number, number, number, number];
  readonly run: (words: Int32Array) => number;
  /** Legacy mode has none of it (Table 26). */
  readonly isScalable?: true;
}

export interface QueueParts {
  readonly registers: RegisterFile;
  readonly memory: PhysicalMemory;
  readonly caches: Caches;
  readonly faults: FaultRecords;
  readonly endpoints: EndpointRouter;
  readonly completion: Interrupt;
}

export class InvalidationQueue {
  isEnabled = false;
  /** Descriptors done, by type, ever. */
  readonly done = new Int32Array(16);

  readonly #parts: QueueParts;
  readonly #can: Abilities;
  readonly #rows: readonly (Row | undefined)[];
  readonly #words = new Int32Array(WORDS);
  /** The device that did not answer, since the last wait; -1: none. */
  #silent = -1;
  #isBusy = false;
  /** How often the queue was switched: a descriptor may reach whoever does so. */
  #session = 0;

  constructor(parts: QueueParts, can: Abilities) {
    this.#parts = parts;
    this.#can = can;
    this.#rows = this.#table(can);
  }

  /** GCMD_REG.QIE has changed. */
  enable(isEnabled: boolean): void {
    this.isEnabled = isEnabled;
    this.#parts.registers.set(reg.IQH_REG, 0);
    this.#silent = -1;
    this.#session = (this.#session + 1) | 0;
  }

  /** Does what is queued; called when the tail moves and when an error is cleared. */
  process(): void {
    // A device or an interrupt handler that moves the tail meanwhile is served by the loop that runs.
    if (this.#isBusy) return;
    this.#isBusy = true;
    const { registers } = this.#parts;
    // One turn of the largest queue, so that nobody who moves the tail for ever holds up everybody.
    for (let left = 1 << 15; left > 0 && (registers.get(reg.FSTS_REG) & STOPPED) === 0; left -= 1) {
      if (!this.isEnabled || registers.get(reg.IQT_REG) === registers.get(reg.IQH_REG)) break;
      this.#step();
    }
    this.#isBusy = false;
  }

  #step(): void {
    const { registers } = this.#parts;
    const control = registers.get(reg.IQA_REG);
    const is256 = (control & reg.IQA_DW) !== 0;
    const bytes = is256 ? qi.QI_DESCRIPTOR_256 : qi.QI_DESCRIPTOR_128;
    const size = 1 << ((control & reg.QUEUE_SIZE_MASK) + 12);
    const tail = registers.get(reg.IQT_REG);
    const head = registers.get(reg.IQH_REG);
    const wrong = this.#wrongMode(is256);
    if (wrong !== DONE) return this.#stop(wrong);
    if (tail >= size || head >= size) return this.#stop(reg.IQEI_TAIL);
    if ((tail & (bytes - 1)) !== 0) return this.#stop(reg.IQEI_ALIGNMENT);
    if (!this.#fetch(registers.get(reg.IQA_REG + 4), (control & PAGE) + head, bytes)) {
      return this.#stop(reg.IQEI_FETCH);
    }
    const session = this.#session;
    const result = this.#run();
    if (session !== this.#session) return;
    if (result > DONE) return this.#stop(result);
    registers.set(reg.IQH_REG, (head + bytes) & (size - 1));
    if (result === HALT) this.#timeOut();
  }

  /** Section 11.4.9.9: a TTM or a descriptor width that the unit does not have, or not together. */
  #wrongMode(is256: boolean): number {
    const { ttm } = this.#parts.caches.contexts;
    const { scalable } = this.#can;
    if (ttm !== reg.TTM_LEGACY && !(ttm === reg.TTM_SCALABLE && scalable)) return reg.IQEI_TTM;
    const isWidthKnown = is256 ? scalable : ttm === reg.TTM_LEGACY;
    return isWidthKnown ? DONE : reg.IQEI_WIDTH;
  }

  #fetch(hi: number, lo: number, bytes: number): boolean {
    const { memory } = this.#parts;
    const words = this.#words.fill(0);
    for (let at = 0; at < bytes; at += 8) {
      if (!memory.load64(hi, lo + at)) return false;
      words[at >> 2] = memory.loadedLo;
      words[(at >> 2) + 1] = memory.loadedHi;
    }
    return true;
  }

  #run(): number {
    const words = this.#words;
    const type = (words[0]! & 0xf) | ((words[0]! & 0xe00) >>> 5);
    const row = this.#rows[type];
    const { isLegacy } = this.#parts.caches.contexts;
    if (row === undefined || (row.isScalable === true && isLegacy)) return reg.IQEI_TYPE;
    let reserved = words[4]! | words[5]! | words[6]! | words[7]!;
    for (let at = 0; at < 4; at += 1) reserved |= words[at]! & row.reserved[at]!;
    if (reserved !== 0) return reg.IQEI_RESERVED;
    const result = row.run(words);
    if (result <= DONE) this.done[type]! += 1;
    return result;
  }

  #stop(code: number): void {
    this.#parts.registers.set(reg.IQERCD_REG, code);
    this.#parts.faults.queueError(reg.FSTS_IQE);
  }

  /** The wait that was just passed is not completed: software finds its device in ITESID. */
  #timeOut(): void {
    this.#parts.registers.set(reg.IQERCD_REG + 4, this.#silent);
    this.#silent = -1;
    this.#parts.faults.queueError(reg.FSTS_ITE);
  }

  /** By type: bits that must be 0, as figures 6-1 to 6-9 and 7-2 have them. */
  #table(can: Abilities): (Row | undefined)[] {
    const { caches } = this.#parts;
    const rows: (Row | undefined)[] = [];
    // PFSID lies in bits that are reserved on units without device-IOTLB throttling.
    rows[qi.QI_CONTEXT_CACHE] = {
      reserved: [0xf1c0, 0xfffc_0000 | 0, -1, -1],
      run: (w) =>
        granularity(caches.invalidateContexts((w[0]! >>> 4) & 3, w[0]! >>> 16, w[1]! & 0xffff, w[1]! >>> 16)),
    };
    rows[qi.QI_IOTLB] = {
      reserved: [0xf100, -1, 0xf80, 0],
      run: (w) => granularity(caches.invalidateIotlb(...iotlbOf(w))),
    };
    rows[qi.QI_PASID_IOTLB] = {
      isScalable: true,
      reserved: [0xf1c0, 0xfff0_0000 | 0, 0xf80, 0],
      run: (w) => {
        const [kind, did, hi, lo, am, leafOnly] = iotlbOf(w);
        return granularity(caches.invalidatePasidIotlb(kind, did, w[1]! & PASID_MASK, hi, lo, am, leafOnly));
      },
    };
    rows[qi.QI_PASID_CACHE] = {
      isScalable: true,
      reserved: [0xf1c0, 0xfff0_0000 | 0, -1, -1],
      run: (w) => granularity(caches.invalidatePasids((w[0]! >>> 4) & 3, w[0]! >>> 16, w[1]! & PASID_MASK)),
    };
    // Section 6.5.2.8: no interrupt entry is ever cached.
    rows[qi.QI_INTERRUPT_ENTRY] = { reserved: [0x07ff_f1e0, -1 << 16, -1, -1], run: () => DONE };
    const drain = can.drainsPageRequests ? 0 : WAIT_PD;
    rows[qi.QI_WAIT] = { reserved: [0xffff_f100 | 0 | drain, 0, 3, 0], run: (w) => this.#wait(w) };
    // Bit 2 of word 2 was a field once, and is ignored.
    if (can.pageRequests) {
      rows[qi.QI_PAGE_GROUP_RESPONSE] = {
        isScalable: true,
        reserved: [0x1e0, 0xfff0_0000 | 0, 0xffff_f003 | 0, -1],
        run: (w) => this.#respond(w),
      };
    }
    return can.deviceTlb ? this.#withDeviceTlbs(rows, can) : rows;
  }

  /** A unit without device-TLBs has no such descriptor. */
  #withDeviceTlbs(rows: (Row | undefined)[], { throttles }: Abilities): (Row | undefined)[] {
    rows[qi.QI_DEVICE_TLB] = {
      reserved: throttles ? [0xffe0_01f0 | 0, 0x000f_0000, 0xffe, 0] : [0xffe0_f1f0 | 0, -1 << 16, 0xffe, 0],
      run: (w) => this.#deviceTlb(w[1]! & 0xffff, NO_PASID, w, DTLB_S),
    };
    rows[qi.QI_PASID_DEVICE_TLB] = {
      isScalable: true,
      reserved: throttles ? [0, 0, 0x7fe, 0] : [0xf000, 0xfff0_0000 | 0, 0x7fe, 0],
      run: (w) => {
        const pasid = (w[2]! & PASID_DTLB_G) === 0 ? w[1]! & PASID_MASK : ALL_PASIDS;
        return this.#deviceTlb(w[0]! >>> 16, pasid, w, PASID_DTLB_S);
      },
    };
    return rows;
  }

  /** Sections 6.5.2.5 and 6.5.2.6; S: the ones from bit 12 on say how large the range is. */
  #deviceTlb(source: number, pasid: number, words: Int32Array, s: number): number {
    let hi = words[3]!;
    let lo = words[2]! & PAGE;
    let sizeLg2 = 12;
    if ((words[2]! & s) !== 0) {
      const filled = lo | ~PAGE;
      sizeLg2 = trailingOnes(hi, filled) + 1;
      // The address is what is left without the ones.
      if (filled === -1) hi &= hi + 1;
      lo = filled & (filled + 1);
    }
    const session = this.#session;
    const endpoint = this.#parts.endpoints.endpoint(source);
    const isAnswered = endpoint !== null && endpoint.invalidateDeviceTlb(pasid, hi, lo, sizeLg2);
    if (!isAnswered && session === this.#session) this.#silent = source;
    return DONE;
  }

  /** Section 6.5.2.9. All before it is done, so fence and drain have nothing left to do. */
  #wait(words: Int32Array): number {
    const { registers, memory, completion } = this.#parts;
    const flags = words[0]!;
    if (this.#silent >= 0) return HALT;
    // Bits above the host address width are ignored.
    const hi = words[3]! & ~this.#can.beyondHaw;
    if ((flags & WAIT_SW) !== 0 && !storeStatus(memory, hi, words[2]!, words[1]!)) return reg.IQEI_FETCH;
    if ((flags & WAIT_IF) !== 0 && (registers.get(reg.ICS_REG) & reg.ICS_IWC) === 0) {
      registers.set(reg.ICS_REG, reg.ICS_IWC);
      completion.raise();
    }
    return DONE;
  }

  /** Section 7.6.1: the answer goes to the device that asked, if it still is there. */
  #respond(words: Int32Array): number {
    const pasid = (words[0]! & RESPONSE_PASID_PRESENT) === 0 ? NO_PASID : words[1]! & PASID_MASK;
    const group = (words[2]! >>> 3) & 0x1ff;
    const code = (words[0]! >>> 12) & 0xf;
    this.#parts.endpoints.endpoint(words[0]! >>> 16)?.pageGroupResponse(pasid, group, code);
    return DONE;
  }
}

function granularity(isKnown: boolean): number {
  return isKnown ? DONE : reg.IQEI_RESERVED;
}

/** Granularity, domain, address, AM and IH of an IOTLB invalidation. */
function iotlbOf(words: Int32Array): [number, number, number, number, number, boolean] {
  const lo = words[2]!;
  return [(words[0]! >>> 4) & 3, words[0]! >>> 16, words[3]!, lo & PAGE, lo & AM_MASK, (lo & IH) !== 0];
}

/** The four bytes that a wait descriptor asks for. */
function storeStatus(memory: PhysicalMemory, hi: number, lo: number, data: number): boolean {
  if (!memory.load64(hi, lo & ~7)) return false;
  const isUpper = (lo & 4) !== 0;
  return memory.store64(hi, lo & ~7, isUpper ? data : memory.loadedHi, isUpper ? memory.loadedLo : data);
}

/** How many ones a value ends in, 63 at most. */
function trailingOnes(hi: number, lo: number): number {
  const zerosLo = ~lo;
  if (zerosLo !== 0) return 31 - Math.clz32(zerosLo & -zerosLo);
  const zerosHi = ~hi | (1 << 31);
  return 63 - Math.clz32(zerosHi & -zerosHi);
}
