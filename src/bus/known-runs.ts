/**
 * The runs that one side of a port was led to, by what it asked for: a buffer that a device uses again is not translated
 * page by page. Only what a unit has cached is kept, and it is good for the epoch, in which it would be the same.
 * Lists change hands, and are not copied.
 */
import type { Epoch } from '../mem/epoch.js';
import { RunList } from '../mem/runs.js';

/** Words of a place: (0) high word of the address; what else was asked for, and when. */
const W_LO = 1;
const W_LENGTH = 2;
const W_ACCESS = 3;
const W_PASID = 4;
const W_EPOCH = 5;
const WORDS_LG2 = 3;
/** A prime: buffers at multiples of any size have places of their own. */
const PLACES = 127;
/** The epoch of a place that has no answer. */
const NEVER = 0;

export class KnownRuns {
  readonly #words = new Int32Array(PLACES << WORDS_LG2);
  readonly #lists: (RunList | null)[] = Array.from({ length: PLACES }, () => null);
  /** The place of the last question. */
  #last = 0;
  readonly #epoch: Epoch;

  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  /** The answer to a question; null: not known. Whoever uses some of it up forgets it. */
  recall(hi: number, lo: number, length: number, access: number, pasid: number): RunList | null {
    const words = this.#words;
    const place = placeOf(hi, lo);
    const at = place << WORDS_LG2;
    this.#last = place;
    if (
      words[at | W_LO] !== lo ||
      words[at | W_EPOCH] !== this.#epoch.count ||
      words[at] !== hi ||
      words[at | W_LENGTH] !== length ||
      words[at | W_ACCESS] !== access ||
      words[at | W_PASID] !== pasid
    ) {
      return null;
    }
    return this.#lists[place]!;
  }

  /** Keeps the answer to a question. Returns another list in exchange, with anything in it. */
  keep(hi: number, lo: number, access: number, pasid: number, runs: RunList): RunList {
    const words = this.#words;
    const place = placeOf(hi, lo);
    const at = place << WORDS_LG2;
    words[at] = hi;
    words[at | W_LO] = lo;
    words[at | W_LENGTH] = runs.bytes;
    words[at | W_ACCESS] = access;
    words[at | W_PASID] = pasid;
    words[at | W_EPOCH] = this.#epoch.count;
    const before = this.#lists[place] ?? new RunList();
    this.#lists[place] = runs;
    return before;
  }

  /** The answer to what was asked last is none any more. */
  forget(): void {
    this.#words[(this.#last << WORDS_LG2) | W_EPOCH] = NEVER;
  }
}

function placeOf(hi: number, lo: number): number {
  return (((hi << 20) | (lo >>> 12)) >>> 0) % PLACES;
}
