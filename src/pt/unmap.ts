/**
 * Unmapping takes whole leaves: one that the range only begins goes entirely, and the count says so; one that the
 * range begins inside of stays, and unmapping stops there, as it does at the first hole. A table that the range
 * covers whole is freed; others stay, even when empty.
 */
import { ITEMS, LEAF, TABLE, itemLg2 } from './format.js';
import type { Table } from './table.js';
import { pow2 } from './words.js';

/** The range that is left, and what is done, in granules; reused between calls. */
export class UnmapJob {
  next = 0;
  left = 0;
  done = 0;
}

/** Unmaps `job`, which lies in the span of the root. */
export function unmapRange(table: Table, job: UnmapJob): void {
  unmapTable(table, job, table.rootFrame, table.topLevel, 0);
}

/** Unmaps what of the range lies in this table, whose first item is granule `base`; false when it had to stop. */
function unmapTable(table: Table, job: UnmapJob, frame: number, level: number, base: number): boolean {
  const { format, store } = table;
  const words = store.wordsOf(frame)!;
  const wordBase = store.wordOf(frame);
  const itemGranules = table.itemGranules[level]!;
  let index = Math.floor((job.next - base) / itemGranules);
  while (index < ITEMS && job.left > 0) {
    const at = wordBase + index * 2;
    const lo = words[at]!;
    const hi = words[at + 1]!;
    const kind = format.kind(hi, lo, level);
    if (kind === LEAF) {
      const sizeLg2 = format.leafLg2(hi, lo, level);
      if (job.done === 0 && job.next % pow2[sizeLg2 - format.granuleLg2]! !== 0) return false;
      const items = Math.min(1 << (sizeLg2 - itemLg2(format, level)), ITEMS - index);
      for (let word = at; word < at + items * 2; word += 1) words[word] = 0;
      table.leafWrites += items;
      take(job, items * itemGranules);
      index += items;
    } else if (kind === TABLE) {
      const child = table.frameOf(hi, lo);
      const childBase = base + index * itemGranules;
      const isWhole = job.next === childBase && job.left >= itemGranules;
      if (child === 0 || !unmapTable(table, job, child, level - 1, childBase)) return false;
      if (isWhole) {
        words[at] = 0;
        words[at + 1] = 0;
        table.arena.free(child);
      }
      index += 1;
    } else {
      return false;
    }
  }
  return true;
}

function take(job: UnmapJob, granules: number): void {
  job.next += granules;
  job.left -= granules;
  job.done += granules;
}
