/**
 * A linear array of client pages that areas take slices of (struct iopt_pages). A page is pinned exactly once
 * here, however many domains and accesses use it: it is pinned while a domain span or an access span covers its
 * index. Pinned pages are kept as segments that are contiguous in HPA, so cost follows segments, not pages.
 */
import { invariant, type Refusal } from '../base/errno.js';
import { highWord, joinWords, lowWord } from '../base/words.js';
import type { Backing, Run } from '../mem/client.js';
import type { ForeignFile } from '../mem/task.js';
import { IOMMU_WRITE } from '../hw/unit.js';
import { charge, uncharge, type Payer } from './accounting.js';
import type { AccountMode } from './context.js';
import type { DmaBuf } from './dma-buf.js';
import type { Env } from './env.js';
import { shortage } from './shortage.js';
import { SpanSet, uncovered, type IndexRange } from './spans.js';
import { PAGE_SIZE, U64_MAX, pageDown, pageIndex, pageOffset, pageToBytes } from './units.js';
import { rules } from './rules.js';

/** Pinned pages `first..last`, contiguous in one backing and in HPA. */
interface Segment extends IndexRange {
  readonly hpa: bigint;
  readonly backing: Backing;
  /** Offset in the backing, bytes. */
  readonly offset: bigint;
}

/** Where the pages come from. */
export type PageSource =
  | { readonly kind: 'user' }
  | { readonly kind: 'file'; readonly file: ForeignFile }
  | { readonly kind: 'dma-buf'; readonly buffer: DmaBuf };

const userSource: PageSource = { kind: 'user' };

/** Of arrays of which nothing is pinned: most, where no domain is. Never written to. */
const noSegments: Segment[] = [];

export class Pages {
  refs = 1;
  pinnedCount = 0;
  /** Pages paid for; differs from {@link pinnedCount} only inside a call. */
  paidCount = 0;
  /** A revoked dma-buf: mapped areas of it are empty. */
  revoked = false;
  /** Spans that domains keep pinned; one for each area that fills any. */
  #domainSpans: SpanSet | null = null;
  /** Spans that in-kernel accesses keep pinned. */
  #accessSpans: SpanSet | null = null;
  /** Ascending, disjoint. */
  #segments = noSegments;
  readonly #baseHi: number;
  readonly #baseLo: number;

  constructor(
    readonly env: Env,
    readonly source: PageSource,
    base: bigint,
    readonly pageCount: number,
    readonly writable: boolean,
    public payer: Payer,
    public accountMode: AccountMode,
  ) {
    this.#baseHi = highWord(base);
    this.#baseLo = lowWord(base);
  }

  /** Those behind `length` bytes of user memory from `address` on. */
  static ofUser(
    env: Env,
    address: bigint,
    length: bigint,
    prot: number,
    payer: Payer,
    mode: AccountMode,
  ): Pages {
    const writable = (prot & IOMMU_WRITE) !== 0;
    return new Pages(env, userSource, pageDown(address), Pages.count(address, length), writable, payer, mode);
  }

  /**
   * How many pages `length` bytes from `address` on touch. Wraps as Linux' does for lengths near 2^64; the area is
   * refused then, for want of pages.
   */
  static count(address: bigint, length: bigint): number {
    return pageIndex(BigInt.asUintN(64, pageOffset(address) + length + (PAGE_SIZE - 1n)));
  }

