/**
 * A page table's state, shared by the algorithms: root, format, and the arena that its tables come from.
 * Tables are found only through the bytes of the entries above them. Ranges count granules in plain numbers
 * (exact: 64-bit addresses have at most 2^53 of them); entries and output addresses are int32 word pairs.
 */
import type { PhysicalMemory } from '../mem/physical.js';
import type { TableArena, TableStore } from '../mem/table-store.js';
import { ITEMS_LG2, TABLE_LG2, itemLg2, type PageTableFormat } from './format.js';
import type { PageSizes } from './page-sizes.js';
import { pow2 } from './words.js';

export class Table {
  readonly store: TableStore;
  readonly format: PageTableFormat;
  readonly arena: TableArena;
  readonly maxVaLg2: number;
  /** Which leaf sizes {@link map} uses. */
  readonly sizes: PageSizes;
  /** What an item of each level covers, in granules. */
  readonly itemGranules: Float64Array;
  rootFrame: number;
  topLevel: number;
  /** Leaf items written or cleared, ever. */
  leafWrites = 0;

  constructor(
    memory: PhysicalMemory,
    format: PageTableFormat,
    arena: TableArena,
    shape: { maxVaLg2: number; topLevel: number; sizes: PageSizes },
  ) {
    this.store = memory.tables;
    this.format = format;
    this.arena = arena;
    this.maxVaLg2 = shape.maxVaLg2;
    this.sizes = shape.sizes;
    this.topLevel = shape.topLevel;
    this.itemGranules = Float64Array.from({ length: format.maxTopLevel + 1 }, (_, level) => {
      return pow2[ITEMS_LG2 * level]!;
    });
    this.rootFrame = arena.allocate(TABLE_LG2);
  }

  /** How many granules a root of `level` translates, from 0. */
  spanGranules(level: number): number {
    const { format, maxVaLg2 } = this;
    const whole = itemLg2(format, level) + ITEMS_LG2;
    const isFull = !format.hasDynamicTop || level === format.maxTopLevel;
    return pow2[(isFull ? maxVaLg2 : Math.min(maxVaLg2, whole)) - format.granuleLg2]!;
  }

  /** The frame that a TABLE entry points to; 0 when it does not point into table memory. */
  frameOf(hi: number, lo: number): number {
    const tableHi = this.format.tableHi(hi, lo);
    const frame = (tableHi << 20) | (this.format.tableLo(hi, lo) >>> TABLE_LG2);
    return tableHi >>> 0 < 16 && this.store.wordsOf(frame) !== null ? frame : 0;
  }

  /** Writes an entry that points from `level` to `frame`. */
  link(words: Int32Array, at: number, level: number, frame: number): void {
    const hi = frame >>> 20;
    const lo = frame << TABLE_LG2;
    words[at] = this.format.makeTableLo(hi, lo, level);
    words[at + 1] = this.format.makeTableHi(hi, lo, level);
  }
}
