/**
 * The DMA test device: masters memory in every way that a device can, and knows nothing of what translates for it.
 * An operation is a job. It runs at once as far as it gets; where a page request may cure what stopped it, it waits
 * for the response and goes on from there. Nothing here blocks, and responses may come at any time, also at once.
 */
import { invariant } from '../base/errno.js';
import { highWord, joinWords, lowWord } from '../base/words.js';
import {
  AT_TRANSLATION_REQUEST,
  NO_PASID,
  PRG_SUCCESS,
  PRG_INVALID,
  Translation,
  type Endpoint,
  type Translator,
} from '../bus/dma.js';
import { DmaPort } from '../bus/dma-port.js';
import type { PhysicalMemory } from '../mem/physical.js';
import { Legs } from './legs.js';
import { findMistake, Job, type JobReason, type Operation } from './operation.js';
import { PageRequests } from './page-requests.js';
import { TranslationCache, type StalenessOptions } from './translation-cache.js';

export interface DmaEngineOptions {
  readonly name: string;
  /** The requester id that its requests carry. */
  readonly sourceId: number;
  readonly translator: Translator;
  readonly memory: PhysicalMemory;
  /** PASIDs that it can send: below this. 0: none. */
  readonly maxPasids?: number;
  /** It has a translation cache. Default false. */
  readonly ats?: boolean;
  /** It can ask for pages; needs `ats`. Default false. */
  readonly pri?: boolean;
  /** Page requests that may be out at once. Default 32. */
  readonly outstandingRequests?: number;
  /** Pages that one group asks for. Default 8. */
  readonly pagesInGroup?: number;
  /** How it notices that its cache is stale; null: not at all. */
  readonly staleness?: StalenessOptions | null;
}

/** How often in a row a page may be missing after its request was answered SUCCESS. */
const RETRIES = 8;
const PAGE_MASK = 0xfffn;

export class DmaEngine implements Endpoint {
  readonly name: string;
  readonly sourceId: number;
  readonly maxPasids: number;
  /** Null: no ATS. */
  readonly cache: TranslationCache | null;
  /** Null: no PRI. */
  readonly requests: PageRequests | null;
  /** Unplugged: it answers no invalidation. */
  isGone = false;
  readonly #translator: Translator;
  /** Untranslated requests, and requests that go through the cache. */
  readonly #plain: Legs;
  readonly #cached: Legs | null;
  readonly #pagesInGroup: number;
  readonly #probe = new Translation();
  #lastId = 0;
  readonly #pending = new Set<Job>();
  /** Jobs that can go on, and those that wait for others' page requests to be answered. */
  #runnable: Job[] = [];
  #waiting: Job[] = [];
  #isRunning = false;

  constructor(options: DmaEngineOptions) {
    const { name, sourceId, translator, memory } = options;
    invariant(options.pri !== true || options.ats === true, `${name} has PRI without ATS`);
    this.name = name;
    this.sourceId = sourceId;
    this.maxPasids = options.maxPasids ?? 0;
    this.#translator = translator;
    this.#pagesInGroup = options.pagesInGroup ?? 8;
    this.cache =
      options.ats === true ? new TranslationCache(name, translator, options.staleness ?? null) : null;
    this.requests =
      options.pri === true ? new PageRequests(sourceId, translator, options.outstandingRequests ?? 32) : null;
    this.#plain = new Legs(new DmaPort(sourceId, translator, memory));
    this.#cached = this.cache === null ? null : new Legs(new DmaPort(sourceId, this.cache, memory));
  }

  /** All through which it masters memory. */
  get ports(): readonly DmaPort[] {
    return this.#cached === null ? [this.#plain.port] : [this.#plain.port, this.#cached.port];
  }

  /** Jobs that are not over. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Starts an operation; it may be over when this returns. Throws RangeError for one that the device cannot do. */
  submit(operation: Operation): Job {
    const mistake = this.#mistakeIn(operation);
    if (mistake !== null) throw new RangeError(`${this.name} cannot do ${mistake}`);
    const job = new Job(++this.#lastId, operation);
    this.#pending.add(job);
    this.#runnable.push(job);
    this.#run();
    return job;
  }

  #mistakeIn(operation: Operation): string | null {
    const { pasid = NO_PASID } = operation;
    if (operation.ats === true && this.cache === null) return 'ATS';
    if (operation.pri === true && (this.requests === null || operation.ats !== true)) return 'PRI';
    if (pasid !== NO_PASID && pasid >= this.maxPasids) return `PASID ${pasid}`;
    return findMistake(operation);
  }