  /** User address, file offset or dma-buf offset of page 0; a multiple of the page size. */
  get base(): bigint {
    return joinWords(this.#baseHi, this.#baseLo);
  }

  get domainSpans(): SpanSet {
    return (this.#domainSpans ??= new SpanSet());
  }

  get accessSpans(): SpanSet {
    return (this.#accessSpans ??= new SpanSet());
  }

  get isDmaBuf(): boolean {
    return this.source.kind === 'dma-buf';
  }

  /** Gives up one reference; the last one lets go of what the source holds. */
  put(): void {
    this.refs -= 1;
    if (this.refs > 0) return;
    if (this.source.kind === 'dma-buf') this.source.buffer.detach(this);
    else if (this.source.kind === 'file') this.source.file.release();
  }

  /**
   * Pins what is not pinned yet of `first..last`. What was pinned before a refusal stays, for
   * {@link unpinUnused} to take back.
   */
  pin(first: number, last: number): Refusal | null {
    const { injector } = this.env;
    const short =
      shortage(injector, 'fail_iommufd', 'pfn batch') ?? shortage(injector, 'failslab', 'page list');
    if (short !== null) return short;
    for (const hole of this.#unpinned(first, last)) {
      const refusal = this.#pinHole(hole);
      if (refusal !== null) return refusal;
    }
    return null;
  }

  #unpinned(first: number, last: number): IndexRange[] {
    const pinned = this.#segments.filter((segment) => segment.first <= last && segment.last >= first);
    return uncovered(first, last, pinned);
  }

  #pinHole(hole: IndexRange): Refusal | null {
    const at = this.base + pageToBytes(hole.first);
    if (this.env.injector.point('fail_iommufd', 'pin_user_pages')) {
      return { rule: rules.pin_failed, values: { at, why: 'made to fail' } };
    }
    const found = this.#find(hole);
    if ('rule' in found) return found;
    let index = hole.first;
    for (const run of found) {
      const refusal = this.#addRun(run, index);
      if (refusal !== null) return refusal;
      index += Number(run.length >> 12n);
    }
    return null;
  }

  /** What backs a hole, in address order. */
  #find(hole: IndexRange): Run[] | Refusal {
    const at = this.base + pageToBytes(hole.first);
    const length = pageToBytes(hole.last - hole.first + 1);
    if (this.source.kind === 'user') {
      if (at + length > U64_MAX) return { rule: rules.pin_wraps, values: { at, length } };
      const { mm } = this.payer;
      const isDevice = this.accountMode === 'device';
      const runs = isDevice ? mm.resolveDevice?.(at, length) : mm.resolve(at, length, this.writable);
      return (
        runs ?? { rule: rules.pin_fault, values: { at, length, access: this.writable ? 'write' : 'read' } }
      );
    }
    invariant(this.source.kind === 'file', 'whoever pins has asked first whether it is a dma-buf');
    const { file } = this.source;
    if (file.kind !== 'memfd') return { rule: rules.pin_not_memfd, values: { kind: file.kind } };
    const size = file.size();
    if (at + length > size) return { rule: rules.pin_beyond_file, values: { at, length, size } };
    return [{ backing: file.backing, offset: at, length }];
  }

