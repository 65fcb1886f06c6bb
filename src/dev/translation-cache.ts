/**
 * The translation cache of a device that speaks ATS. It is filled by translation requests, what it holds is used in
 * translated requests, and only an invalidation empties it: where nobody sends one, it goes on answering what is no
 * longer true. Then it says so, if it is told how to notice.
 */
import type { Events } from '../base/events.js';
import { joinWords } from '../base/words.js';
import {
  ALL_PASIDS,
  NO_PASID,
  AT_TRANSLATED,
  AT_TRANSLATION_REQUEST,
  DMA_EXEC,
  DMA_READ,
  DMA_WRITE,
  Translation,
  type Translator,
} from '../bus/dma.js';
import type { Resolver } from '../bus/dma-port.js';

export interface StalenessOptions {
  readonly events: Events;
  /** Answers by the tables as they are, and leaves no trace of it. */
  readonly peek: (request: Translation) => boolean;
  /** Changes whenever a table that ioasis writes does. */
  readonly generation: () => number;
  /** What lies at an HPA is found anew at each access, so an older translation to it does no harm. */
  readonly isLive: (hi: number, lo: number) => boolean;
  /** Ask at each hit, for tables whose changes nobody sees. */
  readonly checking: boolean;
}

/** Entries; the slot is chosen by page and PASID, and a newcomer takes it. */
const ENTRIES_LG2 = 10;
const ENTRIES = 1 << ENTRIES_LG2;
const PERMISSIONS = DMA_READ | DMA_WRITE | DMA_EXEC;
const PAGE_LG2 = 12;
/** Larger blocks are cut to this: what can be told in 32 bits. */
const LARGEST_LG2 = 30;
const EMPTY = 0;

export class TranslationCache implements Resolver {
  /** By slot: lg2 of the block (0: empty), its tag, where it is, what is permitted, when it was true. */
  readonly #sizeLg2 = new Uint8Array(ENTRIES);
  readonly #pasid = new Int32Array(ENTRIES);
  readonly #hi = new Int32Array(ENTRIES);
  readonly #lo = new Int32Array(ENTRIES);
  readonly #hpaHi = new Int32Array(ENTRIES);
  readonly #hpaLo = new Int32Array(ENTRIES);
  readonly #permitted = new Uint8Array(ENTRIES);
  readonly #generation = new Float64Array(ENTRIES);
  /** Sizes of blocks that were ever entered: what a lookup has to try. */
  readonly #sizes: number[] = [PAGE_LG2];
  readonly #probe = new Translation();
  hits = 0;
  misses = 0;

  constructor(
    readonly deviceName: string,
    readonly translator: Translator,
    readonly staleness: StalenessOptions | null = null,
  ) {}

  /** Entries that are live. */
  get size(): number {
    return this.#sizeLg2.reduce((count, size) => count + (size === EMPTY ? 0 : 1), 0);
  }

  translate(request: Translation): boolean {
    let slot = this.#find(request.pasid, request.hi, request.lo, request.access & PERMISSIONS);
    if (slot >= 0) {
      this.hits += 1;
      this.#checkStale(slot, request);
    } else {
      this.misses += 1;
      slot = this.#fill(request);
      if (slot < 0) return false;
    }
    return this.#pass(slot, request);
  }

