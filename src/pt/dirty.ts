/**
 * The dirty bits in the leaves: a device's write sets one, reading may clear it. A leaf in several items is
 * dirty when any of them is.
 */
import { ITEMS, LEAF, TABLE, itemLg2 } from './format.js';
import type { Table } from './table.js';

/** Where dirty memory is: granules. */
export type DirtyVisit = (start: number, count: number) => void;

export interface DirtyScan {
  /** Granules, inclusive; within the span of the root. */
  readonly start: number;
  readonly last: number;
  readonly noClear: boolean;
  readonly visit: DirtyVisit;
}

/** Reports every dirty leaf of the range, and cleans it unless `noClear`. */
export function readAndClearDirty(table: Table, scan: DirtyScan): void {
  scanTable(table, scan, table.rootFrame, table.topLevel, 0);
}

function scanTable(table: Table, scan: DirtyScan, frame: number, level: number, base: number): void {
  const { format, store } = table;
  const words = store.wordsOf(frame)!;
  const wordBase = store.wordOf(frame);
  const itemGranules = table.itemGranules[level]!;
  const lastIndex = Math.min(ITEMS - 1, Math.floor((scan.last - base) / itemGranules));
  let index = Math.max(0, Math.floor((scan.start - base) / itemGranules));
  while (index <= lastIndex) {
    const at = wordBase + index * 2;
    const lo = words[at]!;
    const hi = words[at + 1]!;
    const kind = format.kind(hi, lo, level);
    if (kind === LEAF) {
      const items = 1 << (format.leafLg2(hi, lo, level) - itemLg2(format, level));
      const first = index & -items;
      if (isDirty(table, words, wordBase + first * 2, items)) {
        const start = Math.max(scan.start, base + index * itemGranules);
        scan.visit(start, reportedItems(index, first, items, lastIndex) * itemGranules);
        if (!scan.noClear) clean(table, words, wordBase + first * 2, items);
      }
      index = first + items;
      continue;
    }
    if (kind === TABLE) {
      const child = table.frameOf(hi, lo);
      if (child !== 0) scanTable(table, scan, child, level - 1, base + index * itemGranules);
    }
    index += 1;
  }
}

/**
 * How many items from `index` a dirty leaf reports. As Linux 7.2 counts (record_dirty): one less than the leaf
 * has, when it has several. iommufd's selftest depends on it: its 4 KiB pages are two items, and only the first
 * may show. OURS: a range that starts in the last item reports that item. There Linux' length is 0, and the
 * call was seen not to return.
 */
function reportedItems(index: number, first: number, items: number, lastIndex: number): number {
  if (items === 1) return 1;
  return Math.max(1, Math.min(first + items - 1, lastIndex + 1) - index);
}

function isDirty(table: Table, words: Int32Array, at: number, items: number): boolean {
  const { dirtyHi, dirtyLo } = table.format;
  for (let item = 0; item < items; item += 1) {
    if (((words[at + item * 2]! & dirtyLo) | (words[at + item * 2 + 1]! & dirtyHi)) !== 0) return true;
  }
  return false;
}

function clean(table: Table, words: Int32Array, at: number, items: number): void {
  const { dirtyHi, dirtyLo } = table.format;
  for (let item = 0; item < items; item += 1) {
    const place = at + item * 2;
    words[place] = words[place]! & ~dirtyLo;
    words[place + 1] = words[place + 1]! & ~dirtyHi;
  }
}
