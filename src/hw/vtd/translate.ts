/**
 * A request and its answer (section 3.15 and chapter 6): interrupt window, address space, IOTLB, walk. What is cached is
 * served whatever the tables say now; a permission that the entry lacks, or a dirty bit that is still to be set, makes a
 * walk. Nothing is allocated for a request that is answered.
 */
import * as dma from '../../bus/dma.js';
import type { Translation } from '../../bus/dma.js';
import type { Epoch } from '../../mem/epoch.js';
import type { RunList } from '../../mem/runs.js';
import type { TableStore } from '../../mem/table-store.js';
import type { Abilities } from './capabilities.js';
import type { Contexts } from './context.js';
import type { FaultRecords } from './faults.js';
import { ENTRY, entryLg2, frontOf, type Iotlb } from './iotlb.js';
import { lastIndexOf, type LastSpace, type LastSpaces } from './last-spaces.js';
import { Reason, isRecoverable, isReportedToo } from './reasons.js';
import { RunHits } from './run-hits.js';
import * as space from './spaces.js';
import type { Staleness } from './stale.js';
import * as bits from './structures.js';
import { WALK, type Walker } from './walk.js';

// An imported constant is a load wherever it is used, a local one is not (seen: 0.5 ns each).
const {
  AT_TRANSLATED,
  AT_TRANSLATION_REQUEST,
  AT_UNTRANSLATED,
  DMA_EXEC,
  DMA_PRIV,
  DMA_READ,
  DMA_WRITE,
  NO_PASID,
} = dma;
const {
  E_FLAGS,
  E_HIGH,
  E_HPA_HI,
  E_HPA_LO,
  E_MASK,
  E_SEEN,
  E_TAG,
  STRIDE_LG2,
  PERMITTED_PRIV_SHIFT,
  PERMITTED_SHIFT,
  SIZE_MASK,
  SIZE_SHIFT,
  USABLE_PRIV_SHIFT,
} = ENTRY;
const { SPACE_FPD, S_FLAGS, S_KIND, S_TAG_HIGH, S_TAG_LOW } = space;
const {
  CTX_TT_DEV_IOTLB,
  CTX_TT_SHIFT,
  FPD,
  INTERRUPT_LO,
  INTERRUPT_MASK,
  PGTT_PASS_THROUGH,
  SM_CTX_DTE,
  SM_CTX_RID_PRIV,
} = bits;
const { CACHED, PARTIAL, UPDATES } = WALK;

const RIGHTS = DMA_READ | DMA_WRITE | DMA_EXEC;
const PAGE_LG2 = 12;

export interface RequestParts {
  readonly contexts: Contexts;
  readonly iotlb: Iotlb;
  readonly last: LastSpaces;
  readonly walker: Walker;
  readonly staleness: Staleness;
  readonly faults: FaultRecords;
  readonly tables: TableStore;
  readonly epoch: Epoch;
  readonly can: Abilities;
}

export class Requests {
  #isEnabled = false;
  readonly #contexts: Contexts;
  readonly #spaces: Int32Array;
  readonly #iotlb: Iotlb;
  readonly #entries: Int32Array;
  readonly #front: Uint16Array;
  readonly #last: LastSpaces;
  readonly #lastSpaces: readonly LastSpace[];
  readonly #hits: RunHits;
  readonly #walker: Walker;
  readonly #staleness: Staleness;
  readonly #faults: FaultRecords;
  readonly #tables: TableStore;
  readonly #can: Abilities;

  constructor(parts: RequestParts) {
    this.#contexts = parts.contexts;
    this.#spaces = parts.contexts.spaces.words;
    this.#iotlb = parts.iotlb;
    this.#entries = parts.iotlb.words;
    this.#front = parts.iotlb.front;
    this.#last = parts.last;
    this.#lastSpaces = parts.last.all;
    this.#hits = new RunHits(parts.iotlb, parts.last, parts.tables, parts.epoch);
    this.#walker = parts.walker;
    this.#staleness = parts.staleness;
    this.#faults = parts.faults;
    this.#tables = parts.tables;
    this.#can = parts.can;
  }

