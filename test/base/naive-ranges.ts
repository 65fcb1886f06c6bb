/** What the interval map means, in the plainest way: an array in order of starts. For property tests only. */

export const MAX = (1n << 64n) - 1n;

export interface Entry {
  readonly start: bigint;
  readonly last: bigint;
  readonly value: number;
}

export class NaiveRanges {
  entries: Entry[] = [];

  overlapping(start: bigint, last: bigint): Entry | undefined {
    return this.entries.find((e) => e.start <= last && e.last >= start);
  }

  insert(start: bigint, last: bigint, value: number): void {
    this.entries.push({ start, last, value });
    this.entries.sort((a, b) => (a.start < b.start ? -1 : 1));
  }

  remove(start: bigint): boolean {
    const before = this.entries.length;
    this.entries = this.entries.filter((e) => e.start !== start);
    return this.entries.length !== before;
  }

  from(at: bigint): Entry | undefined {
    return this.entries.find((e) => e.last >= at);
  }

  /** The free runs, in order, as [start, last]. */
  gaps(): [bigint, bigint][] {
    const found: [bigint, bigint][] = [];
    let free = 0n;
    for (const e of this.entries) {
      if (e.start > free) found.push([free, e.start - 1n]);
      free = e.last + 1n;
    }
    if (free <= MAX) found.push([free, MAX]);
    return found;
  }

  gap(at: bigint, length: bigint): [bigint, bigint] | undefined {
    return this.gaps()
      .map(([start, last]): [bigint, bigint] => [start < at ? at : start, last])
      .find(([start, last]) => last >= start && last - start + 1n >= length);
  }
}
