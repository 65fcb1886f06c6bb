/**
 * Paging-structure caches and nested TLB (section 6.2.5): what a walk need not do again. One direct-mapped table
 * holds both, because both say "under this tag and this address, go on there with these permissions":
 *
 * - a *step* of a stage: the table that lies below an entry, at HPA, with what the path permits;
 * - a *page* of a second stage, for the addresses of first-stage tables.
 *
 * A tag is (domain, PASID, what it is); rows of a domain and of a PASID are chained as in the IOTLB.
 */
import { Chains, mix } from './chains.js';

/** What a row is: a step of the first or second stage that covers 2 MiB or 1 GiB, or a second-stage page. */
export const STEP_FIRST = 0;
export const STEP_SECOND = 1;
export const PAGE_SECOND = 2;

const FIRST = STEP_FIRST;
const PAGE = PAGE_SECOND;

/** Words of a row; the first is what is left of the address. */
export const R_TAG = 1;
export const R_HIGH = 2;
export const R_HI = 3;
export const R_LO = 4;
/** What the walk permits so far; of a page: and whether its dirty bit is set. */
export const R_PERMITTED = 5;
/** Generations of the tables that the walk came through, added up, when the row was known to be what they say. */
export const R_SEEN = 6;
const ROW_LG2 = 3;
const ROWS_LG2 = 12;
const ROWS = 1 << ROWS_LG2;
const NOTHING = -1;
const KIND_SHIFT = 16;
const DID_MASK = 0xffff;
const PASID_IN_HIGH = -1 << 20;

export class PagingCache {
  readonly words = new Int32Array(ROWS << ROW_LG2);
  readonly #shifts = new Uint8Array(ROWS);
  readonly #byDomain = new Chains(ROWS, ROWS_LG2 - 2);
  readonly #byPasid = new Chains(ROWS, ROWS_LG2 - 2);
  /** All of them, in one ring. */
  readonly #all = new Chains(ROWS, 0);
  #live = 0;

  constructor() {
    for (let row = R_TAG; row < this.words.length; row += 1 << ROW_LG2) this.words[row] = NOTHING;
  }

  get live(): number {
    return this.#live;
  }

  /** Offset in {@link words} of the row for the block of `1 << shift` bytes (below 4 GiB) around an address; -1: none. */
  find(kind: number, did: number, pasid: number, hi: number, lo: number, shift: number): number {
    const key = (lo >>> shift) | (hi << (32 - shift));
    const high = (pasid << 20) | (hi >>> 12);
    const tag = did | ((kind | (shift << 2)) << KIND_SHIFT) | ((pasid >>> 12) << 24);
    const row = placeOf(key, tag, high);
    const { words } = this;
    return words[row] === key && words[row + R_TAG] === tag && words[row + R_HIGH] === high ? row : NOTHING;
  }

  /** Remembers that below that block the walk goes on at an HPA (or, of a page, that it lies there). */
  insert(kind: number, did: number, pasid: number, hi: number, lo: number, shift: number): number {
    const key = (lo >>> shift) | (hi << (32 - shift));
    const high = (pasid << 20) | (hi >>> 12);
    const tag = did | ((kind | (shift << 2)) << KIND_SHIFT) | ((pasid >>> 12) << 24);
    const row = placeOf(key, tag, high);
    const { words } = this;
    if (words[row + R_TAG] !== NOTHING) this.#remove(row);
    words[row] = key;
    words[row + R_TAG] = tag;
    words[row + R_HIGH] = high;
    const entry = row >>> ROW_LG2;
    this.#shifts[entry] = shift;
    this.#all.add(entry, 0);
    this.#byDomain.add(entry, mix(did));
    if (kind === FIRST) this.#byPasid.add(entry, pasidKey(did, pasid));
    this.#live += 1;
    return row;
  }