  /** GSTS_REG.TES: until it is set, every address is its own answer. */
  enable(isEnabled: boolean): void {
    this.#isEnabled = isEnabled;
    this.#last.forget();
  }

  /**
   * A hit by a space that was in use just before, and for what no more has to be looked at, is answered here. Entries are
   * aligned to their size: `|` is `+`, and needs no check for overflow.
   */
  translate(request: Translation): boolean {
    const { hi, lo } = request;
    const last = this.#lastSpaces[lastIndexOf(request.sourceId, request.pasid)]!;
    const frame = (hi << 20) | (lo >>> 12);
    const entries = this.#entries;
    const at = this.#front[frontOf(frame, last.hash)]! << STRIDE_LG2;
    const mask = entries[at | E_MASK]!;
    const flags = entries[at | E_FLAGS]!;
    if (
      request.sourceId !== last.source ||
      request.pasid !== last.pasid ||
      ((entries[at]! ^ frame) & mask) !== 0 ||
      entries[at | E_HIGH] !== ((hi >>> 12) | last.tagHigh) ||
      entries[at | E_TAG] !== last.tagLow ||
      entries[at | E_SEEN] !== this.#tables.moves ||
      // DMA_PRIV is not among the rights.
      (request.access & ~(flags & RIGHTS)) !== 0 ||
      request.addressType !== AT_UNTRANSLATED ||
      (lo & INTERRUPT_MASK) === INTERRUPT_LO
    ) {
      return this.#resolve(request);
    }
    request.hpaHi = entries[at | E_HPA_HI]!;
    request.hpaLo = entries[at | E_HPA_LO]! | (lo & ~(mask << PAGE_LG2));
    request.sizeLg2 = (flags >>> SIZE_SHIFT) & SIZE_MASK;
    request.permitted = (flags >>> PERMITTED_SHIFT) & RIGHTS;
    request.reason = 0;
    request.recoverable = false;
    return true;
  }

  /** {@link translate} for block after block of `length` bytes; what misses is asked for alone. */
  translateRuns(request: Translation, length: number, runs: RunList): boolean {
    for (;;) {
      const hit = this.#hits.take(request, length, runs);
      length -= hit;
      forward(request, hit);
      if (length === 0 || runs.isFull) return true;
      if (!this.#resolve(request)) return false;
      const size = 1 << request.sizeLg2;
      const room = size - (request.lo & (size - 1));
      const block = room < length ? room : length;
      runs.add(request.hpaHi, request.hpaLo, block);
      length -= block;
      forward(request, block);
      if (length === 0 || runs.isFull) return true;
    }
  }

  /** What the tables say now: no cache is asked or filled, no bit set, nothing recorded. False: nothing is there. */
  peek(request: Translation): boolean {
    const { hi, lo, pasid } = request;
    if (!this.#isEnabled) return identity(request, RIGHTS);
    const contexts = this.#contexts;
    const row = contexts.findFresh(request.sourceId, pasid);
    if (row < 0) return false;
    const isPriv =
      (request.access & DMA_PRIV) !== 0 ||
      (pasid === NO_PASID && (contexts.contextSecondLo & SM_CTX_RID_PRIV) !== 0);
    const walker = this.#walker;
    if (!walker.walk(row, hi, lo, isPriv ? DMA_PRIV : 0, 0)) return false;
    this.#answer(request, isPriv);
    return true;
  }

  /** By all that is cached, and then by a walk. */
  #resolve(request: Translation): boolean {
    const { hi, lo, pasid } = request;
    if (!this.#isEnabled) return this.#pass(request);
    if (request.addressType === AT_TRANSLATED) return this.#translated(request);
    if (pasid === NO_PASID && isInterrupt(hi, lo)) return this.#interrupt(request);
    const contexts = this.#contexts;
    const row = contexts.find(request.sourceId, pasid);
    if (row < 0) return this.#refuse(request, contexts.reason, contexts.isSilenced);
    if (request.addressType === AT_TRANSLATION_REQUEST && !this.#admitsAts(request)) return false;
    const isPriv =
      (request.access & DMA_PRIV) !== 0 ||
      (pasid === NO_PASID && (contexts.contextSecondLo & SM_CTX_RID_PRIV) !== 0);
    if (!isPriv && !this.#staleness.isChecking) {
      this.#last.remember(
        request.sourceId,
        pasid,
        this.#spaces[row | S_TAG_HIGH]!,
        this.#spaces[row | S_TAG_LOW]!,
      );
    }
    const spaces = this.#spaces;
    const entry = this.#iotlb.find(
      (hi << 20) | (lo >>> 12),
      (hi >>> 12) | spaces[row | S_TAG_HIGH]!,
      spaces[row | S_TAG_LOW]!,
    );
    if (entry < 0) return this.#miss(request, row, isPriv);
    const entries = this.#entries;
    const flags = entries[entry | E_FLAGS]!;
    const usable = isPriv ? flags >>> USABLE_PRIV_SHIFT : flags;
    if ((request.access & RIGHTS & ~usable) !== 0) return this.#miss(request, row, isPriv);
    if (entries[entry | E_SEEN] !== this.#tables.moves || this.#staleness.isChecking) {
      this.#staleness.examine(entry, row, request.sourceId, pasid, hi, lo, isPriv);
    }
    request.hpaHi = entries[entry | E_HPA_HI]!;
    request.hpaLo = entries[entry | E_HPA_LO]! | (lo & ~(entries[entry | E_MASK]! << PAGE_LG2));
    request.sizeLg2 = (flags >>> SIZE_SHIFT) & SIZE_MASK;
    request.permitted = (flags >>> (isPriv ? PERMITTED_PRIV_SHIFT : PERMITTED_SHIFT)) & RIGHTS;
    request.reason = 0;
    request.recoverable = false;
    return true;
  }

  /** Translation is off: every address is its own answer, but nobody is told one (section 4.2.1). */
  #pass(request: Translation): boolean {
    return request.addressType === AT_UNTRANSLATED ? identity(request, RIGHTS) : unsupported(request);
  }

