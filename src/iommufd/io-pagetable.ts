/**
 * The address space of an IOAS (struct io_pagetable): areas, reserved and allowed ranges, and the domains that
 * show the same areas to hardware. Areas never overlap; each is filled into every domain.
 */
import { refuse, invariant, Errno, type Refusal } from '../base/errno.js';
import { IntervalMap } from '../base/interval-map.js';
import { findHole } from '../base/span.js';
import { lowWord } from '../base/words.js';
import type { DmaDevice, PagingDomain } from '../hw/unit.js';
import type { Access } from './access.js';
import { Area } from './area.js';
import { AreaStore } from './area-store.js';
import type { Call } from './call.js';
import type { AccountMode, Context } from './context.js';
import type { MapRequest, UnmapRequest } from './in-place.js';
import { Pages } from './pages.js';
import { ReservedRanges, type AddressRange } from './reserved.js';
import { shortage } from './shortage.js';
import { PAGE_BYTES, PAGE_SIZE, U64_MAX, misaligned, pageIndex, pageOffset } from './units.js';
import { rules } from './rules.js';

/** Largest alignment that automatic placement keeps: a huge page of the CPU. */
const HPAGE_SIZE = 1n << 21n;

/** A slice of a page array on its way into an area. The list owns one reference of each array. */
export interface PagesSlice {
  readonly pages: Pages;
  readonly startByte: bigint;
  readonly length: bigint;
}

/** Up to this length the pages of any range can be counted; see {@link Pages.count}. */
const COUNTABLE = U64_MAX - 2n * PAGE_SIZE;

const noAccesses: ReadonlySet<Access> = new Set();

export class IoPagetable {
  /** {@link alignment}, less one. */
  #alignmentMask = 0;
  disableLargePages = false;
  readonly reserved = new ReservedRanges();
  /** Where automatic placement may choose; null allows everything. */
  allowed: IntervalMap | null = null;
  /** In order of arrival, as far as Linux keeps it: the last takes the place of one that leaves. */
  readonly domains: PagingDomain[] = [];
  /** Null: none so far, as in most tables. */
  #accesses: Set<Access> | null = null;
  readonly #areas = new AreaStore(this);

  constructor(readonly context: Context) {}

