/** Ranges of page indexes, inclusive, several of which may be equal or overlap: who wants which pages pinned. */

export interface IndexRange {
  readonly first: number;
  readonly last: number;
}

interface CountedRange extends IndexRange {
  count: number;
}

/** A multiset of ranges. Equal ranges are one entry. */
export class SpanSet {
  readonly #ranges: CountedRange[] = [];

  get empty(): boolean {
    return this.#ranges.length === 0;
  }

  /** How often exactly this range is in the set. */
  countOf(first: number, last: number): number {
    return this.#find(first, last)?.count ?? 0;
  }

  add(first: number, last: number): void {
    const known = this.#find(first, last);
    if (known !== undefined) known.count += 1;
    else this.#ranges.push({ first, last, count: 1 });
  }

  remove(first: number, last: number): void {
    const known = this.#find(first, last);
    if (known === undefined) return;
    known.count -= 1;
    if (known.count > 0) return;
    const end = this.#ranges.pop()!;
    if (end !== known) this.#ranges[this.#ranges.indexOf(known)] = end;
  }

  /** Adds to `into` the ranges that touch `first..last`. */
  overlapping(first: number, last: number, into: IndexRange[]): void {
    for (const range of this.#ranges) if (range.first <= last && range.last >= first) into.push(range);
  }

  #find(first: number, last: number): CountedRange | undefined {
    return this.#ranges.find((range) => range.first === first && range.last === last);
  }
}

/** The parts of `first..last` that no range of `taken` covers, in order. */
export function uncovered(first: number, last: number, taken: IndexRange[]): IndexRange[] {
  if (taken.length === 0) return [{ first, last }];
  taken.sort((a, b) => a.first - b.first);
  const holes: IndexRange[] = [];
  let from = first;
  for (const range of taken) {
    if (range.first > from) holes.push({ first: from, last: Math.min(range.first - 1, last) });
    from = Math.max(from, range.last + 1);
    if (from > last) return holes;
  }
  holes.push({ first: from, last });
  return holes;
}
