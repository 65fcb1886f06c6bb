/**
 * The invalidation queue, from the driver's side (VT-d 6.5.2; Linux: qi_submit_sync): descriptors are gathered, then
 * handed over together with a wait descriptor, whose status write says that all of them are done.
 * Invariant: when {@link InvalidationQueue.sync} returns, the hardware has done everything that was appended.
 */
import type { Mmio } from '../../../bus/mmio.js';
import { Bug } from '../../../base/errno.js';
import type { Events } from '../../../base/events.js';
import type { PhysicalMemory } from '../../../mem/physical.js';
import type { TableArena } from '../../../mem/table-store.js';
import { joinWords } from '../../../base/words.js';
import {
  FSTS_ICE,
  FSTS_IQE,
  FSTS_ITE,
  FSTS_REG,
  IQA_DW,
  IQA_REG,
  IQERCD_REG,
  IQH_REG,
  IQT_REG,
} from '../registers.js';
import { QI_WAIT } from '../structures.js';

/** 256 descriptors of 256 bits: two pages, QS = 1. */
const QI_LENGTH = 256;
const QUEUE_LG2 = 13;
const IQA_QS = 1n;
const WORDS = 8;
const SHIFT = 5;
/** Linux submits no more at once. */
const QI_MAX_BATCHED_DESC_COUNT = 16;

const QI_DONE = 2;
/** Wait descriptor, word 0. */
const STATUS_WRITE = 1 << 5;
const FENCE = 1 << 6;
const PAGE_REQUEST_DRAIN = 1 << 7;

const typeNames = [
  'UNKNOWN',
  'Context-cache Invalidation',
  'IOTLB Invalidation',
  'Device-TLB Invalidation',
  'Interrupt Entry Cache Invalidation',
  'Invalidation Wait',
  'PASID-based IOTLB Invalidation',
  'PASID-cache Invalidation',
  'PASID-based Device-TLB Invalidation',
  'Page Group Response',
];

const qw = (hi: number, lo: number): string => `0x${joinWords(hi, lo).toString(16)}`;

export class InvalidationQueue {
  /** Called when a submission has ended: what had to wait for it can happen now. */
  onIdle: () => void = () => {};
  /** The hardware is working on a submission, so nothing may be appended. */
  busy = false;
  readonly #mmio: Mmio;
  readonly #events: Events;
  readonly #frame: number;
  readonly #statusFrame: number;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #status: Int32Array;
  readonly #statusAt: number;
  #tail = 0;
  #batched = 0;