  /** Of addresses and lengths: a page at most. */
  get alignment(): bigint {
    return BigInt(this.#alignmentMask + 1);
  }

  set alignment(bytes: bigint) {
    this.#alignmentMask = Number(bytes - 1n);
  }

  get accesses(): ReadonlySet<Access> {
    return this.#accesses ?? noAccesses;
  }

  get areaCount(): number {
    return this.#areas.size;
  }

  /** The area that contains `iova`. */
  areaAt(iova: bigint): Area | null {
    return this.#areas.at(iova);
  }

  /** The first area that shares an address with `start`..`last`. */
  firstArea(start: bigint, last: bigint): Area | null {
    return this.#areas.first(start, last);
  }

  /** Every area, in order. Areas may be removed while this runs. */
  areas(): Generator<Area> {
    return this.#areas.each();
  }

  /**
   * The areas that together show all of `iova`..`last` without a gap; `gap` is the first address that none shows,
   * or null when there is none.
   */
  contiguous(iova: bigint, last: bigint): { readonly areas: Area[]; readonly gap: bigint | null } {
    const areas: Area[] = [];
    let at = iova;
    for (;;) {
      const area = this.areaAt(at);
      if (area === null) return { areas, gap: at };
      areas.push(area);
      if (area.last >= last) return { areas, gap: null };
      at = area.last + 1n;
    }
  }

  /**
   * Makes an area of each slice, one after the other from the request's IOVA, and fills the domains. Takes over the
   * references of `slices` on success. Where the place is chosen the request gets the IOVA.
   */
  map(call: Call, slices: readonly PagesSlice[], request: MapRequest): void {
    this.#choose(call, slices.length, request);
    const areas: Area[] = [];
    let at = request.iova;
    for (const slice of slices) {
      areas.push(this.#newArea(slice, at, request.prot));
      at += slice.length;
    }
    for (const area of areas) {
      this.#areas.insert(area);
      call.tx.onAbort(() => this.#areas.remove(area));
    }
    if (this.domains.length > 0) this.#fillAreas(call, areas);
  }

  /** {@link map} of the caller's memory. What can be refused without a domain is, before anything changes. */
  mapUser(call: Call, request: MapRequest, mode: AccountMode): void {
    this.#choose(call, 1, request);
    this.#checkPageOffset(request.addressLo);
    if (request.lengthHi === -1) checkCountable(request);
    this.#areas.note(request, call.task, mode);
    if (this.domains.length === 0) return;
    const area = this.areaAt(request.iova)!;
    call.tx.onAbort(() => this.#areas.remove(area));
    this.#fillAreas(call, [area]);
  }

  /** Finds the place of `count` areas, or checks the one that is asked for. */
  #choose(call: Call, count: number, request: MapRequest): void {
    for (let n = count; n > 0; n--) call.alloc('iopt_area');
    if (this.context.areas + count > this.context.env.limits.areas) {
      refuse(rules.area_limit, { limit: this.context.env.limits.areas });
    }
    if (request.isEmpty || !this.#isAligned(request.lengthLo)) {
      refuse(rules.map_length_alignment, { length: request.length, alignment: this.alignment });
    }
    if (request.isFixed) this.#checkFixed(request);
    else request.iova = this.#place(request.address, request.length);
  }

  /** Of a low word: the alignment is a page at most. */
  #isAligned(word: number): boolean {
    return (word & this.#alignmentMask) === 0;
  }

  /** Of a low word, that of an address in a page array. */
  #checkPageOffset(at: number): void {
    const offset = at & (PAGE_BYTES - 1);
    if (this.#isAligned(offset)) return;
    refuse(rules.map_page_offset, { offset: BigInt(offset), alignment: this.alignment });
  }

  #fillAreas(call: Call, areas: readonly Area[]): void {
    for (const area of areas) {
      const refusal = area.fillDomains();
      if (refusal !== null) refuse(refusal.rule, refusal.values);
      call.tx.onAbort(() => area.unfillDomains());
    }
  }

  #newArea(slice: PagesSlice, iova: bigint, prot: number): Area {
    const { pages, startByte, length } = slice;
    if ((prot & 2) !== 0 && !pages.writable) refuse(rules.map_read_only_source, { iova });
    this.#checkPageOffset(lowWord(startByte));
    const last = iova + length - 1n;
    invariant(last <= U64_MAX, 'the whole range was checked, and every slice lies in it');
    const area = new Area(this, iova, last, pages, startByte, prot);
    checkPageCount(iova, length, area.lastIndex, pages.pageCount);
    return area;
  }

  #place(address: bigint, length: bigint): bigint {
    if (length >= U64_MAX / 2n) refuse(rules.place_too_long, { length });
    const wanted = address === 0n ? roundUpPow2(length) : min(roundUpPow2(length), address & -address);
    const alignment = min(wanted, HPAGE_SIZE);
    if (alignment < this.alignment) {
      refuse(rules.place_alignment, { address, wanted: alignment, alignment: this.alignment });
    }
    const iova = findHole({
      allowed: this.allowed,
      blockers: [this.reserved.union, this.#areas.index],
      start: PAGE_SIZE,
      last: U64_MAX - PAGE_SIZE,
      length,
      alignment,
      pageOffset: pageOffset(address),
    });
    if (iova === null) refuse(rules.place_no_room, { length, alignment });
    return iova;
  }

  #checkFixed(request: MapRequest): void {
    const { iovaHi, iovaLo, lastHi, lastLo } = request;
    if (!this.#isAligned(iovaLo))
      refuse(rules.map_iova_alignment, { iova: request.iova, alignment: this.alignment });
    if (request.wraps) refuse(rules.map_iova_wraps, { iova: request.iova, length: request.length });
    if (this.reserved.union.overlapsWords(iovaHi, iovaLo, lastHi, lastLo)) {
      const { curStart: reserved, curLast: until } = this.reserved.union;
      refuse(rules.map_reserved, { iova: request.iova, last: request.last, reserved, until });
    }
    if (this.#areas.index.overlapsWords(iovaHi, iovaLo, lastHi, lastLo)) {
      const { curStart: start, curLast: end } = this.#areas.index;
      refuse(rules.map_exists, { iova: request.iova, last: request.last, start, end });
    }
  }

  /**
   * References to the pages behind `iova`..`iova+length-1`, which has to be mapped without a gap. They are for
   * {@link map} to take over, and are given back when the call fails.
   */
  slicesOf(call: Call, iova: bigint, length: bigint): PagesSlice[] {
    if (length === 0n) refuse(rules.copy_length, {});
    const last = iova + length - 1n;
    if (last > U64_MAX) refuse(rules.copy_source_wraps, { iova, length });
    const { areas, gap } = this.contiguous(iova, last);
    for (let n = areas.length; n > 0; n--) call.alloc('iopt_pages_list');
    if (gap !== null) refuse(rules.copy_source_gap, { iova, last, gap });
    return areas.map((area) => {
      const from = iova > area.iova ? iova : area.iova;
      area.pages.refs += 1;
      call.tx.onAbort(() => area.pages.put());
      return { pages: area.pages, startByte: area.byteOf(from), length: min(last, area.last) - from + 1n };
    });
  }

  /** {@link unmap} of just one area that is only noted, as most are; false: it is anything else. */
  unmapNoted({ iovaHi, iovaLo, lastHi, lastLo }: UnmapRequest): boolean {
    const { index } = this.#areas;
    const isThat =
      index.seekWords(iovaHi, iovaLo) &&
      index.curIs(iovaHi, iovaLo, lastHi, lastLo) &&
      this.#areas.current === null;
    if (isThat) this.#areas.removeNoted();
    return isThat;
  }

  /**
   * Removes all areas that lie in `start`..`last`; one that sticks out ends it with ENOENT, and what was removed
   * before stays removed. Returns the bytes removed.
   */
  unmap(start: bigint, last: bigint): bigint {
    let unmapped = 0n;
    let length: bigint;
    do {
      length = this.#unmapFirst(start, last);
      unmapped += length;
    } while (length !== 0n && unmapped <= last - start);
    return unmapped;
  }

  /** {@link unmap} for callers that want to know how far it came when it was refused. */
  unmapAsFarAsPossible(
    start: bigint,
    last: bigint,
  ): { readonly unmapped: bigint; readonly refusal: Errno | null } {
    let unmapped = 0n;
    try {
      for (let length; (length = this.#unmapFirst(start, last)) !== 0n;) unmapped += length;
    } catch (error) {
      if (error instanceof Errno) return { unmapped, refusal: error };
      throw error;
    }
    return { unmapped, refusal: null };
  }

  /** Removes the first area of `start`..`last`, which has to lie in there; returns its length, or 0: there is none. */
  #unmapFirst(start: bigint, last: bigint): bigint {
    if (!this.#areas.seek(start, last)) return 0n;
    const area = this.#areas.current;
    const { curStart, curLast } = this.#areas.index;
    if (area !== null && area.locks > 0) refuse(rules.unmap_locked, { iova: curStart, locks: area.locks });
    if (curStart < start || curLast > last) {
      refuse(rules.unmap_partial, { iova: curStart, areaLast: curLast, start, last });
    }
    if (area === null) {
      this.#areas.removeNoted();
    } else {
      this.#evictAccesses(area);
      this.#removeArea(area);
    }
    return curLast - curStart + 1n;
  }

  /** Asks who has pages of `area` pinned to let go. */
  #evictAccesses(area: Area): void {
    if (area.accesses === 0) return;
    area.preventAccess = true;
    for (const access of [...this.accesses]) access.notifyUnmap(area.iova, area.length);
    if (area.accesses > 0) refuse(rules.unmap_stuck_access, { iova: area.iova, accesses: area.accesses });
  }

  removeAll(): void {
    while (this.#areas.seek(0n, U64_MAX)) {
      const area = this.#areas.current;
      if (area === null) this.#areas.removeNoted();
      else this.#removeArea(area);
    }
  }

  #removeArea(area: Area): void {
    area.unfillDomains();
    this.#areas.remove(area);
    area.pages.put();
  }

  /** iopt_cut_iova: areas that contain `at` but do not end there are cut after it. */
  cutAfter(call: Call, at: bigint): void {
    const area = this.areaAt(at);
    if (area === null || at === area.iova || at === area.last) return;
    const next = at + 1n;
    if (area.preventAccess) refuse(rules.cut_busy, { iova: area.iova });
    if (area.pages.isDmaBuf) refuse(rules.cut_dma_buf, { iova: area.iova });
    if (misaligned(next, this.alignment) || misaligned(area.byteOf(next), this.alignment)) {
      refuse(rules.cut_alignment, { at: next, alignment: this.alignment });
    }
    call.alloc('iopt_area split left');
    call.alloc('iopt_area split right');
    if (area.accesses > 0) refuse(rules.cut_accessed, { iova: area.iova, accesses: area.accesses });
    invariant(this.disableLargePages, 'nothing is cut before large pages are off');
    const halves = area.split(next);
    this.#areas.remove(area);
    for (const half of halves) this.#areas.insert(half);
  }

  /** Replaces the list of allowed ranges, or refuses and keeps the old one. */
  setAllowed(ranges: readonly AddressRange[]): void {
    for (const { start, last } of ranges) {
      if (this.reserved.overlaps(start, last)) refuse(rules.allow_reserved, { start, last });
    }
    if (ranges.length === 0) {
      this.allowed = null;
      return;
    }
    this.allowed = new IntervalMap();
    for (const { start, last } of ranges) this.allowed.insert(start, last, 0);
  }

  /** Reserves `start`..`last` for `owner`. */
  reserve(start: bigint, last: bigint, owner: object | null): void {
    const refusal = this.#reserveRefusal(start, last);
    if (refusal !== null) refuse(refusal.rule, refusal.values);
    this.reserved.add(start, last, owner);
  }

  #reserveRefusal(start: bigint, last: bigint): Refusal | null {
    if (this.#areas.seek(start, last)) {
      return { rule: rules.reserve_mapped, values: { start, last, iova: this.#areas.index.curStart } };
    }
    if (this.allowed !== null && this.allowed.overlaps(start, last)) {
      return { rule: rules.reserve_allowed, values: { start, last, allowed: this.allowed.curStart } };
    }
    const limit = this.context.env.limits.ranges;
    if (this.reserved.count >= limit) return { rule: rules.range_limit, values: { limit } };
    return shortage(this.context.env.injector, 'failslab', 'iopt_reserved');
  }

  /** Makes `domain` show this address space: alignment, aperture, then all that is mapped. */
  addDomain(call: Call, domain: PagingDomain): void {
    const smallest = domain.pgsizeBitmap & -domain.pgsizeBitmap;
    const alignment = smallest > this.alignment ? smallest : this.alignment;
    if (alignment > PAGE_SIZE) refuse(rules.domain_page_size, { alignment, page: PAGE_SIZE });
    if (alignment !== this.alignment) this.#checkAreaAlignment(alignment);
    call.tx.onAbort(() => this.reserved.removeOwner(domain));
    if (domain.apertureStart !== 0n) this.reserve(0n, domain.apertureStart - 1n, domain);
    if (domain.apertureLast !== U64_MAX) this.reserve(domain.apertureLast + 1n, U64_MAX, domain);
    call.alloc('iopt domains');
    this.#fillDomain(domain);
    const before = this.alignment;
    this.alignment = alignment;
    this.domains.push(domain);
    call.tx.onAbort(() => {
      this.#withdraw(domain);
      this.alignment = before;
    });
  }

  #fillDomain(domain: PagingDomain): void {
    const filled: Area[] = [];
    for (const area of this.areas()) {
      const refusal = area.fillDomain(domain);
      if (refusal === null) {
        filled.push(area);
        continue;
      }
      for (const done of filled) {
        done.unmapFrom(domain);
        if (this.domains.length === 0) done.dropSpan();
      }
      refuse(refusal.rule, refusal.values);
    }
  }

  #checkAreaAlignment(alignment: bigint): void {
    for (const area of this.areas()) {
      if (
        misaligned(area.iova, alignment) ||
        misaligned(area.length, alignment) ||
        misaligned(area.pageOffset, alignment)
      ) {
        refuse(rules.alignment_conflict, { iova: area.iova, length: area.length, alignment });
      }
    }
  }