  /** Rows in use, for people. */
  *rows(): Generator<number> {
    for (let row = 0; row < this.words.length; row += 1 << ROW_LG2)
      if (this.words[row + R_TAG] !== NOTHING) yield row;
  }

  flushAll(): void {
    const chain = this.#all;
    for (let entry = chain.first(0); entry >= 0; entry = chain.first(0)) this.#remove(entry << ROW_LG2);
  }

  flushDomain(did: number): void {
    const chain = this.#byDomain;
    for (let entry = chain.first(mix(did)); entry >= 0;) {
      const row = entry << ROW_LG2;
      entry = chain.after(entry);
      if ((this.words[row + R_TAG]! & DID_MASK) === did) this.#remove(row);
    }
  }

  /**
   * Second-stage rows of a domain that have a byte of `1 << am` pages in them; steps only if `steps`. First-stage steps
   * go in any case: they hold addresses that went through this second stage.
   */
  flushDomainPages(did: number, hi: number, lo: number, am: number, steps: boolean): void {
    const chain = this.#byDomain;
    for (let entry = chain.first(mix(did)); entry >= 0;) {
      const row = entry << ROW_LG2;
      entry = chain.after(entry);
      const tag = this.words[row + R_TAG]!;
      if ((tag & DID_MASK) !== did) continue;
      const kind = (tag >>> KIND_SHIFT) & 3;
      if (kind === FIRST || this.#isInRange(row, hi, lo, am, steps || kind === PAGE)) {
        this.#remove(row);
      }
    }
  }

  /** First-stage steps of a PASID. */
  flushPasid(did: number, pasid: number): void {
    this.#flushPasid(did, pasid, 0, 0, NOTHING);
  }

  flushPasidPages(did: number, pasid: number, hi: number, lo: number, am: number): void {
    this.#flushPasid(did, pasid, hi, lo, am);
  }

  #flushPasid(did: number, pasid: number, hi: number, lo: number, am: number): void {
    const chain = this.#byPasid;
    for (let entry = chain.first(pasidKey(did, pasid)); entry >= 0;) {
      const row = entry << ROW_LG2;
      entry = chain.after(entry);
      const tag = this.words[row + R_TAG]!;
      const itsPasid = (this.words[row + R_HIGH]! >>> 20) | ((tag >>> 24) << 12);
      if ((tag & DID_MASK) !== did || itsPasid !== pasid) continue;
      if (am < 0 || this.#isInRange(row, hi, lo, am, true)) this.#remove(row);
    }
  }

  #isInRange(row: number, hi: number, lo: number, am: number, counts: boolean): boolean {
    if (!counts) return false;
    const shift = this.#shifts[row >>> ROW_LG2]!;
    const key = this.words[row]!;
    const frameHi = (this.words[row + R_HIGH]! & ~PASID_IN_HIGH) ^ (hi >>> 12);
    const frame = (key << (shift - 12)) ^ ((hi << 20) | (lo >>> 12));
    const lg2 = Math.max(shift - 12, am);
    if (lg2 >= 32) return frameHi >>> (lg2 - 32) === 0;
    return frameHi === 0 && frame >>> lg2 === 0;
  }

  #remove(row: number): void {
    this.words[row + R_TAG] = NOTHING;
    this.#byDomain.remove(row >>> ROW_LG2);
    this.#byPasid.remove(row >>> ROW_LG2);
    this.#all.remove(row >>> ROW_LG2);
    this.#live -= 1;
  }
}

/** Neighbouring blocks never meet; the upper bits of a product, since every bit of its factors counts there. */
function placeOf(key: number, tag: number, high: number): number {
  const hash = Math.imul(tag ^ high ^ (key >>> ROWS_LG2), 0x2c1b3c6d) >>> (32 - ROWS_LG2);
  return ((key ^ hash) & (ROWS - 1)) << ROW_LG2;
}

function pasidKey(did: number, pasid: number): number {
  return mix((did << 20) ^ pasid);
}