  /**
   * Section 4.2.5: the context entry decides, and no other is looked at. With a PASID it is a protocol error of the device
   * (section 4.2.1), since the unit has no PASIDs in translated requests (ECAP_REG.PTRS).
   */
  #translated(request: Translation): boolean {
    if (request.pasid !== NO_PASID) return unsupported(request);
    const contexts = this.#contexts;
    if (!contexts.findContext(request.sourceId)) {
      return this.#refuse(request, contexts.reason, contexts.isSilenced);
    }
    if (!this.#admitsAts(request)) return false;
    const { isLegacy, isSilenced } = contexts;
    if (isInterrupt(request.hi, request.lo)) {
      return this.#refuse(request, this.#interruptReason(), isSilenced);
    }
    if ((request.hi & this.#can.beyondHaw) !== 0) {
      return this.#refuse(request, isLegacy ? Reason.BEYOND_WIDTH : Reason.BEYOND_HARDWARE, isSilenced);
    }
    return identity(request, RIGHTS);
  }

  #miss(request: Translation, row: number, isPriv: boolean): boolean {
    const { hi, lo } = request;
    const walker = this.#walker;
    const isPartial = request.addressType === AT_TRANSLATION_REQUEST;
    const access = (request.access & RIGHTS) | (isPriv ? DMA_PRIV : 0);
    const mode = isPartial ? CACHED | UPDATES | PARTIAL : CACHED | UPDATES;
    if (!walker.walk(row, hi, lo, access, mode)) {
      return this.#refuse(request, walker.reason, (this.#spaces[row + S_FLAGS]! & SPACE_FPD) !== 0);
    }
    this.#answer(request, isPriv);
    if (this.#spaces[row + S_KIND] === PGTT_PASS_THROUGH) return true;
    const entry = this.#keep(row, hi, lo);
    if (this.#staleness.isDoubtful(row)) {
      this.#staleness.examineNew(entry, row, request.sourceId, request.pasid, hi, lo, isPriv);
    }
    return true;
  }

  /** What the walker found. */
  #answer(request: Translation, isPriv: boolean): void {
    const walker = this.#walker;
    request.hpaHi = walker.hpaHi;
    request.hpaLo = walker.hpaLo;
    request.sizeLg2 = walker.sizeLg2;
    request.permitted = isPriv ? walker.permittedPriv : walker.permitted;
    request.reason = 0;
    request.recoverable = false;
  }