  constructor(memory: PhysicalMemory, mmio: Mmio, events: Events, arena: TableArena) {
    const { tables } = memory;
    this.#mmio = mmio;
    this.#events = events;
    this.#frame = arena.allocate(QUEUE_LG2);
    this.#statusFrame = arena.allocate(QUEUE_LG2 - 1);
    if (this.#frame === 0 || this.#statusFrame === 0) throw new Bug('no memory for an invalidation queue');
    this.#words = tables.wordsOf(this.#frame)!;
    this.#at = tables.wordOf(this.#frame);
    this.#status = tables.wordsOf(this.#statusFrame)!;
    this.#statusAt = tables.wordOf(this.#statusFrame);
  }

  /** Tells the hardware where the queue is; the caller enables it. */
  program(): void {
    this.#mmio.write32(IQT_REG, 0);
    this.#mmio.write64(IQA_REG, (BigInt(this.#frame) << 12n) | BigInt(IQA_DW) | IQA_QS);
  }

  /** Adds a descriptor by its first four 32-bit words; the others are 0. */
  append(w0: number, w1: number, w2: number, w3: number): void {
    if (this.#batched === QI_MAX_BATCHED_DESC_COUNT) this.sync();
    this.#put(w0, w1, w2, w3);
    this.#batched += 1;
  }

  /** Adds a wait that only keeps what follows behind what came before. */
  appendFence(): void {
    this.append(QI_WAIT | FENCE, QI_DONE, 0, 0);
  }

  /** Has the hardware do what was appended, if anything; `drain` also has it finish page requests (PD). */
  sync(drain = false): void {
    const count = this.#batched;
    if (count === 0) return;
    if (this.busy) throw new Bug('invalidations submitted while others are being done');
    const first = (this.#tail - count) & (QI_LENGTH - 1);
    this.busy = true;
    if (!this.#submit(drain)) this.#retry(first, count, drain);
    this.busy = false;
    this.#batched = 0;
    this.onIdle();
  }

  #put(w0: number, w1: number, w2: number, w3: number): void {
    const words = this.#words;
    const at = this.#at + this.#tail * WORDS;
    words[at] = w0;
    words[at + 1] = w1;
    words[at + 2] = w2;
    words[at + 3] = w3;
    words[at + 4] = 0;
    words[at + 5] = 0;
    words[at + 6] = 0;
    words[at + 7] = 0;
    this.#tail = (this.#tail + 1) & (QI_LENGTH - 1);
  }

  /** Adds the wait descriptor and rings. False: an invalidation was not answered, and the wait was aborted. */
  #submit(drain: boolean): boolean {
    const wait = this.#tail;
    const statusAt = this.#statusAt + wait;
    const hpaHi = this.#statusFrame >>> 20;
    const hpaLo = (this.#statusFrame << 12) | (wait << 2);
    this.#status[statusAt] = 0;
    this.#put(QI_WAIT | STATUS_WRITE | (drain ? PAGE_REQUEST_DRAIN : 0), QI_DONE, hpaLo, hpaHi);
    this.#mmio.write32(IQT_REG, this.#tail << SHIFT);
    while (this.#status[statusAt] !== QI_DONE) {
      const fault = this.#mmio.read32(FSTS_REG) & (FSTS_IQE | FSTS_ITE | FSTS_ICE);
      if (fault === 0) throw new Bug('the invalidation queue stands still');
      this.#logFault(fault);
      if ((fault & FSTS_IQE) !== 0) this.#skipBad(wait);
      if ((fault & FSTS_ICE) !== 0) this.#clear(FSTS_ICE, 'Invalidation Completion Error (ICE) cleared');
      if ((fault & FSTS_ITE) !== 0) {
        this.#clear(FSTS_ITE, 'Invalidation Time-out Error (ITE) cleared');
        if (this.#status[statusAt] !== QI_DONE) return false;
      }
    }
    return true;
  }

  /**
   * Once more. OURS: Linux goes on for as long as the device is there; here a device that did not answer twice is
   * taken to be gone, as one that has been removed is there.
   */
  #retry(first: number, count: number, drain: boolean): void {
    for (let index = 0; index < count; index += 1) {
      const at = this.#at + ((first + index) & (QI_LENGTH - 1)) * WORDS;
      const words = this.#words;
      this.#put(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!);
    }
    this.#submit(drain);
  }

  /** The head stands on the bad descriptor: the wait takes its place. */
  #skipBad(wait: number): void {
    const head = this.#mmio.read32(IQH_REG) >>> SHIFT;
    const from = this.#at + wait * WORDS;
    this.#words.copyWithin(this.#at + head * WORDS, from, from + WORDS);
    this.#clear(FSTS_IQE, 'Invalidation Queue Error (IQE) cleared');
  }

  #clear(bit: number, text: string): void {
    this.#mmio.write32(FSTS_REG, bit);
    this.#events.emit({ kind: 'log', level: 'info', text: `DMAR: ${text}` });
  }

  /** qi_dump_fault. */
  #logFault(fault: number): void {
    const record = this.#mmio.read64(IQERCD_REG);
    const hex = (from: bigint, width: bigint): string =>
      ((record >> from) & ((1n << width) - 1n)).toString(16);
    if ((fault & FSTS_IQE) !== 0) {
      this.#err(`VT-d detected Invalidation Queue Error: Reason ${hex(0n, 4n)}`);
    }
    if ((fault & FSTS_ITE) !== 0) {
      this.#err(`VT-d detected Invalidation Time-out Error: SID ${hex(32n, 16n)}`);
    }
    if ((fault & FSTS_ICE) !== 0) {
      this.#err(`VT-d detected Invalidation Completion Error: SID ${hex(48n, 16n)}`);
    }
    const head = this.#mmio.read32(IQH_REG) >>> SHIFT;
    this.#err(`QI HEAD: ${this.#describe(head)}`);
    this.#err(`QI PRIOR: ${this.#describe((head - 1) & (QI_LENGTH - 1))}`);
  }

  #describe(index: number): string {
    const at = this.#at + index * WORDS;
    const [w0, w1, w2, w3] = this.#words.subarray(at, at + 4) as unknown as [number, number, number, number];
    return `${typeNames[w0 & 0xf] ?? 'UNKNOWN'} qw0 = ${qw(w1, w0)}, qw1 = ${qw(w3, w2)}`;
  }

  #err(text: string): void {
    this.#events.emit({ kind: 'log', level: 'err', text: `DMAR: ${text}` });
  }
}
