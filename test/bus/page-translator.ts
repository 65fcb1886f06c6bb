/** A translator of tests: pages of one address space for each PASID, kept in a map, answered in blocks. */
import {
  DMA_READ,
  DMA_WRITE,
  type PageRequestMessage,
  type Translation,
  type Translator,
} from '../../src/bus/dma.js';
import { highWord, joinWords, lowWord } from '../../src/base/words.js';

interface Page {
  readonly hpa: bigint;
  readonly permitted: number;
}

const PAGE = 12n;

export class PageTranslator implements Translator {
  readonly name = 'pages';
  /** Questions that were asked, and page requests that came. */
  asked = 0;
  readonly requests: PageRequestMessage[] = [];
  onPageRequest: ((message: PageRequestMessage) => void) | null = null;
  /** lg2 of the largest block that is answered. */
  largestBlock = 12;
  readonly #pages = new Map<string, Page>();

  map(pasid: number, iova: bigint, hpa: bigint, permitted = DMA_READ | DMA_WRITE): void {
    this.#pages.set(`${pasid} ${iova >> PAGE}`, { hpa, permitted });
  }

  unmap(pasid: number, iova: bigint): void {
    this.#pages.delete(`${pasid} ${iova >> PAGE}`);
  }

  translate(request: Translation): boolean {
    this.asked += 1;
    const iova = joinWords(request.hi, request.lo);
    if (request.addressType === 2) return this.#answer(request, iova, 52, DMA_READ | DMA_WRITE);
    const page = this.#pages.get(`${request.pasid} ${iova >> PAGE}`);
    const wanted = request.access & (DMA_READ | DMA_WRITE);
    if (page === undefined || (page.permitted & wanted) !== wanted) {
      request.reason = page === undefined ? 0x71 : 0x85;
      request.recoverable = request.addressType === 1;
      return false;
    }
    const hpa = page.hpa | (iova & 0xfffn);
    return this.#answer(request, hpa, this.#blockAround(request.pasid, iova, page), page.permitted);
  }

  #answer(request: Translation, hpa: bigint, sizeLg2: number, permitted: number): boolean {
    request.hpaHi = highWord(hpa);
    request.hpaLo = lowWord(hpa);
    request.sizeLg2 = sizeLg2;
    request.permitted = permitted;
    return true;
  }

  /** The largest aligned block around a page whose pages lie as in HPA and are permitted the same. */
  #blockAround(pasid: number, iova: bigint, page: Page): number {
    let sizeLg2 = 12;
    for (; sizeLg2 < this.largestBlock; sizeLg2 += 1) {
      const size = 1n << BigInt(sizeLg2 + 1);
      const start = iova & -size;
      if ((page.hpa & (size - 1n)) !== (iova & (size - 1n) & ~0xfffn)) break;
      for (let at = start; at < start + size; at += 4096n) {
        const other = this.#pages.get(`${pasid} ${at >> PAGE}`);
        if (other?.hpa !== page.hpa + (at - (iova & ~0xfffn)) || other.permitted !== page.permitted)
          return sizeLg2;
      }
    }
    return sizeLg2;
  }

  pageRequest(message: PageRequestMessage): void {
    this.requests.push(message);
    this.onPageRequest?.(message);
  }
}