  /** Caches what the walker found; the entry. */
  #keep(row: number, hi: number, lo: number): number {
    const walker = this.#walker;
    const spaces = this.#spaces;
    const { permitted, permittedPriv } = walker;
    const sizeLg2 = entryLg2(walker.sizeLg2);
    const entry = this.#iotlb.insert(
      (hi << 20) | (lo >>> 12),
      (hi >>> 12) | spaces[row + S_TAG_HIGH]!,
      spaces[row + S_TAG_LOW]!,
      sizeLg2,
    );
    const usable = walker.isDirty ? RIGHTS : RIGHTS & ~DMA_WRITE;
    const entries = this.#entries;
    entries[entry + E_HPA_HI] = walker.hpaHi;
    entries[entry + E_HPA_LO] = walker.hpaLo & (-1 << sizeLg2);
    entries[entry + E_FLAGS] =
      (permitted & usable) |
      ((permittedPriv & usable) << USABLE_PRIV_SHIFT) |
      (permitted << PERMITTED_SHIFT) |
      (permittedPriv << PERMITTED_PRIV_SHIFT) |
      (sizeLg2 << SIZE_SHIFT);
    this.#staleness.note(entry, row);
    return entry;
  }

  /**
   * Section 3.15: without PASID, a write to the window is an interrupt; whoever carries it out knows it by its address.
   * Anything else there is refused; a translation request is told nothing, so that the device writes untranslated.
   */
  #interrupt(request: Translation): boolean {
    if (request.addressType === AT_TRANSLATION_REQUEST) {
      return answerNothing(request, this.#interruptReason());
    }
    if ((request.access & RIGHTS) === DMA_WRITE) return identity(request, DMA_WRITE);
    return this.#refuse(request, this.#interruptReason(), false);
  }

  #interruptReason(): number {
    return this.#contexts.isLegacy ? Reason.INTERRUPT_RANGE : Reason.SM_INTERRUPT_RANGE;
  }

  /** Whether the context entry that was found lets this device translate on its own (TT, DTE). */
  #admitsAts(request: Translation): boolean {
    const { contextLo, isLegacy } = this.#contexts;
    const isSilenced = (contextLo & FPD) !== 0;
    if (isLegacy) {
      const type = (contextLo >>> CTX_TT_SHIFT) & 3;
      return type === CTX_TT_DEV_IOTLB || this.#refuse(request, Reason.TYPE_BLOCKED, isSilenced);
    }
    return (contextLo & SM_CTX_DTE) !== 0 || this.#refuse(request, Reason.DTE_CLEAR, isSilenced);
  }

  #refuse(request: Translation, reason: number, isSilenced: boolean): false {
    if (request.addressType === AT_TRANSLATION_REQUEST && isRecoverable(reason)) {
      if (isReportedToo(reason)) this.#faults.refused(reason, request, isSilenced);
      return answerNothing(request, reason);
    }
    request.reason = reason;
    request.recoverable = false;
    request.permitted = 0;
    this.#faults.refused(reason, request, isSilenced);
    return false;
  }
}

/** Goes on to the byte `length` (below 4 GiB) bytes after. */
function forward(request: Translation, length: number): void {
  const next = (request.lo + length) | 0;
  if (next >>> 0 < request.lo >>> 0) request.hi = (request.hi + 1) | 0;
  request.lo = next;
}

function isInterrupt(hi: number, lo: number): boolean {
  return hi === 0 && (lo & INTERRUPT_MASK) === INTERRUPT_LO;
}

/** The bus is told that there is no such request; nothing is recorded. */
function unsupported(request: Translation): false {
  request.reason = 0;
  request.recoverable = false;
  request.permitted = 0;
  return false;
}

/** A completion without permissions; no fault. */
function answerNothing(request: Translation, reason: number): false {
  request.reason = reason;
  request.recoverable = true;
  request.permitted = 0;
  return false;
}

function identity(request: Translation, permitted: number): true {
  request.hpaHi = request.hi;
  request.hpaLo = request.lo;
  request.sizeLg2 = PAGE_LG2;
  request.permitted = permitted;
  request.reason = 0;
  request.recoverable = false;
  return true;
}
