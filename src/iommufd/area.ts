/**
 * A range of IOVA in one IOAS, and the slice of a page array that it shows (struct iopt_area). While the IOAS has
 * domains, the slice is pinned and mapped in each of them; the first domain is the one whose span keeps it pinned.
 */
import { invariant, type Refusal, type Rule } from '../base/errno.js';
import { highWord, joinWords, lowWord } from '../base/words.js';
import { IOMMU_WRITE, type MapStatus, type PagingDomain } from '../hw/unit.js';
import type { IoPagetable } from './io-pagetable.js';
import type { Pages } from './pages.js';
import { PAGE_SIZE, pageIndex, pageOffset, pageToBytes } from './units.js';
import { rules } from './rules.js';

/** What a page table that refuses a mapping means to the caller. */
const mapRules: Record<Exclude<MapStatus, 'ok'>, Rule> = {
  ENOMEM: rules.page_table_memory,
  EADDRINUSE: rules.page_table_in_use,
  ERANGE: rules.page_table_range,
  ENXIO: rules.page_table_alignment,
  EINVAL: rules.page_table_prot,
};

export class Area {
  /** Accesses that pin parts of this area; each keeps it from being split and is told before it is unmapped. */
  accesses = 0;
  /** Accesses that refuse to let go: hardware queues. */
  locks = 0;
  /** Set while an unmap waits for the accesses to end: no new ones. */
  preventAccess = false;
  /** Whether the span of this area is counted in its pages: it has been filled into the domains. */
  filled = false;
  /** Where the table keeps it; the table's business. */
  slot = -1;
  // Words, because there may be a million areas and a bigint would be one more object of each.
  readonly #iovaHi: number;
  readonly #iovaLo: number;
  readonly #lastHi: number;
  readonly #lastLo: number;
  readonly #startByteHi: number;
  readonly #startByteLo: number;

  /** Shows `iova`..`last` (inclusive) byte `startByte` and what follows of `pages`. */
  constructor(
    readonly table: IoPagetable,
    iova: bigint,
    last: bigint,
    readonly pages: Pages,
    startByte: bigint,
    readonly prot: number,
  ) {
    // So whoever asks an area for its permission need not ask the pages again, as Linux does.
    invariant((prot & IOMMU_WRITE) === 0 || pages.writable, 'a writable area shows pages that are not');
    this.#iovaHi = highWord(iova);
    this.#iovaLo = lowWord(iova);
    this.#lastHi = highWord(last);
    this.#lastLo = lowWord(last);
    this.#startByteHi = highWord(startByte);
    this.#startByteLo = lowWord(startByte);
  }

