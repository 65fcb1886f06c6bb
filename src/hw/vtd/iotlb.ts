/**
 * IOTLB (section 6.2.4): finished translations by domain id, PASID, address and size. 65,536 entries in sets of four, and
 * in front of them a table that says in which entry a page was found last: the entry itself decides, so that table is
 * never invalidated. An entry leaves when it is invalidated or its place is needed, never because a table changed.
 *
 * An entry is eight words, one half of a cache line, and a tag is three of them (see {@link tagHigh}). Neighbouring pages
 * lie side by side, and the first ways of all sets come before the second ones, so that what is in use lies close together.
 * What was never used is 0 everywhere, and takes no memory. Entries of one domain, and those of one PASID in it, are
 * chained, so that an invalidation costs what is cached.
 */
import type { Epoch } from '../../mem/epoch.js';
import { Chains, mix } from './chains.js';

const STRIDE_LG2 = 3;
/** {@link Iotlb.words} of an entry. */
const E_FRAME = 0;
const E_HIGH = 1;
const E_TAG = 2;
/** Which bits of the frame number count: the size of the entry. */
const E_MASK = 3;
const E_HPA_LO = 4;
const E_HPA_HI = 5;
/** TableStore.moves when the entry was last known to be what the tables say. */
const E_SEEN = 6;
const E_FLAGS = 7;

/**
 * E_FLAGS: what may be used without another walk, for user and for privileged requests (a write counts once the dirty
 * bit is set); what the tables permit; the size; whether staleness has been reported.
 */
const USABLE_PRIV_SHIFT = 4;
const PERMITTED_SHIFT = 8;
const PERMITTED_PRIV_SHIFT = 12;
const SIZE_SHIFT = 16;
const SIZE_MASK = 0x3f;
const REPORTED = 1 << 24;

/** Which table an entry came from; part of its tag, with the numbers of PGTT. */
const KIND_FIRST = 1;
const KIND_SECOND = 2;
const KIND_NESTED = 3;

export const ENTRY = {
  E_FRAME,
  E_HIGH,
  E_TAG,
  E_MASK,
  E_HPA_LO,
  E_HPA_HI,
  E_SEEN,
  E_FLAGS,
  USABLE_PRIV_SHIFT,
  PERMITTED_SHIFT,
  PERMITTED_PRIV_SHIFT,
  SIZE_SHIFT,
  SIZE_MASK,
  REPORTED,
  KIND_FIRST,
  KIND_SECOND,
  KIND_NESTED,
  STRIDE_LG2,
} as const;

const WAYS = 4;
const SETS_LG2 = 14;
const SETS = 1 << SETS_LG2;
export const ENTRIES = WAYS << SETS_LG2;
const SET_MASK = SETS - 1;
/** From one way of a set to the next. */
const WAY_STRIDE = SETS << STRIDE_LG2;
const FRONT_LG2 = 16;
const FRONT_MASK = (1 << FRONT_LG2) - 1;
const BUCKETS_LG2 = 14;
/** Sizes an entry can have: 4 KiB, 2 MiB, 1 GiB; and 64 KiB, which no table has, but the owner of a space without one. */
const SIZES = [12, 16, 21, 30] as const;
/** Up to so many pages are looked for one by one; a larger range is looked for among what is cached. */
const PROBED_AM = 4;
const NOTHING = -1;
/** The tag of no translation: kinds are not 0. */
const EMPTY = 0;
/** Generation slots of an entry: context, PASID, first-stage and second-stage tables. */
export const SLOTS = 4;

/** High word of a tag: the address above bit 43 is added by the lookup. */
export function tagHigh(pasid: number): number {
  return pasid << 20;
}

/** Third word of a tag. */
export function tagLow(did: number, kind: number, pasid: number): number {
  return did | (kind << 16) | ((pasid >>> 12) << 18);
}

const sizeIndex = (sizeLg2: number): number =>
  sizeLg2 >= 30 ? 3 : sizeLg2 >= 21 ? 2 : sizeLg2 >= 16 ? 1 : 0;

/** lg2 of what an entry covers for a translation of `1 << sizeLg2` bytes. */
export const entryLg2 = (sizeLg2: number): number => SIZES[sizeIndex(sizeLg2)]!;

/** lg2 of the pages that {@link ENTRY.E_MASK} says. */
const pagesLg2 = (mask: number): number => 31 - Math.clz32(-mask);

const KIND_SHIFT = 16;
const DID_MASK = 0xffff;

export class Iotlb {
  readonly words = new Int32Array(ENTRIES << STRIDE_LG2);
  /** By entry: where to find the generations of the tables it came from, and their sum at that time. */
  readonly slots = new Int32Array(ENTRIES * SLOTS);
  readonly sums = new Int32Array(ENTRIES);
  /** And that of the second-stage tables alone. */
  readonly secondGenerations = new Int32Array(ENTRIES);
  /** By {@link frontOf}: the entry in which a page was found last. */
  readonly front = new Uint16Array(1 << FRONT_LG2);
  readonly #victim = new Uint8Array(1 << SETS_LG2);
  readonly #byDomain = new Chains(ENTRIES, BUCKETS_LG2);
  readonly #byPasid = new Chains(ENTRIES, BUCKETS_LG2);
  /** All of them, in one ring. */
  readonly #all = new Chains(ENTRIES, 0);
  /** Live entries by size. */
  readonly #counts = [0, 0, 0, 0];
  #withFirst = 0;
  #live = 0;
  readonly #epoch: Epoch;

