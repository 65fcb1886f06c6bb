/**
 * What an invalidation reaches (section 6.5.2): the granularities of every command, over all caches. The caches have
 * their own ways to find what a tag has; which of them a command means is said here and nowhere else.
 */
import type { Abilities } from './capabilities.js';
import type { Contexts } from './context.js';
import type { Iotlb } from './iotlb.js';
import type { LastSpaces } from './last-spaces.js';
import type { PagingCache } from './paging-cache.js';
import * as space from './spaces.js';
import * as bits from './structures.js';

/** Granularity of context-cache and IOTLB invalidation; of PASID-based IOTLB and PASID-cache invalidation. */
const GLOBAL = 1;
const DOMAIN = 2;
const DEVICE = 3;
const PAGES = 3;
const PASID_ALL = 2;
const PASID_CACHE_DOMAIN = 0;
const PASID_CACHE_PASID = 1;
const PASID_CACHE_GLOBAL = 3;

/** Of a space that a page request is for (section 6.5.3.1). */
const { S_DID, S_KEY, S_KIND } = space;
const { PGTT_FIRST_STAGE, PGTT_NESTED } = bits;

/** FM: which bits of the function number do not count. */
const FUNCTION_MASKS = [0, 4, 6, 7] as const;

export class Caches {
  readonly contexts: Contexts;
  readonly iotlb: Iotlb;
  readonly paging: PagingCache;
  readonly #last: LastSpaces;
  readonly #can: Abilities;

  constructor(contexts: Contexts, iotlb: Iotlb, paging: PagingCache, last: LastSpaces, can: Abilities) {
    this.contexts = contexts;
    this.iotlb = iotlb;
    this.paging = paging;
    this.#last = last;
    this.#can = can;
  }

  invalidateAll(): void {
    this.#last.forget();
    this.contexts.flushAll();
    this.contexts.spaces.flushAll(false);
    this.iotlb.flushAll();
    this.paging.flushAll();
  }

  /** Section 6.5.2.1, context-cache invalidate. False: no such granularity. */
  invalidateContexts(granularity: number, did: number, source: number, functionMask: number): boolean {
    this.#last.forget();
    if (granularity === GLOBAL) this.contexts.flushAll();
    else if (granularity === DOMAIN) this.contexts.flushDomain(did);
    else if (granularity === DEVICE) this.contexts.flushDevice(source, FUNCTION_MASKS[functionMask & 3]!);
    else return false;
    return true;
  }

  /** Section 6.5.2.2, PASID-cache invalidate. */
  invalidatePasids(granularity: number, did: number, pasid: number): boolean {
    const { spaces } = this.contexts;
    this.#last.forget();
    if (granularity === PASID_CACHE_GLOBAL) spaces.flushAll(false);
    else if (granularity === PASID_CACHE_DOMAIN) spaces.flushDomain(did, false);
    else if (granularity === PASID_CACHE_PASID) spaces.flushPasid(did, pasid);
    else return false;
    return true;
  }

  /** Section 6.5.2.3, IOTLB invalidate. `leafOnly` (IH): no entry that points to a table has changed. */
  invalidateIotlb(
    granularity: number,
    did: number,
    hi: number,
    lo: number,
    am: number,
    leafOnly: boolean,
  ): boolean {
    if (granularity === GLOBAL) {
      this.iotlb.flushAll();
      this.paging.flushAll();
    } else if (granularity === DOMAIN) {
      this.iotlb.flushDomain(did);
      this.paging.flushDomain(did);
    } else if (granularity === PAGES && this.#can.hasPageSelective && am <= this.#can.mamv) {
      this.iotlb.flushDomainPages(did, hi, lo, am);
      this.paging.flushDomainPages(did, hi, lo, am, !leafOnly);
    } else {
      return false;
    }
    return true;
  }

  /** Section 6.5.2.4, PASID-based IOTLB invalidate: of any number of pages, whatever MAMV says (section 11.4.2). */
  invalidatePasidIotlb(
    granularity: number,
    did: number,
    pasid: number,
    hi: number,
    lo: number,
    am: number,
    leafOnly: boolean,
  ): boolean {
    if (granularity === PASID_ALL) {
      this.iotlb.flushPasid(did, pasid);
      this.paging.flushPasid(did, pasid);
    } else if (granularity === PAGES) {
      this.iotlb.flushPasidPages(did, pasid, hi, lo, am);
      if (!leafOnly) this.paging.flushPasidPages(did, pasid, hi, lo, am);
    } else {
      return false;
    }
    return true;
  }

  /**
   * Section 6.5.3.1: what a page request drops before software hears of it, so that what it answers with is seen.
   * `row`: of the space in {@link Contexts.spaces}.
   */
  invalidateForPageRequest(row: number, hi: number, lo: number): void {
    const { words } = this.contexts.spaces;
    const [kind, did] = [words[row + S_KIND]!, words[row + S_DID]!];
    if (kind === PGTT_FIRST_STAGE) {
      this.invalidatePasidIotlb(PAGES, did, words[row + S_KEY]!, hi, lo, 0, false);
    } else {
      const isWhole = kind === PGTT_NESTED || !this.#can.hasPageSelective;
      this.invalidateIotlb(isWhole ? DOMAIN : PAGES, did, hi, lo, 0, false);
    }
  }
}