  get iova(): bigint {
    return joinWords(this.#iovaHi, this.#iovaLo);
  }

  /** Inclusive. */
  get last(): bigint {
    return joinWords(this.#lastHi, this.#lastLo);
  }

  /** Byte of the page array that {@link iova} shows. */
  get startByte(): bigint {
    return joinWords(this.#startByteHi, this.#startByteLo);
  }

  get length(): bigint {
    return this.last - this.iova + 1n;
  }

  get pageOffset(): bigint {
    return pageOffset(this.startByte);
  }

  get firstIndex(): number {
    return pageIndex(this.startByte);
  }

  get lastIndex(): number {
    return pageIndex(this.startByte + (this.last - this.iova));
  }

  /** Byte of the page array behind `iova`. */
  byteOf(iova: bigint): bigint {
    return this.startByte + (iova - this.iova);
  }

  /**
   * Pins the slice and maps it in every domain of the IOAS. After a refusal the domains are as before; pins are
   * given back too.
   */
  fillDomains(): Refusal | null {
    const { domains } = this.table;
    if (domains.length === 0) return null;
    const refusal = this.#pinAndMap(domains);
    if (refusal !== null) return refusal;
    this.pages.domainSpans.add(this.firstIndex, this.lastIndex);
    this.filled = true;
    if (this.pages.source.kind === 'dma-buf') this.pages.source.buffer.track(this.pages, this);
    return null;
  }

  /** Maps the slice in a domain that is new to the IOAS. */
  fillDomain(domain: PagingDomain): Refusal | null {
    const refusal = this.#pinAndMap([domain]);
    if (refusal !== null) return refusal;
    if (this.filled) return null;
    this.pages.domainSpans.add(this.firstIndex, this.lastIndex);
    this.filled = true;
    if (this.pages.source.kind === 'dma-buf') this.pages.source.buffer.track(this.pages, this);
    return null;
  }

  #pinAndMap(domains: readonly PagingDomain[]): Refusal | null {
    const { pages } = this;
    if (pages.revoked) return null;
    const refusal = pages.isDmaBuf ? null : pages.pin(this.firstIndex, this.lastIndex);
    let mapped = 0;
    let failure = refusal;
    while (failure === null && mapped < domains.length) {
      const status = this.#map(domains[mapped]!);
      if (status === 'ok') mapped += 1;
      else
        failure = {
          rule: mapRules[status],
          values: { iova: this.iova, length: this.length, prot: this.prot },
        };
    }
    failure ??= pages.pay();
    if (failure === null) return null;
    for (const domain of domains.slice(0, mapped)) domain.unmap(this.iova, this.length);
    if (!pages.isDmaBuf) pages.unpinUnused(this.firstIndex, this.lastIndex);
    return failure;
  }

  /** On failure nothing is left mapped. */
  #map(domain: PagingDomain): MapStatus {
    let done = 0n;
    let status: MapStatus = 'ok';
    const mapPiece = (hpa: bigint, length: bigint): boolean => {
      status = this.#mapPiece(domain, this.iova + done, hpa, length);
      if (status === 'ok') done += length;
      return status === 'ok';
    };
    const { pages } = this;
    if (pages.source.kind === 'dma-buf') {
      mapPiece(pages.source.buffer.hpa + pages.base + this.startByte, this.length);
    } else {
      pages.eachPiece(this.firstIndex, this.lastIndex, (_index, hpa, count) => {
        const skip = done === 0n ? this.pageOffset : 0n;
        const room = this.length - done;
        const length = pageToBytes(count) - skip;
        return mapPiece(hpa + skip, length < room ? length : room);
      });
    }
    if (status !== 'ok' && done > 0n) domain.unmap(this.iova, done);
    return status;
  }

  /** Without large pages every page gets an entry of its own, so that VFIO may cut anywhere later. */
  #mapPiece(domain: PagingDomain, iova: bigint, hpa: bigint, length: bigint): MapStatus {
    if (!this.table.disableLargePages) return domain.map(iova, hpa, length, this.prot);
    for (let done = 0n; done < length; done += PAGE_SIZE) {
      const status = domain.map(iova + done, hpa + done, PAGE_SIZE, this.prot);
      if (status === 'ok') continue;
      if (done > 0n) domain.unmap(iova, done);
      return status;
    }
    return 'ok';
  }

  /** Takes the slice out of one domain; the pins stay (another domain still uses them). */
  unmapFrom(domain: PagingDomain): void {
    if (!this.pages.revoked) domain.unmap(this.iova, this.length);
  }

  /** Takes the slice out of every domain and gives its pins back, unless an access still needs them. */
  unfillDomains(): void {
    if (!this.filled) return;
    for (const domain of this.table.domains) this.unmapFrom(domain);
    this.dropSpan();
  }

  /** The last domain is gone, or the area is: its span no longer pins anything. */
  dropSpan(): void {
    const { pages } = this;
    this.filled = false;
    pages.domainSpans.remove(this.firstIndex, this.lastIndex);
    if (pages.source.kind === 'dma-buf') pages.source.buffer.untrack(pages, this);
    else pages.unpinUnused(this.firstIndex, this.lastIndex);
  }

  /** A dma-buf was revoked under it. */
  unmapFromDomains(): void {
    for (const domain of this.table.domains) this.unmapFrom(domain);
  }

  /** The two halves cut before `at`, with references of their own to the pages. Their spans take the whole's place. */
  split(at: bigint): readonly [Area, Area] {
    const left = new Area(this.table, this.iova, at - 1n, this.pages, this.startByte, this.prot);
    const right = new Area(this.table, at, this.last, this.pages, this.byteOf(at), this.prot);
    this.pages.refs += 1;
    if (this.filled) {
      for (const half of [left, right]) {
        half.filled = true;
        this.pages.domainSpans.add(half.firstIndex, half.lastIndex);
      }
      this.pages.domainSpans.remove(this.firstIndex, this.lastIndex);
    }
    return [left, right];
  }
}