  #addRun(run: Run, index: number): Refusal | null {
    const { backing, offset: start, length } = run;
    if (backing.hold?.(start, length) === false)
      return { rule: rules.pin_hold, values: { at: this.base + pageToBytes(index), length } };
    const pieces = this.env.physical.window(backing, start, length);
    if (pieces === null) {
      backing.unhold?.(start, length);
      return { rule: rules.no_hpa, values: { length } };
    }
    let offset = run.offset;
    let first = index;
    for (const piece of pieces) {
      const last = first + Number(piece.length >> 12n) - 1;
      this.#insert({ first, last, hpa: piece.hpa, backing: run.backing, offset });
      offset += piece.length;
      first = last + 1;
    }
    // One use was taken for the whole run; the segments are released one by one.
    if (pieces.length > 1) this.#resplit(run, pieces);
    this.#count(Number(run.length >> 12n));
    return null;
  }

  #resplit(run: Run, pieces: readonly { readonly length: bigint }[]): void {
    let offset = run.offset;
    for (const piece of pieces) {
      this.#use(run.backing, offset, piece.length);
      offset += piece.length;
    }
    this.#disuse(run.backing, run.offset, run.length);
  }

  /** One more use of what is held and has its place already. */
  #use(backing: Backing, offset: bigint, length: bigint): void {
    backing.hold?.(offset, length);
    this.env.physical.window(backing, offset, length);
  }

  #disuse(backing: Backing, offset: bigint, length: bigint): void {
    this.env.physical.unwindow(backing, offset, length);
    backing.unhold?.(offset, length);
  }

  #insert(segment: Segment): void {
    const segments = this.#segments === noSegments ? (this.#segments = []) : this.#segments;
    let at = segments.length;
    while (at > 0 && segments[at - 1]!.first > segment.first) at -= 1;
    segments.splice(at, 0, segment);
  }

  #count(change: number): void {
    this.pinnedCount += change;
    this.env.pins.update(this);
  }

  /** Unpins what of `first..last` no span covers, and takes it off the account. */
  unpinUnused(first: number, last: number): void {
    const used: IndexRange[] = [];
    this.#domainSpans?.overlapping(first, last, used);
    this.#accessSpans?.overlapping(first, last, used);
    for (const range of uncovered(first, last, used)) this.#unpin(range);
    if (this.paidCount > this.pinnedCount) {
      uncharge(this.payer, this.accountMode, this.paidCount - this.pinnedCount);
      this.paidCount = this.pinnedCount;
    }
  }

  #unpin(range: IndexRange): void {
    const kept: Segment[] = [];
    let gone = 0;
    for (const segment of this.#segments) {
      if (segment.first > range.last || segment.last < range.first) {
        kept.push(segment);
        continue;
      }
      if (segment.first < range.first) kept.push(this.#slice(segment, segment.first, range.first - 1));
      if (segment.last > range.last) kept.push(this.#slice(segment, range.last + 1, segment.last));
      gone += Math.min(segment.last, range.last) - Math.max(segment.first, range.first) + 1;
      const length = pageToBytes(segment.last - segment.first + 1);
      this.#disuse(segment.backing, segment.offset, length);
    }
    if (gone === 0) return;
    this.#segments = kept;
    this.#count(-gone);
  }

  /** A part of a segment, with a use of its own of the windows below it. */
  #slice(segment: Segment, first: number, last: number): Segment {
    const from = pageToBytes(first - segment.first);
    const offset = segment.offset + from;
    this.#use(segment.backing, offset, pageToBytes(last - first + 1));
    return { first, last, hpa: segment.hpa + from, backing: segment.backing, offset };
  }

  /** Pays for what has been pinned in this call (pfn_reader_user_update_pinned). */
  pay(): Refusal | null {
    const more = this.pinnedCount - this.paidCount;
    if (more === 0) return null;
    const refusal =
      shortage(this.env.injector, 'fail_iommufd', 'locked_vm') ?? charge(this.payer, this.accountMode, more);
    if (refusal === null) this.paidCount = this.pinnedCount;
    return refusal;
  }

  /**
   * The HPA pieces of pinned pages `first..last`, in order, adjacent ones merged. `visit` gets the index of the
   * first page, the HPA and the number of pages; it stops at the first `false` and returns that.
   */
  eachPiece(
    first: number,
    last: number,
    visit: (index: number, hpa: bigint, pages: number) => boolean,
  ): boolean {
    let index = first;
    let hpa = 0n;
    let pages = 0;
    for (const segment of this.#segments) {
      if (segment.last < first || segment.first > last) continue;
      const from = Math.max(segment.first, first);
      const start = segment.hpa + pageToBytes(from - segment.first);
      const count = Math.min(segment.last, last) - from + 1;
      if (pages > 0 && hpa + pageToBytes(pages) === start) {
        pages += count;
        continue;
      }
      if (pages > 0 && !visit(index, hpa, pages)) return false;
      index = from;
      hpa = start;
      pages = count;
    }
    return pages === 0 || visit(index, hpa, pages);
  }

  /** HPA of page `index`; null when it is not pinned. */
  hpaOf(index: number): bigint | null {
    const segment = this.#segments.find((each) => each.first <= index && each.last >= index);
    return segment === undefined ? null : segment.hpa + pageToBytes(index - segment.first);
  }

  /** Whether the frame at `hpa` (a multiple of the page size) is pinned by this array. */
  pins(hpa: bigint): boolean {
    return this.#segments.some((segment) => {
      const end = segment.hpa + pageToBytes(segment.last - segment.first + 1);
      return hpa >= segment.hpa && hpa < end;
    });
  }
}
