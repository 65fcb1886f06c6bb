/**
 * PASID cache (section 6.2.3): what a requester id and a PASID mean, decoded. A *space* is a row of words: where the
 * tables are, how wide, under which tags their translations are cached. In legacy mode a context entry says all of it,
 * so a row without PASID stands for it. Rows leave by invalidation or when their place is needed.
 */
import { Chains, mix } from './chains.js';
import { tagHigh, tagLow } from './iotlb.js';
import { PGTT_SECOND_STAGE } from './structures.js';

export const S_SOURCE = 0;
/** The PASID it is for; {@link LEGACY_KEY} for a legacy context entry. */
export const S_KEY = 1;
/** Different for every filling of a row; 0: nothing is in it. */
export const S_STAMP = 2;
export const S_DID = 3;
/** PGTT. */
export const S_KIND = 4;
export const S_FLAGS = 5;
export const S_FIRST_HI = 6;
export const S_FIRST_LO = 7;
export const S_SECOND_HI = 8;
export const S_SECOND_LO = 9;
/** Width of the first-stage input in bits. */
export const S_FIRST_WIDTH = 10;
export const S_SECOND_WIDTH = 11;
export const S_TAG_HIGH = 12;
export const S_TAG_LOW = 13;

/** {@link Spaces.slots} of a row: TableStore.slotAt the context and PASID tables, and the roots of the stages. */
export const SLOT_CONTEXT = 0;
export const SLOT_PASID = 1;
export const SLOT_FIRST = 2;
export const SLOT_SECOND = 3;

/** S_FLAGS above the bits that are as in word 4 of a PASID entry. */
export const SPACE_LEGACY = 1 << 16;
export const SPACE_SSADE = 1 << 17;
/** Walks of this space see what the processor wrote (PWSNP): bits of entries may be set. */
export const SPACE_SNOOPS = 1 << 18;
export const SPACE_FPD = 1 << 19;

const SPACE_LG2 = 4;
const SLOTS_LG2 = 2;
export const LEGACY_KEY = 1 << 20;
const ROWS_LG2 = 12;
const ROWS = 1 << ROWS_LG2;
/** Rows after the cache: for what must not be cached. */
export const SCRATCH_ROW = ROWS << SPACE_LG2;

export class Spaces {
  readonly words = new Int32Array((ROWS + 1) << SPACE_LG2);
  /** By {@link slotsOf}: where to find the generations of the tables that a row came from. A guest's have none. */
  readonly slots = new Int32Array((ROWS + 1) << SLOTS_LG2);
  /** By {@link seenOf}: generations of the context and PASID tables, added up, when they were read. */
  readonly seen = new Int32Array(ROWS + 1);
  readonly #byDomain = new Chains(ROWS, ROWS_LG2 - 2);
  readonly #byPasid = new Chains(ROWS, ROWS_LG2 - 2);
  /** All of them, in one ring. */
  readonly #all = new Chains(ROWS, 0);
  #lastStamp = 0;
  #live = 0;

  get live(): number {
    return this.#live;
  }

  /** The row of (source, key), or -1. */
  find(source: number, key: number): number {
    const row = rowOf(source, key);
    const { words } = this;
    return words[row + S_STAMP] !== 0 && words[row + S_SOURCE] === source && words[row + S_KEY] === key
      ? row
      : -1;
  }

  /** Caches what the scratch row has, completed by its tags and a stamp of its own; returns its row. */
  keepScratch(): number {
    const { words } = this;
    const key = words[SCRATCH_ROW + S_KEY]!;
    const kind = words[SCRATCH_ROW + S_KIND]!;
    const pasid = kind === PGTT_SECOND_STAGE || key === LEGACY_KEY ? 0 : key;
    words[SCRATCH_ROW + S_TAG_HIGH] = tagHigh(pasid);
    words[SCRATCH_ROW + S_TAG_LOW] = tagLow(words[SCRATCH_ROW + S_DID]!, kind & 3, pasid);
    this.#lastStamp = (this.#lastStamp + 1) & 0x3fff_ffff || 1;
    words[SCRATCH_ROW + S_STAMP] = this.#lastStamp;
    const row = rowOf(words[SCRATCH_ROW + S_SOURCE]!, words[SCRATCH_ROW + S_KEY]!);
    if (words[row + S_STAMP] !== 0) this.#remove(row);
    words.copyWithin(row, SCRATCH_ROW, SCRATCH_ROW + (1 << SPACE_LG2));
    const slots = slotsOf(SCRATCH_ROW);
    this.slots.copyWithin(slotsOf(row), slots, slots + (1 << SLOTS_LG2));
    this.seen[seenOf(row)] = this.seen[seenOf(SCRATCH_ROW)]!;
    const did = words[row + S_DID]!;
    this.#byDomain.add(row >>> SPACE_LG2, mix(did));
    this.#byPasid.add(row >>> SPACE_LG2, pasidKey(did, words[row + S_KEY]!));
    this.#all.add(row >>> SPACE_LG2, 0);
    this.#live += 1;
    return row;
  }

  /** Global PASID-cache invalidation; or, with `legacyOnly`, what a context-cache invalidation has to reach. */
  flushAll(legacyOnly: boolean): void {
    const chain = this.#all;
    for (let entry = chain.first(0); entry >= 0;) {
      const row = entry << SPACE_LG2;
      entry = chain.after(entry);
      if (!legacyOnly || this.words[row + S_KEY] === LEGACY_KEY) this.#remove(row);
    }
  }

  flushDomain(did: number, legacyOnly: boolean): void {
    const chain = this.#byDomain;
    for (let entry = chain.first(mix(did)); entry >= 0;) {
      const row = entry << SPACE_LG2;
      entry = chain.after(entry);
      if (this.words[row + S_DID] !== did) continue;
      if (!legacyOnly || this.words[row + S_KEY] === LEGACY_KEY) this.#remove(row);
    }
  }

  /** Whatever device it is for. */
  flushPasid(did: number, pasid: number): void {
    const chain = this.#byPasid;
    for (let entry = chain.first(pasidKey(did, pasid)); entry >= 0;) {
      const row = entry << SPACE_LG2;
      entry = chain.after(entry);
      if (this.words[row + S_DID] === did && this.words[row + S_KEY] === pasid) this.#remove(row);
    }
  }

  /** What a legacy context entry of `source` said. */
  flushLegacy(source: number): void {
    const row = this.find(source, LEGACY_KEY);
    if (row >= 0) this.#remove(row);
  }

  /** Rows in use, for people. */
  *rows(): Generator<number> {
    for (let row = 0; row < SCRATCH_ROW; row += 1 << SPACE_LG2)
      if (this.words[row + S_STAMP] !== 0) yield row;
  }

  #remove(row: number): void {
    this.words[row + S_STAMP] = 0;
    this.#byDomain.remove(row >>> SPACE_LG2);
    this.#byPasid.remove(row >>> SPACE_LG2);
    this.#all.remove(row >>> SPACE_LG2);
    this.#live -= 1;
  }
}

/** Index in {@link Spaces.slots} of a row's. */
export function slotsOf(row: number): number {
  return row >>> (SPACE_LG2 - SLOTS_LG2);
}

/** Index in {@link Spaces.seen}. */
export function seenOf(row: number): number {
  return row >>> SPACE_LG2;
}

function rowOf(source: number, key: number): number {
  return (mix(Math.imul(source, 0x9e3779b1) ^ key) & (ROWS - 1)) << SPACE_LG2;
}

function pasidKey(did: number, key: number): number {
  return mix((did << 20) ^ key);
}
