/**
 * Hits in a row: page after page of a request that is longer than one, as far as the IOTLB answers for them. Every page is
 * compared as {@link Requests.translate} compares it. Once pages are found to be adjacent, that is kept beside the entry
 * of the first one, and is good for the epoch.
 */
import * as dma from '../../bus/dma.js';
import type { Translation } from '../../bus/dma.js';
import type { Epoch } from '../../mem/epoch.js';
import { RUN, MOST_RUNS, type RunList } from '../../mem/runs.js';
import type { TableStore } from '../../mem/table-store.js';
import { ENTRIES, ENTRY, frontOf, type Iotlb } from './iotlb.js';
import { lastIndexOf, type LastSpace, type LastSpaces } from './last-spaces.js';
import * as bits from './structures.js';

// An imported constant is a load wherever it is used, a local one is not (seen: 0.5 ns each).
const { DMA_EXEC, DMA_READ, DMA_WRITE } = dma;
const { E_FLAGS, E_HIGH, E_HPA_HI, E_HPA_LO, E_MASK, E_SEEN, E_TAG, STRIDE_LG2 } = ENTRY;
const { R_LENGTH, R_LO, STRIDE } = RUN;
const RUNS_END = MOST_RUNS * STRIDE;
const RIGHTS = DMA_READ | DMA_WRITE | DMA_EXEC;
const { INTERRUPT_LO, INTERRUPT_MASK } = bits;
const PAGE_LG2 = 12;
const PAGE_SIZE = 1 << PAGE_LG2;
const PAGE_MASK = PAGE_SIZE - 1;
/** Of a page: `E_MASK`. */
const ONE_PAGE = -1;

/** Words of a row, one row for each entry: (0) pages from it on, and when that was so; what may be done to all of them. */
const A_EPOCH = 1;
const A_RIGHTS = 2;
const ADJACENT_LG2 = 2;

export class RunHits {
  readonly #iotlb: Iotlb;
  readonly #last: readonly LastSpace[];
  readonly #tables: TableStore;
  readonly #epoch: Epoch;
  readonly #adjacent = new Int32Array(ENTRIES << ADJACENT_LG2);

  constructor(iotlb: Iotlb, last: LastSpaces, tables: TableStore, epoch: Epoch) {
    this.#iotlb = iotlb;
    this.#last = last.all;
    this.#tables = tables;
    this.#epoch = epoch;
  }

  /** Adds what hits, from the address of `request` on, to `runs`; how many bytes of `length` that is. */
  take(request: Translation, length: number, runs: RunList): number {
    const last = this.#last[lastIndexOf(request.sourceId, request.pasid)]!;
    if (request.sourceId !== last.source || request.pasid !== last.pasid) return 0;
    return this.#takePages(last, request, length, runs);
  }

  #takePages(last: LastSpace, request: Translation, length: number, runs: RunList): number {
    const { hash, tagHigh, tagLow } = last;
    const { moves } = this.#tables;
    const { words: entries, front } = this.#iotlb;
    const epoch = this.#epoch.count;
    const adjacent = this.#adjacent;
    let { hi, lo } = request;
    let left = length;
    const { words, count } = runs;
    // The run in hand: where it begins, its bytes; of its entries the first, how many pages, what may be done to all.
    let to = count > 0 ? (count - 1) * STRIDE : 0;
    let runHi = words[to]!;
    let runLo = words[to + R_LO]!;
    let run = count > 0 ? words[to + R_LENGTH]! : 0;
    let first = 0;
    let pages = 0;
    let rights = 0;
    while (left > 0) {
      const at = front[frontOf((hi << 20) | (lo >>> 12), hash)]! << STRIDE_LG2;
      const mask = entries[at | E_MASK]!;
      const flags = entries[at | E_FLAGS]!;
      if (
        ((entries[at]! ^ ((hi << 20) | (lo >>> 12))) & mask) !== 0 ||
        entries[at | E_HIGH] !== ((hi >>> 12) | tagHigh) ||
        entries[at | E_TAG] !== tagLow ||
        entries[at | E_SEEN] !== moves ||
        (request.access & ~(flags & RIGHTS)) !== 0 ||
        (lo & INTERRUPT_MASK) === INTERRUPT_LO
      )
        break;
      const row = at >>> (STRIDE_LG2 - ADJACENT_LG2);
      let more = 1;
      let allowed = flags;
      let room = PAGE_SIZE - (lo & PAGE_MASK);
      let within = lo & PAGE_MASK;
      // Predictions, not calculations, so that the next page does not wait until this one is loaded.
      if (mask !== ONE_PAGE) {
        within = lo & ~(mask << PAGE_LG2);
        room = (0 - (mask << PAGE_LG2) - within) | 0;
      } else if (adjacent[row | A_EPOCH] === epoch && (request.access & ~adjacent[row | A_RIGHTS]!) === 0) {
        more = adjacent[row]!;
        allowed = adjacent[row | A_RIGHTS]!;
        room = ((more << PAGE_LG2) - within) | 0;
      }
      const block = room < left ? room : left;
      const hpaHi = entries[at | E_HPA_HI]!;
      const hpaLo = entries[at | E_HPA_LO]! | within;
      if (block === length && count === 0) return one(runs, hpaHi, hpaLo, length);
      // A run ends with its high word; a page where that one begins lies 4 GiB before what follows.
      if (hpaLo === ((runLo + run) | 0) && hpaLo !== 0 && hpaHi === runHi && run > 0) {
        run = (run + block) | 0;
        pages = mask === ONE_PAGE && pages > 0 ? (pages + more) | 0 : 0;
        rights &= allowed;
      } else {
        if (run > 0) {
          if (pages > 1) this.#keep(first, pages, rights);
          to = put(words, to, runHi, runLo, run);
          run = 0;
          if (to === RUNS_END) break;
        }
        runHi = hpaHi;
        runLo = hpaLo;
        run = block;
        first = row;
        pages = mask === ONE_PAGE ? more : 0;
        rights = allowed;
      }
      left = (left - block) | 0;
      lo = (lo + block) | 0;
      if (lo >>> 0 < block) hi = (hi + 1) | 0;
    }
    if (run > 0) {
      if (pages > 1) this.#keep(first, pages, rights);
      to = put(words, to, runHi, runLo, run);
    }
    return end(length, left, runs, to);
  }

  #keep(row: number, pages: number, rights: number): void {
    const adjacent = this.#adjacent;
    adjacent[row] = pages;
    adjacent[row | A_EPOCH] = this.#epoch.count;
    adjacent[row | A_RIGHTS] = rights & RIGHTS;
  }
}

/** All but `left` bytes were hits; the runs go up to index `to`, which `runs` does not know yet. */
function end(length: number, left: number, runs: RunList, to: number): number {
  runs.areHits = left === 0 && runs.count === 0;
  runs.count = to / STRIDE;
  runs.bytes += length - left;
  return length - left;
}

/** The only run. */
function one(runs: RunList, hi: number, lo: number, length: number): number {
  put(runs.words, 0, hi, lo, length);
  runs.count = 1;
  runs.bytes = length;
  runs.areHits = true;
  return length;
}

/** Writes a run; where the next one goes. */
function put(words: Int32Array, at: number, hi: number, lo: number, length: number): number {
  words[at] = hi;
  words[at + R_LO] = lo;
  words[at + R_LENGTH] = length;
  return at + STRIDE;
}
