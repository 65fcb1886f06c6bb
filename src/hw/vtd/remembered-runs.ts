/**
 * Requests whose pages were all hits, and the runs that they gave: a buffer that a device uses again is not looked up page
 * by page. An answer is good for the same requester, PASID, bytes and rights and the same epoch, in which the pages would give
 * the same.
 */
import type { Translation } from '../../bus/dma.js';
import type { Epoch } from '../../mem/epoch.js';
import { RUN, type RunList } from '../../mem/runs.js';

const { STRIDE } = RUN;

/** Words of an answer: (0) high word of the address; what it was asked for; when; the runs. */
const W_LO = 1;
const W_LENGTH = 2;
const W_ACCESS = 3;
const W_SOURCE = 4;
const W_PASID = 5;
const W_EPOCH = 6;
const W_COUNT = 7;
const W_RUNS = 8;
const WORDS_LG2 = 6;
/** 64 KiB and two pages, if none are adjacent. Less than that few is looked up as fast. */
const MOST = Math.floor(((1 << WORDS_LG2) - W_RUNS) / STRIDE);
const FEWEST = 4;
const ANSWERS_LG2 = 8;

export class RememberedRuns {
  readonly #words = new Int32Array(1 << (ANSWERS_LG2 + WORDS_LG2));
  readonly #epoch: Epoch;

  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  /** Fills `runs`, which is empty, with the answer to `request` for `length` bytes; false: not known. */
  recall({ sourceId, pasid, hi, lo, access }: Translation, length: number, runs: RunList): boolean {
    const words = this.#words;
    const at = placeOf(hi, lo);
    if (
      words[at | W_LO] !== lo ||
      words[at] !== hi ||
      words[at | W_LENGTH] !== length ||
      words[at | W_ACCESS] !== access ||
      words[at | W_EPOCH] !== this.#epoch.count ||
      words[at | W_PASID] !== pasid ||
      words[at | W_SOURCE] !== sourceId
    ) {
      return false;
    }
    const count = words[at | W_COUNT]!;
    const to = runs.words;
    const from = at + W_RUNS;
    for (let word = 0; word < count * STRIDE; word += 1) to[word] = words[from + word]!;
    runs.count = count;
    runs.bytes = length;
    runs.areHits = true;
    return true;
  }

  /** `runs`, all of them hits, were the answer. */
  keep({ sourceId, pasid, hi, lo, access }: Translation, length: number, runs: RunList): void {
    const { count } = runs;
    if (count < FEWEST || count > MOST) return;
    const words = this.#words;
    const at = placeOf(hi, lo);
    words[at] = hi;
    words[at | W_LO] = lo;
    words[at | W_LENGTH] = length;
    words[at | W_ACCESS] = access;
    words[at | W_SOURCE] = sourceId;
    words[at | W_PASID] = pasid;
    words[at | W_EPOCH] = this.#epoch.count;
    words[at | W_COUNT] = count;
    for (let word = 0; word < count * STRIDE; word += 1) words[at + W_RUNS + word] = runs.words[word]!;
  }
}

function placeOf(hi: number, lo: number): number {
  return (Math.imul(hi ^ (lo >>> 12), 0x9e3779b1) >>> (32 - ANSWERS_LG2)) << WORDS_LG2;
}
