/**
 * Finds what is served although the tables have changed: IOTLB entries that are hit, and new ones, if the walk went on from
 * cached steps or a cached PASID entry. Each knows the generations of the arenas it came from; when one has moved, or in
 * checking mode always, one silent walk from the root decides. Hardware would serve it all the same, so this only tells.
 */
import type { EndpointRouter } from '../../bus/dma.js';
import { DMA_PRIV } from '../../bus/dma.js';
import { joinWords } from '../../base/words.js';
import type { Events } from '../../base/events.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import type { TableStore } from '../../mem/table-store.js';
import type { Contexts } from './context.js';
import { ENTRY, SLOTS, type Iotlb } from './iotlb.js';
import * as space from './spaces.js';
import type { Walker } from './walk.js';

const FIRST_COMPARED = space.S_DID;
const LAST_COMPARED = space.S_SECOND_WIDTH;

export interface StaleParts {
  readonly unit: string;
  readonly contexts: Contexts;
  readonly iotlb: Iotlb;
  readonly walker: Walker;
  readonly memory: PhysicalMemory;
  readonly tables: TableStore;
  readonly endpoints: EndpointRouter;
  readonly events: Events;
}

export class Staleness {
  /** Walk on every hit: for tables in client memory, which change without a trace. */
  isChecking = false;
  /** Silent walks, ever; for people. */
  walks = 0;
  readonly #parts: StaleParts;
  /** Row of the space that the last silent walk was made by; -1: there is none now. */
  #fresh = -1;

  constructor(parts: StaleParts) {
    this.#parts = parts;
  }

  /** Remembers where a new entry came from. */
  note(entry: number, row: number): void {
    const { contexts, iotlb, tables } = this.#parts;
    const { slots } = iotlb;
    const at = (entry >>> 3) * SLOTS;
    const from = space.slotsOf(row);
    for (let slot = 0; slot < SLOTS; slot += 1) slots[at + slot] = contexts.spaces.slots[from + slot]!;
    iotlb.sums[entry >>> 3] = this.#sum(at);
    iotlb.secondGenerations[entry >>> 3] = tables.generations[slots[at + space.SLOT_SECOND]!]!;
    iotlb.words[entry + ENTRY.E_SEEN] = tables.moves;
  }

  /** Whether the walk that was just made by `row` went on where tables led once, and may not lead now. */
  isDoubtful(row: number): boolean {
    const { passed } = this.#parts.walker;
    return (
      passed.isFirstOld || passed.isSecondOld || (this.isChecking && passed.count > 0) || this.#isOld(row)
    );
  }