  /** Drops what `pasid`, or with {@link ALL_PASIDS} every PASID, has in the aligned block of `1 << sizeLg2` bytes around the address. */
  invalidate(pasid: number, hi: number, lo: number, sizeLg2: number): void {
    for (let slot = 0; slot < ENTRIES; slot++) {
      const own = this.#sizeLg2[slot]!;
      const owner = this.#pasid[slot]!;
      const isMeant = pasid === ALL_PASIDS ? owner !== NO_PASID : owner === pasid;
      if (own === EMPTY || !isMeant) continue;
      const shared = Math.max(own, sizeLg2);
      if (sameBlock(this.#hi[slot]!, this.#lo[slot]!, hi, lo, shared)) this.#sizeLg2[slot] = EMPTY;
    }
  }

  clear(): void {
    this.#sizeLg2.fill(EMPTY);
  }

  #find(pasid: number, hi: number, lo: number, wanted: number): number {
    const sizes = this.#sizes;
    for (let i = 0; i < sizes.length; i++) {
      const size = sizes[i]!;
      const slot = slotOf(pasid, hi, lo, size);
      if (this.#sizeLg2[slot] !== size || this.#pasid[slot] !== pasid) continue;
      if (this.#hi[slot] !== hi || this.#lo[slot] !== (lo & -(1 << size))) continue;
      return (this.#permitted[slot]! & wanted) === wanted ? slot : -1;
    }
    return -1;
  }

  /** Asks for the translation; the slot that it went to, or -1. */
  #fill(request: Translation): number {
    const { hi, lo, pasid, access } = request;
    const wanted = access & PERMISSIONS;
    request.addressType = AT_TRANSLATION_REQUEST;
    if (!this.translator.translate(request)) return -1;
    if ((request.permitted & wanted) !== wanted) {
      // The answer is that this access is not allowed, which a page request may change.
      request.recoverable = true;
      return -1;
    }
    const size = Math.min(request.sizeLg2, LARGEST_LG2);
    if (!this.#sizes.includes(size)) this.#sizes.push(size);
    const slot = slotOf(pasid, hi, lo, size);
    const mask = (1 << size) - 1;
    this.#sizeLg2[slot] = size;
    this.#pasid[slot] = pasid;
    this.#hi[slot] = hi;
    this.#lo[slot] = lo & ~mask;
    this.#hpaHi[slot] = request.hpaHi;
    this.#hpaLo[slot] = request.hpaLo & ~mask;
    this.#permitted[slot] = request.permitted;
    this.#generation[slot] = this.staleness?.generation() ?? 0;
    return slot;
  }

  /**
   * Sends the request on, translated: the unit may still refuse it. It carries no PASID then, as of a function that has
   * not been allowed to (PCI Express: "Translated Requests with PASID Enable").
   */
  #pass(slot: number, request: Translation): boolean {
    const { pasid } = request;
    const size = this.#sizeLg2[slot]!;
    const mask = (1 << size) - 1;
    request.addressType = AT_TRANSLATED;
    request.hi = this.#hpaHi[slot]!;
    request.lo = this.#hpaLo[slot]! | (request.lo & mask);
    request.pasid = NO_PASID;
    const isPassed = this.translator.translate(request);
    request.pasid = pasid;
    if (!isPassed) return false;
    request.sizeLg2 = Math.min(request.sizeLg2, size);
    request.permitted = this.#permitted[slot]!;
    return true;
  }

  /** Compares an entry that may be old with what is true now, and tells of a difference once. */
  #checkStale(slot: number, request: Translation): void {
    const { staleness } = this;
    if (staleness === null) return;
    const generation = staleness.generation();
    const known = this.#generation[slot]!;
    if (known === Infinity || (known === generation && !staleness.checking)) return;
    this.#generation[slot] = generation;
    if (staleness.isLive(this.#hpaHi[slot]!, this.#hpaLo[slot]!)) return;
    const probe = this.#probe;
    probe.sourceId = request.sourceId;
    probe.pasid = request.pasid;
    probe.hi = request.hi;
    probe.lo = request.lo;
    probe.access = request.access;
    const wanted = request.access & PERMISSIONS;
    const isThere = staleness.peek(probe) && (probe.permitted & wanted) === wanted;
    const hpaLo = this.#hpaLo[slot]! | (request.lo & ((1 << this.#sizeLg2[slot]!) - 1));
    if (isThere && probe.hpaLo === hpaLo && probe.hpaHi === this.#hpaHi[slot]!) return;
    this.#generation[slot] = Infinity;
    staleness.events.emit({
      kind: 'stale-hit',
      unit: this.translator.name,
      device: this.deviceName,
      pasid: request.pasid,
      iova: joinWords(request.hi, request.lo),
      cached: joinWords(this.#hpaHi[slot]!, hpaLo),
      current: isThere ? joinWords(probe.hpaHi, probe.hpaLo) : null,
      missing: 'device-TLB invalidation',
    });
  }
}

function slotOf(pasid: number, hi: number, lo: number, size: number): number {
  const page = (lo >>> size) ^ Math.imul(hi, 0x9e3779b1) ^ Math.imul(pasid + size, 0x85ebca6b);
  return (page ^ (page >>> ENTRIES_LG2)) & (ENTRIES - 1);
}

/** Whether two addresses lie in one aligned block of `1 << sizeLg2` bytes. */
function sameBlock(hi: number, lo: number, otherHi: number, otherLo: number, sizeLg2: number): boolean {
  if (sizeLg2 >= 64) return true;
  if (sizeLg2 >= 32) return (hi ^ otherHi) >>> (sizeLg2 - 32) === 0;
  return hi === otherHi && (lo ^ otherLo) >>> sizeLg2 === 0;
}
