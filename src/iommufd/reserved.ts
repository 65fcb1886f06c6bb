/**
 * Ranges of an IOAS that nothing may be mapped in, each with its owner: what lies outside a domain's aperture,
 * and windows that a device cannot translate. Reservations may overlap each other; {@link union} shows what is left
 * when they are merged.
 */
import { IntervalMap } from '../base/interval-map.js';
import { U64_MAX } from './units.js';

/** Inclusive. */
export interface AddressRange {
  readonly start: bigint;
  readonly last: bigint;
}

interface Reservation extends AddressRange {
  readonly owner: object | null;
}

export class ReservedRanges {
  #ranges: Reservation[] = [];
  /** Disjoint; values mean nothing. */
  readonly union = new IntervalMap();

  get count(): number {
    return this.#ranges.length;
  }

  add(start: bigint, last: bigint, owner: object | null): void {
    this.#ranges.push({ start, last, owner });
    this.#merge();
  }

  removeOwner(owner: object | null): void {
    const before = this.#ranges.length;
    this.#ranges = this.#ranges.filter((range) => range.owner !== owner);
    if (this.#ranges.length !== before) this.#merge();
  }

  overlaps(start: bigint, last: bigint): boolean {
    return this.union.overlaps(start, last);
  }

  /** What is not reserved, in order: what IOAS_IOVA_RANGES reports. */
  *holes(): Generator<AddressRange> {
    let from = 0n;
    for (let more = this.union.seek(0n); more; more = this.union.seek(from)) {
      const { curStart, curLast } = this.union;
      if (curStart > from) yield { start: from, last: curStart - 1n };
      if (curLast === U64_MAX) return;
      from = curLast + 1n;
    }
    yield { start: from, last: U64_MAX };
  }

  /** Touching ranges become one, so that a hole is never empty. */
  #merge(): void {
    this.union.clear();
    const sorted = this.#ranges.toSorted((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
    let current: { start: bigint; last: bigint } | null = null;
    for (const { start, last } of sorted) {
      if (current !== null && (current.last === U64_MAX || start <= current.last + 1n)) {
        if (last > current.last) current.last = last;
        continue;
      }
      if (current !== null) this.union.insert(current.start, current.last, 0);
      current = { start, last };
    }
    if (current !== null) this.union.insert(current.start, current.last, 0);
  }
}