  /** Whether context and PASID tables have changed since `row` was read. */
  #isOld(row: number): boolean {
    const { spaces } = this.#parts.contexts;
    return spaces.seen[space.seenOf(row)] !== this.#structures(row);
  }

  /** Generations of the context and PASID tables that `row` came from, added up. */
  #structures(row: number): number {
    const { contexts, tables } = this.#parts;
    const { slots } = contexts.spaces;
    const { generations } = tables;
    const at = space.slotsOf(row);
    return (generations[slots[at + space.SLOT_CONTEXT]!]! + generations[slots[at + space.SLOT_PASID]!]!) | 0;
  }

  /** A new entry, of a walk that {@link isDoubtful}: one without caches says whether it is true. */
  examineNew(
    entry: number,
    row: number,
    source: number,
    pasid: number,
    hi: number,
    lo: number,
    isPriv: boolean,
  ): void {
    if (this.#isLive(entry)) return;
    const { iotlb, contexts, walker } = this.#parts;
    const { words } = iotlb;
    const { spaces } = contexts;
    const isSecond = walker.passed.isSecondOld;
    const found = this.#walkAfresh(source, pasid, hi, lo, isPriv);
    if (found && this.#agrees(entry, lo, isPriv)) {
      walker.passed.trust();
      if (sameSpace(spaces.words, row, this.#fresh)) spaces.seen[space.seenOf(row)] = this.#structures(row);
      return;
    }
    words[entry + ENTRY.E_FLAGS] = words[entry + ENTRY.E_FLAGS]! | ENTRY.REPORTED;
    this.#report(entry, row, found, isSecond, { source, pasid, hi, lo });
  }

  /** A hit on an entry while tables have moved, or in checking mode. */
  examine(
    entry: number,
    row: number,
    source: number,
    pasid: number,
    hi: number,
    lo: number,
    isPriv: boolean,
  ): void {
    const { iotlb, tables } = this.#parts;
    const { words } = iotlb;
    const index = entry >>> 3;
    words[entry + ENTRY.E_SEEN] = tables.moves;
    const sum = this.#sum(index * SLOTS);
    const hasMoved = sum !== iotlb.sums[index];
    if (!hasMoved && !this.isChecking) return;
    iotlb.sums[index] = sum;
    if (this.#isLive(entry)) return;
    const found = this.#walkAfresh(source, pasid, hi, lo, isPriv);
    const flags = words[entry + ENTRY.E_FLAGS]!;
    if (found && this.#agrees(entry, lo, isPriv)) {
      words[entry + ENTRY.E_FLAGS] = flags & ~ENTRY.REPORTED;
      return;
    }
    if (!hasMoved && (flags & ENTRY.REPORTED) !== 0) return;
    words[entry + ENTRY.E_FLAGS] = flags | ENTRY.REPORTED;
    const isSecond = this.#secondMoved(entry);
    this.#report(entry, row, found, isSecond, { source, pasid, hi, lo });
  }

  /** What lies there is found anew at each access. */
  #isLive(entry: number): boolean {
    const { words } = this.#parts.iotlb;
    return this.#parts.memory.isLive(words[entry + ENTRY.E_HPA_HI]!, words[entry + ENTRY.E_HPA_LO]!);
  }

  /** From the root, past all caches: whether that led somewhere, which the walker says then. */
  #walkAfresh(source: number, pasid: number, hi: number, lo: number, isPriv: boolean): boolean {
    const { contexts, walker } = this.#parts;
    this.walks += 1;
    this.#fresh = contexts.findFresh(source, pasid);
    return this.#fresh >= 0 && walker.walk(this.#fresh, hi, lo, isPriv ? DMA_PRIV : 0, 0);
  }

  #agrees(entry: number, lo: number, isPriv: boolean): boolean {
    const { iotlb, walker } = this.#parts;
    const { words } = iotlb;
    const flags = words[entry + ENTRY.E_FLAGS]!;
    const shift = isPriv ? ENTRY.PERMITTED_PRIV_SHIFT : ENTRY.PERMITTED_SHIFT;
    const permitted = (flags >>> shift) & 7;
    const now = isPriv ? walker.permittedPriv : walker.permitted;
    return (
      walker.hpaHi === words[entry + ENTRY.E_HPA_HI] &&
      walker.hpaLo === cachedLo(words, entry, lo) &&
      (permitted & ~now) === 0
    );
  }

  #report(
    entry: number,
    row: number,
    found: boolean,
    isSecond: boolean,
    at: { source: number; pasid: number; hi: number; lo: number },
  ): void {
    const { iotlb, walker, endpoints, events, unit } = this.#parts;
    const { words } = iotlb;
    events.emit({
      kind: 'stale-hit',
      unit,
      device: endpoints.endpoint(at.source)?.name ?? sourceName(at.source),
      pasid: at.pasid,
      iova: joinWords(at.hi, at.lo),
      cached: joinWords(words[entry + ENTRY.E_HPA_HI]!, cachedLo(words, entry, at.lo)),
      current: found ? joinWords(walker.hpaHi, walker.hpaLo) : null,
      missing: this.#missing(entry, row, isSecond, at.source),
    });
  }

  /** The commands that would have removed the entry; `isSecondOld`: the second stage has changed, or may have. */
  #missing(entry: number, row: number, isSecondOld: boolean, source: number): string {
    const { contexts } = this.#parts;
    const { words } = contexts.spaces;
    const did = words[row + space.S_DID]!;
    const pasid = words[row + space.S_KEY]!;
    const isLegacy = pasid === space.LEGACY_KEY;
    if (this.#fresh < 0 || !sameSpace(words, row, this.#fresh)) {
      if (isLegacy)
        return `context-cache invalidate, source ${sourceName(source)}, then IOTLB invalidate, DID ${did}`;
      const first = contexts.isContextStale(source)
        ? `context-cache invalidate, source ${sourceName(source)}, then `
        : '';
      return `${first}PASID-cache invalidate, DID ${did} PASID ${pasid}, then PASID-based IOTLB invalidate`;
    }
    const kind = (this.#parts.iotlb.words[entry + ENTRY.E_TAG]! >>> 16) & 3;
    const isSecond = kind === ENTRY.KIND_SECOND || (kind === ENTRY.KIND_NESTED && isSecondOld);
    return isSecond
      ? `IOTLB invalidate, DID ${did}`
      : `PASID-based IOTLB invalidate, DID ${did} PASID ${pasid}`;
  }

  /** Of a nested entry: whether ioasis' own stage has changed. Guest tables belong to no arena, and move no counter. */
  #secondMoved(entry: number): boolean {
    const { iotlb, tables } = this.#parts;
    const slot = iotlb.slots[(entry >>> 3) * SLOTS + space.SLOT_SECOND]!;
    return tables.generations[slot] !== iotlb.secondGenerations[entry >>> 3];
  }

  #sum(at: number): number {
    const { iotlb, tables } = this.#parts;
    const { slots } = iotlb;
    const { generations } = tables;
    return (
      (generations[slots[at]!]! +
        generations[slots[at + 1]!]! +
        generations[slots[at + 2]!]! +
        generations[slots[at + space.SLOT_SECOND]!]!) |
      0
    );
  }
}

function cachedLo(words: Int32Array, entry: number, lo: number): number {
  return words[entry + ENTRY.E_HPA_LO]! | (lo & ~(words[entry + ENTRY.E_MASK]! << 12));
}

function sameSpace(words: Int32Array, row: number, fresh: number): boolean {
  for (let at = FIRST_COMPARED; at <= LAST_COMPARED; at += 1) {
    if (words[row + at] !== words[fresh + at]) return false;
  }
  return true;
}

/** As Linux prints a requester id: `02:00.1`. */
function sourceName(source: number): string {
  return `${hexByte(source >>> 8)}:${hexByte((source >>> 3) & 31)}.${source & 7}`;
}

function hexByte(value: number): string {
  return value.toString(16).padStart(2, '0');
}