  removeDomain(domain: PagingDomain): void {
    this.#withdraw(domain);
    this.reserved.removeOwner(domain);
    this.recalculateAlignment();
  }

  #withdraw(domain: PagingDomain): void {
    const at = this.domains.indexOf(domain);
    const end = this.domains.pop()!;
    if (end !== domain) this.domains[at] = end;
    for (const area of this.areas()) {
      area.unmapFrom(domain);
      if (this.domains.length === 0) area.dropSpan();
    }
  }

  /** iopt_calculate_iova_alignment: throws, and changes nothing, when an area does not fit a larger one. */
  recalculateAlignment(): void {
    let alignment = this.disableLargePages ? PAGE_SIZE : 1n;
    for (const { pgsizeBitmap } of this.domains) alignment = max(alignment, pgsizeBitmap & -pgsizeBitmap);
    for (const access of this.accesses) alignment = max(alignment, access.alignment);
    if (alignment > this.alignment) this.#checkAreaAlignment(alignment);
    this.alignment = alignment;
  }

  setLargePages(enable: boolean): void {
    if (this.disableLargePages === !enable) {
      if (enable) this.recalculateAlignment();
      return;
    }
    if (!enable && this.domains.length > 0 && this.areaCount > 0) {
      refuse(rules.huge_pages_in_use, { areas: this.areaCount, domains: this.domains.length });
    }
    this.disableLargePages = !enable;
    try {
      this.recalculateAlignment();
    } catch (error) {
      if (error instanceof Errno) this.disableLargePages = enable;
      throw error;
    }
  }

  addAccess(call: Call, access: Access): void {
    call.alloc('iopt access list');
    this.#accesses ??= new Set();
    this.#accesses.add(access);
    try {
      this.recalculateAlignment();
    } catch (error) {
      this.#accesses.delete(access);
      throw error;
    }
  }

  removeAccess(access: Access): void {
    this.#accesses?.delete(access);
    this.recalculateAlignment();
  }

  /** iopt_table_enforce_dev_resv_regions: what the device cannot translate is not for mapping any more. */
  reserveDevice(call: Call, device: DmaDevice): void {
    if (call.shouldFail('device reserved regions'))
      refuse(rules.resv_regions_failed, { device: device.name });
    call.tx.onAbort(() => this.reserved.removeOwner(device));
    for (const { type, start, last } of device.resvRegions) {
      if (type !== 'direct-relaxable') this.reserve(start, last, device);
    }
  }
}

/** The pages of a range that is nearly as long as the whole space may be too many to count. */
function checkCountable({ iova, address, length }: MapRequest): void {
  if (length <= COUNTABLE) return;
  const lastIndex = pageIndex(pageOffset(address) + length - 1n);
  checkPageCount(iova, length, lastIndex, Pages.count(address, length));
}

function checkPageCount(iova: bigint, length: bigint, lastIndex: number, pages: number): void {
  if (lastIndex >= pages) refuse(rules.map_slice_pages, { iova, length, pages });
}

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** The smallest power of two that is not below `value` (> 0). */
function roundUpPow2(value: bigint): bigint {
  return value === 1n ? 1n : 1n << BigInt((value - 1n).toString(2).length);
}
