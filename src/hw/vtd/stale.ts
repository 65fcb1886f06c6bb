/**
 * Finds IOTLB entries that are served although the tables have changed. An entry knows the generations of the arenas it
 * came from; when one has moved, or in checking mode on every hit, one silent walk from the root decides. Hardware would
 * serve the entry all the same, so this only tells.
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
import { PGTT_NESTED } from './structures.js';
import type { Walker } from './walk.js';

const FIRST_COMPARED = space.S_DID;
const LAST_COMPARED = space.S_SECOND_WIDTH;
/** Index among the generation slots of an entry. */
const SECOND_SLOT = 3;

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

  constructor(parts: StaleParts) {
    this.#parts = parts;
  }

  /** Remembers where a new entry came from. */
  note(entry: number, row: number): void {
    const { contexts, iotlb, tables } = this.#parts;
    const { words } = contexts.spaces;
    const { slots } = iotlb;
    const at = (entry >>> 3) * SLOTS;
    slots[at] = words[row + space.S_CONTEXT_SLOT]!;
    slots[at + 1] = words[row + space.S_PASID_SLOT]!;
    const isNested = words[row + space.S_KIND] === PGTT_NESTED;
    slots[at + 2] = isNested
      ? 0
      : tables.slotAt(words[row + space.S_FIRST_HI]!, words[row + space.S_FIRST_LO]!);
    slots[at + SECOND_SLOT] = tables.slotAt(words[row + space.S_SECOND_HI]!, words[row + space.S_SECOND_LO]!);
    iotlb.sums[entry >>> 3] = this.#sum(at);
    iotlb.secondGenerations[entry >>> 3] = tables.generations[slots[at + SECOND_SLOT]!]!;
    iotlb.words[entry + ENTRY.E_SEEN] = tables.moves;
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
    const { contexts, memory, walker } = this.#parts;
    if (memory.isLive(words[entry + ENTRY.E_HPA_HI]!, words[entry + ENTRY.E_HPA_LO]!)) return;
    this.walks += 1;
    const fresh = contexts.findFresh(source, pasid);
    const found = fresh >= 0 && walker.walk(fresh, hi, lo, isPriv ? DMA_PRIV : 0, 0);
    const flags = words[entry + ENTRY.E_FLAGS]!;
    if (found && this.#agrees(entry, lo, isPriv)) {
      words[entry + ENTRY.E_FLAGS] = flags & ~ENTRY.REPORTED;
      return;
    }
    if (!hasMoved && (flags & ENTRY.REPORTED) !== 0) return;
    words[entry + ENTRY.E_FLAGS] = flags | ENTRY.REPORTED;
    this.#report(entry, row, fresh, found, { source, pasid, hi, lo });
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
    fresh: number,
    found: boolean,
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
      missing: this.#missing(entry, row, fresh, at.source),
    });
  }

  /** The command that would have removed the entry. */
  #missing(entry: number, row: number, fresh: number, source: number): string {
    const { words } = this.#parts.contexts.spaces;
    const did = words[row + space.S_DID]!;
    const pasid = words[row + space.S_KEY]!;
    const isLegacy = pasid === space.LEGACY_KEY;
    if (fresh < 0 || !sameSpace(words, row, fresh)) {
      if (isLegacy)
        return `context-cache invalidate, source ${sourceName(source)}, then IOTLB invalidate, DID ${did}`;
      return `PASID-cache invalidate, DID ${did} PASID ${pasid}, then PASID-based IOTLB invalidate`;
    }
    const kind = (this.#parts.iotlb.words[entry + ENTRY.E_TAG]! >>> 16) & 3;
    const isSecond = kind === ENTRY.KIND_SECOND || (kind === ENTRY.KIND_NESTED && this.#secondMoved(entry));
    return isSecond
      ? `IOTLB invalidate, DID ${did}`
      : `PASID-based IOTLB invalidate, DID ${did} PASID ${pasid}`;
  }

  /** Of a nested entry: whether ioasis' own stage has changed. Guest tables belong to no arena, and move no counter. */
  #secondMoved(entry: number): boolean {
    const { iotlb, tables } = this.#parts;
    const slot = iotlb.slots[(entry >>> 3) * SLOTS + SECOND_SLOT]!;
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
        generations[slots[at + SECOND_SLOT]!]!) |
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
