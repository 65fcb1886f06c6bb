/**
 * Which rows of the paging-structure caches a walk went on from, and whether tables have changed since these rows were
 * known to be true. Hardware goes on there all the same; that it may not be where the tables lead is for {@link Staleness}.
 */
import { R_SEEN } from './paging-cache.js';

/** A page and a step for each of five tables, and a step for the result. */
const MOST = 16;

export class Passed {
  /** How many rows. */
  count = 0;
  isFirstOld = false;
  isSecondOld = false;
  /** Generations now: of the first stage's tables and the second's, added up; and of the second's. */
  firstSeen = 0;
  secondSeen = 0;
  readonly #cached: Int32Array;
  /** Rows of the first stage; those of the second stand here inverted. */
  readonly #rows = new Int32Array(MOST);

  /** `cached`: PagingCache.words. */
  constructor(cached: Int32Array) {
    this.#cached = cached;
  }

  /** A walk begins. */
  begin(firstGeneration: number, secondGeneration: number): void {
    this.secondSeen = secondGeneration;
    this.firstSeen = (firstGeneration + secondGeneration) | 0;
    this.forget();
  }

  /** Caches are not asked, or do not count any more. */
  forget(): void {
    this.count = 0;
    this.isFirstOld = false;
    this.isSecondOld = false;
  }

  addFirst(row: number): void {
    this.#rows[this.count] = row;
    this.count += 1;
    if (this.#cached[row + R_SEEN] !== this.firstSeen) this.isFirstOld = true;
  }

  addSecond(row: number): void {
    this.#rows[this.count] = ~row;
    this.count += 1;
    if (this.#cached[row + R_SEEN] !== this.secondSeen) this.isSecondOld = true;
  }

  /** Notes when a new row is true; one that lies behind an old one is as old. */
  noteFirst(row: number): void {
    this.#cached[row + R_SEEN] = this.#asOld(this.firstSeen);
  }

  noteSecond(row: number): void {
    this.#cached[row + R_SEEN] = this.#asOld(this.secondSeen);
  }

  /** A walk without caches has led to the same place. */
  trust(): void {
    for (let at = 0; at < this.count; at += 1) {
      const row = this.#rows[at]!;
      if (row >= 0) this.#cached[row + R_SEEN] = this.firstSeen;
      else this.#cached[~row + R_SEEN] = this.secondSeen;
    }
  }

  #asOld(seen: number): number {
    return this.isFirstOld || this.isSecondOld ? (seen - 1) | 0 : seen;
  }
}