  /** `epoch` ends whenever an entry leaves, or stops to answer. */
  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  get live(): number {
    return this.#live;
  }

  /** Offset in {@link words} of the entry that translates the frame; -1 when there is none. */
  find(frame: number, high: number, tag: number): number {
    const hash = hashOf(high, tag);
    const front = frontOf(frame, hash);
    const at = this.front[front]! << STRIDE_LG2;
    return this.#answers(at, frame, high, tag) ? at : this.#search(frame, high, tag, hash, front);
  }

  #answers(at: number, frame: number, high: number, tag: number): boolean {
    const { words } = this;
    return (
      ((words[at]! ^ frame) & words[at | E_MASK]!) === 0 &&
      words[at | E_HIGH] === high &&
      words[at | E_TAG] === tag
    );
  }

  /** Puts an entry in, in place of one for the same page or of the oldest of its set; returns its offset. */
  insert(frame: number, high: number, tag: number, sizeLg2: number): number {
    const { words } = this;
    const size = sizeIndex(sizeLg2);
    const shift = SIZES[size]! - 12;
    const masked = (frame >>> shift) << shift;
    const hash = hashOf(high, tag);
    const set = setOf(masked >>> shift, hash);
    const at = this.#place(set, masked, high, tag, shift);
    if (words[at + E_TAG] !== EMPTY) this.#remove(at);
    words[at] = masked;
    words[at + E_HIGH] = high;
    words[at + E_TAG] = tag;
    words[at + E_MASK] = -1 << shift;
    const entry = at >>> STRIDE_LG2;
    const kind = (tag >>> KIND_SHIFT) & 3;
    this.#all.add(entry, 0);
    this.#byDomain.add(entry, mix(tag & DID_MASK));
    if (kind !== KIND_SECOND) {
      this.#byPasid.add(entry, pasidKey(high, tag));
      this.#withFirst += 1;
    }
    this.#counts[size]! += 1;
    this.#live += 1;
    const front = frontOf(frame, hash);
    // One of another size for the same page stays, and does not answer for it any more.
    const before = this.front[front]! << STRIDE_LG2;
    if (before !== at && this.#answers(before, frame, high, tag)) this.#epoch.end();
    this.front[front] = entry;
    return at;
  }

  flushAll(): void {
    const chain = this.#all;
    for (let entry = chain.first(0); entry >= 0; entry = chain.first(0)) this.#remove(entry << STRIDE_LG2);
  }

  /** Everything of a domain, whatever table it came from. */
  flushDomain(did: number): void {
    this.#flushDomain(did, 0, 0, NOTHING);
  }

  /**
   * Second-stage translations of `1 << am` pages; and all nested and first-stage ones of the domain (section 6.5.2.3):
   * nothing in a nested one says which second-stage page it went through.
   */
  flushDomainPages(did: number, hi: number, lo: number, am: number): void {
    if (am <= PROBED_AM) this.#probe(hi, lo, am, 0, tagLow(did, KIND_SECOND, 0));
    if (am > PROBED_AM || this.#withFirst > 0) this.#flushDomain(did, hi, lo, am);
  }

  /** First-stage and nested translations of one PASID. */
  flushPasid(did: number, pasid: number): void {
    this.#flushPasid(did, pasid, 0, 0, NOTHING);
  }

  flushPasidPages(did: number, pasid: number, hi: number, lo: number, am: number): void {
    if (am > PROBED_AM) {
      this.#flushPasid(did, pasid, hi, lo, am);
      return;
    }
    this.#probe(hi, lo, am, tagHigh(pasid), tagLow(did, KIND_FIRST, pasid));
    this.#probe(hi, lo, am, tagHigh(pasid), tagLow(did, KIND_NESTED, pasid));
  }

  /** Offsets of all entries, for people. */
  *offsets(): Generator<number> {
    for (let at = 0; at < this.words.length; at += 1 << STRIDE_LG2) {
      if (this.words[at + E_TAG] !== EMPTY) yield at;
    }
  }

  #search(frame: number, high: number, tag: number, hash: number, front: number): number {
    const { words } = this;
    for (let size = 0; size < SIZES.length; size += 1) {
      if (this.#counts[size] === 0) continue;
      const shift = SIZES[size]! - 12;
      const first = setOf(frame >>> shift, hash) << STRIDE_LG2;
      for (let at = first; at < words.length; at += WAY_STRIDE) {
        if (words[at + E_TAG] !== tag || words[at + E_HIGH] !== high) continue;
        if (((words[at]! ^ frame) & words[at + E_MASK]!) !== 0) continue;
        this.front[front] = at >>> STRIDE_LG2;
        return at;
      }
    }
    return NOTHING;
  }

  /** The entry that has this page already, else a free one, else the next in turn. */
  #place(set: number, masked: number, high: number, tag: number, shift: number): number {
    const { words } = this;
    const first = set << STRIDE_LG2;
    let free = NOTHING;
    for (let at = first; at < words.length; at += WAY_STRIDE) {
      if (words[at + E_TAG] === EMPTY) {
        if (free === NOTHING) free = at;
      } else if (
        words[at] === masked &&
        words[at + E_TAG] === tag &&
        words[at + E_HIGH] === high &&
        words[at + E_MASK] === -1 << shift
      ) {
        return at;
      }
    }
    if (free !== NOTHING) return free;
    const way = this.#victim[set]! & (WAYS - 1);
    this.#victim[set] = way + 1;
    return first + way * WAY_STRIDE;
  }

  #remove(at: number): void {
    const { words } = this;
    const entry = at >>> STRIDE_LG2;
    this.#counts[sizeIndex(pagesLg2(words[at + E_MASK]!) + 12)]! -= 1;
    if (((words[at + E_TAG]! >>> KIND_SHIFT) & 3) !== KIND_SECOND) this.#withFirst -= 1;
    words[at + E_TAG] = EMPTY;
    this.#byDomain.remove(entry);
    this.#byPasid.remove(entry);
    this.#all.remove(entry);
    this.#live -= 1;
    this.#epoch.end();
  }

  #probe(hi: number, lo: number, am: number, high: number, tag: number): void {
    const frame = ((hi << 20) | (lo >>> 12)) & (-1 << am);
    const fullHigh = high | (hi >>> 12);
    for (let page = 0; page < 1 << am; page += 1) {
      for (let at = this.find(frame + page, fullHigh, tag); at >= 0;) {
        this.#remove(at);
        // Entries of other sizes may cover the same page.
        at = this.find(frame + page, fullHigh, tag);
      }
    }
  }

  /** `am` -1: all of the domain; else second-stage entries of the range and all others. */
  #flushDomain(did: number, hi: number, lo: number, am: number): void {
    const chain = this.#byDomain;
    for (let entry = chain.first(mix(did)); entry >= 0;) {
      const at = entry << STRIDE_LG2;
      entry = chain.after(entry);
      const tag = this.words[at + E_TAG]!;
      if ((tag & DID_MASK) !== did) continue;
      const kind = (tag >>> KIND_SHIFT) & 3;
      if (am < 0 || kind !== KIND_SECOND || this.#isInRange(at, hi, lo, am)) this.#remove(at);
    }
  }

  #flushPasid(did: number, pasid: number, hi: number, lo: number, am: number): void {
    const chain = this.#byPasid;
    const high = tagHigh(pasid);
    const first = tagLow(did, KIND_FIRST, pasid);
    const nested = tagLow(did, KIND_NESTED, pasid);
    for (let entry = chain.first(pasidKey(high, first)); entry >= 0;) {
      const at = entry << STRIDE_LG2;
      entry = chain.after(entry);
      const tag = this.words[at + E_TAG]!;
      if (tag !== first && tag !== nested) continue;
      if (((this.words[at + E_HIGH]! ^ high) & PASID_IN_HIGH) !== 0) continue;
      if (am < 0 || this.#isInRange(at, hi, lo, am)) this.#remove(at);
    }
  }

  /** Whether the entry and the aligned range of `1 << am` pages have a page in common. */
  #isInRange(at: number, hi: number, lo: number, am: number): boolean {
    const { words } = this;
    const lg2 = Math.max(pagesLg2(words[at + E_MASK]!), am);
    const frameHi = (words[at + E_HIGH]! & ~PASID_IN_HIGH) ^ (hi >>> 12);
    if (lg2 >= 32) return frameHi >>> (lg2 - 32) === 0;
    return frameHi === 0 && (words[at]! ^ ((hi << 20) | (lo >>> 12))) >>> lg2 === 0;
  }
}

const PASID_IN_HIGH = -1 << 20;

/** What a tag adds to the places of its pages: the same for all of them, an address above bit 43 aside. */
export function hashOf(high: number, tag: number): number {
  return Math.imul((high & PASID_IN_HIGH) ^ tag, 0x2c1b3c6d) >>> 16;
}

/** Index in {@link Iotlb.front} of a page. Pages of one block of 256 MiB never meet. */
export function frontOf(frame: number, hash: number): number {
  return (frame ^ (Math.imul(frame >>> FRONT_LG2, 0x9e3779b1) >>> (32 - FRONT_LG2)) ^ hash) & FRONT_MASK;
}

function setOf(key: number, hash: number): number {
  return (key ^ (key >>> SETS_LG2) ^ hash) & SET_MASK;
}

/** The key of the chain by PASID: without the address and without the kind. */
function pasidKey(high: number, tag: number): number {
  return mix((high & PASID_IN_HIGH) ^ (tag & ~(3 << KIND_SHIFT)));
}
