/** One side of an operation of a port, on its way through the address space: what is asked next, and what is in hand. */
import { carry } from '../base/words.js';
import type { PhysicalMemory } from '../mem/physical.js';
import { RunList } from '../mem/runs.js';
import { NO_PASID } from './dma.js';
import { HeldRun } from './held-run.js';
import { KnownRuns } from './known-runs.js';

/**
 * How often what a port was led to may be gone in a row, at one place. A process whose memory devices share changes it
 * between translation and copy, and may do so again; memory that is gone for good is asked for in vain so often.
 */
const ATTEMPTS = 16;

export class Cursor {
  access = 0;
  pasid = NO_PASID;
  /** The next byte to ask for, and how many there are from it on. */
  hi = 0;
  lo = 0;
  left = 0;
  /** What was translated and is not moved yet: an own list, or one that is known. */
  runs = new RunList();
  readonly held: HeldRun;
  /** The translation of (hi, lo) was refused. */
  isRefused = false;
  reason = 0;
  recoverable = false;
  /** Where translations were asked for again, and how often. */
  #again = -1;
  #attempts = 0;
  /** When {@link runs} were asked for. */
  #asked = 0;
  #own = this.runs;
  readonly #known: KnownRuns;
  readonly #memory: PhysicalMemory;

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
    this.held = new HeldRun(memory);
    this.#known = new KnownRuns(memory.epoch);
  }

  start(hi: number, lo: number, length: number, access: number, pasid: number): void {
    this.access = access;
    this.pasid = pasid;
    this.#again = -1;
    this.#from(hi, lo, length);
  }

  #from(hi: number, lo: number, length: number): void {
    this.hi = hi;
    this.lo = lo;
    this.left = length;
    this.#clear();
    this.isRefused = false;
  }

  #clear(): void {
    this.runs = this.#own;
    this.#own.clear();
  }

  /** What it was led to at `done` is not there any more; false when that was so too often. */
  mayAskAgain(done: number): boolean {
    this.#attempts = this.#again === done ? this.#attempts + 1 : 1;
    this.#again = done;
    this.#known.forget();
    return this.#attempts < ATTEMPTS;
  }

  /** Goes back to where `done` bytes from (hi, lo) end, for the `left` that follow; nothing is in hand. */
  restart(hi: number, lo: number, done: number, left: number): void {
    this.#from((hi + carry(lo, done)) | 0, (lo + done) | 0, left);
  }

  /** The next `length` bytes were translated. */
  pass(length: number): void {
    this.left -= length;
    this.hi = (this.hi + carry(this.lo, length)) | 0;
    this.lo = (this.lo + length) | 0;
  }

  /** Has the runs of `length` bytes in hand if they are known; false: ask. */
  recall(length: number): boolean {
    const runs = this.#known.recall(this.hi, this.lo, length, this.access, this.pasid);
    if (runs === null) {
      this.#asked = this.#memory.epoch.count;
      return false;
    }
    this.runs = runs;
    this.pass(length);
    return true;
  }

  /** The first `length` bytes in hand were moved. */
  drop(length: number): void {
    this.#known.forget();
    this.runs.drop(length);
  }

  /** All in hand was moved: an operation on so many bytes from (hi, lo) on, if they were translated at once. */
  finish(hi: number, lo: number, length: number): void {
    const { runs, access, pasid } = this;
    // What was moved may itself have ended the epoch, as a store to a table does.
    if (
      runs === this.#own &&
      runs.areHits &&
      length === runs.bytes &&
      this.#asked === this.#memory.epoch.count
    ) {
      if (runs.count === 1) this.held.keep(hi, lo, access, pasid, runs);
      else this.#own = this.#known.keep(hi, lo, access, pasid, runs);
    }
    this.#clear();
  }
}