  /** Ends a job that is not over; its page requests may still be answered, to nobody. */
  cancel(job: Job): void {
    if (this.#pending.has(job)) this.#end(job, 'failed', 'cancelled');
  }

  /** Ends everything, and empties the cache: what a function level reset does. */
  reset(): void {
    this.requests?.abandon();
    for (const job of this.#pending) this.#end(job, 'failed', 'cancelled');
    this.cache?.clear();
  }

  invalidateDeviceTlb(pasid: number, hi: number, lo: number, sizeLg2: number): boolean {
    if (this.cache === null || this.isGone) return false;
    this.cache.invalidate(pasid, hi, lo, sizeLg2);
    return true;
  }

  pageGroupResponse(pasid: number, group: number, code: number): void {
    this.requests?.respond(pasid, group, code);
    // There is room for those that wait.
    this.#runnable.push(...this.#waiting);
    this.#waiting = [];
    this.#run();
  }

  /** Lets every job that can go on do so. A response that comes meanwhile only adds to the list. */
  #run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      for (let job = this.#runnable.shift(); job !== undefined; job = this.#runnable.shift()) {
        if (this.#pending.has(job)) this.#advance(job);
      }
    } finally {
      this.#isRunning = false;
    }
  }

  #advance(job: Job): void {
    const legs = job.operation.ats === true ? this.#cached! : this.#plain;
    const before = job.bytes;
    const outcome = legs.advance(job);
    if (outcome === 'done') return this.#end(job, 'done', 'none');
    const { port } = legs;
    if (job.bytes > before) job.retries = 0;
    if (outcome === 'mismatch') return this.#end(job, 'failed', 'mismatch');
    job.faultIova = joinWords(port.stopHi, port.stopLo);
    job.faultAccess = port.stopAccess;
    if (port.stop === 'gone') return this.#end(job, 'failed', 'memory-gone');
    job.unitReason = port.reason;
    if (!port.recoverable || job.operation.pri !== true) return this.#end(job, 'faulted', 'translation');
    if (job.retries === RETRIES) return this.#end(job, 'failed', 'not-cured');
    this.#askForPages(job, legs.left);
  }

  /** Asks for the page that is missing and those after it that are too; `left` bytes of the range are to come. */
  #askForPages(job: Job, left: number): void {
    const { pasid = NO_PASID } = job.operation;
    const address = job.faultIova & ~PAGE_MASK;
    const last = job.faultIova + BigInt(left) - 1n;
    let count = 1;
    while (count < this.#pagesInGroup) {
      const next = address + BigInt(count) * (PAGE_MASK + 1n);
      if (next > last || this.#isThere(pasid, next, job.faultAccess)) break;
      count += 1;
    }
    const pages = { pasid, address, count, access: job.faultAccess };
    const isSent = this.requests!.request(pages, (code) => this.#answered(job, code));
    if (!isSent) this.#waiting.push(job);
  }

  #isThere(pasid: number, address: bigint, access: number): boolean {
    const probe = this.#probe;
    probe.sourceId = this.sourceId;
    probe.pasid = pasid;
    probe.hi = highWord(address);
    probe.lo = lowWord(address);
    probe.access = access;
    probe.addressType = AT_TRANSLATION_REQUEST;
    probe.recoverable = false;
    // What no page request can cure is left for the operation itself to meet.
    return this.#translator.translate(probe) || !probe.recoverable;
  }

  #answered(job: Job, code: number): void {
    if (!this.#pending.has(job)) return;
    if (code === PRG_SUCCESS) {
      job.retries += 1;
      this.#runnable.push(job);
    } else {
      this.#end(job, 'failed', code === PRG_INVALID ? 'page-invalid' : 'page-failure');
    }
  }

  #end(job: Job, state: 'done' | 'faulted' | 'failed', reason: JobReason): void {
    this.#pending.delete(job);
    job.state = state;
    job.reason = reason;
    job.onEnd?.(job);
  }
}
