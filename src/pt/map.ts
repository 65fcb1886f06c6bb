/**
 * Mapping: from the first byte on, always the largest leaf that alignment and the rest of the range allow.
 * Tables are made on the way down. An empty table may stand where a large leaf goes; it is freed. A leaf that
 * stands there is EADDRINUSE. On failure {@link MapJob.done} says what was mapped.
 */
import { EMPTY, ITEMS, LEAF, TABLE, TABLE_LG2, itemLg2, levelOfSize } from './format.js';
import type { Table } from './table.js';
import { pow2, shiftRight, trailingZeros } from './words.js';

export type MapStatus = 'ok' | 'ENOMEM' | 'EADDRINUSE' | 'ERANGE' | 'ENXIO' | 'EINVAL';

/** What is to be mapped; reused between calls. `next`, `left` and `done` count granules. */
export class MapJob {
  next = 0;
  left = 0;
  done = 0;
  oaHi = 0;
  oaLo = 0;
  attrHi = 0;
  attrLo = 0;
}

const NO_MEMORY = -1;
const IN_USE = -2;

/** Maps `job`; the range is aligned to the smallest leaf. */
export function mapRange(table: Table, job: MapJob): MapStatus {
  const grown = growTop(table, job);
  if (grown !== 'ok') return grown;
  while (job.left > 0) {
    const status = mapRun(table, job);
    if (status !== 'ok') return status;
  }
  return 'ok';
}

/** Maps leaves of one size until the table at their level ends, or a larger size fits, or the range ends. */
function mapRun(table: Table, job: MapJob): MapStatus {
  const { granuleLg2 } = table.format;
  const vaHi = (job.next / pow2[32 - granuleLg2]!) | 0;
  const vaLo = (job.next * pow2[granuleLg2]!) | 0;
  const sizeLg2 = bestSize(table, job, vaHi, vaLo);
  if (sizeLg2 < 0) return 'ENXIO';
  const level = levelOfSize(table.format, sizeLg2);
  const frame = tableFor(table, vaHi, vaLo, level);
  if (frame === NO_MEMORY) return 'ENOMEM';
  if (frame === IN_USE) return 'EADDRINUSE';

  const itemBits = itemLg2(table.format, level);
  const index = shiftRight(vaHi, vaLo, itemBits) & (ITEMS - 1);
  const room = (ITEMS - index) >> (sizeLg2 - itemBits);
  const wanted = Math.min(
    room,
    leavesOfSize(table, job, sizeLg2, trailingZeros(vaHi ^ job.oaHi, vaLo ^ job.oaLo)),
  );
  const written = writeLeaves(table, job, { frame, index, level, sizeLg2, count: wanted });
  const granules = written * pow2[sizeLg2 - granuleLg2]!;
  job.next += granules;
  job.left -= granules;
  job.done += granules;
  return written === wanted ? 'ok' : 'EADDRINUSE';
}

/** lg2 of the largest leaf that both addresses are aligned to and the rest of the range fills; -1 if none. */
function bestSize(table: Table, job: MapJob, vaHi: number, vaLo: number): number {
  const alignment = trailingZeros(vaHi | job.oaHi, vaLo | job.oaLo);
  const length = table.format.granuleLg2 + floorLg2(job.left);
  return table.sizes.largestUpTo(Math.min(alignment, length));
}

/** How many leaves of this size follow before a larger one fits; `congruence` is lg2 of what VA and OA agree on. */
function leavesOfSize(table: Table, job: MapJob, sizeLg2: number, congruence: number): number {
  const { granuleLg2 } = table.format;
  const leaf = pow2[sizeLg2 - granuleLg2]!;
  if (job.left < 2 * leaf) return 1;
  const larger = table.sizes.above(sizeLg2);
  if (larger > congruence || larger === 64) return Math.floor(job.left / leaf);
  const block = pow2[larger - granuleLg2]!;
  return Math.floor(Math.min(job.left, block - (job.next % block)) / leaf);
}

/** Where a run of leaves goes. */
interface LeafRun {
  readonly frame: number;
  readonly index: number;
  readonly level: number;
  readonly sizeLg2: number;
  readonly count: number;
}

/** Writes up to `run.count` leaves and moves the job's output address; fewer when one of the places is taken. */
function writeLeaves(table: Table, job: MapJob, run: LeafRun): number {
  const { format, store } = table;
  const { level, sizeLg2 } = run;
  const words = store.wordsOf(run.frame)!;
  const items = 1 << (sizeLg2 - itemLg2(format, level));
  const sizeHi = sizeLg2 >= 32 ? 1 << (sizeLg2 - 32) : 0;
  const sizeLo = sizeLg2 >= 32 ? 0 : 1 << sizeLg2;
  let { oaHi, oaLo } = job;
  let at = store.wordOf(run.frame) + run.index * 2;
  let written = 0;
  for (; written < run.count; written += 1) {
    if (items > 1 || (words[at]! | words[at + 1]!) !== 0) {
      if (!makeVacant(table, words, at, level, items)) break;
    }
    const hi = format.makeLeafHi(oaHi, oaLo, sizeLg2, level) | job.attrHi;
    const lo = format.makeLeafLo(oaHi, oaLo, sizeLg2, level) | job.attrLo;
    for (let item = 0; item < items; item += 1, at += 2) {
      words[at] = lo;
      words[at + 1] = hi;
    }
    oaLo = (oaLo + sizeLo) | 0;
    oaHi = (oaHi + sizeHi + (sizeLo !== 0 && oaLo >>> 0 < sizeLo >>> 0 ? 1 : 0)) | 0;
  }
  table.leafWrites += written * items;
  job.oaHi = oaHi;
  job.oaLo = oaLo;
  return written;
}

/** True when `items` items from `at` hold no leaf; tables without leaves are freed. */
function makeVacant(table: Table, words: Int32Array, at: number, level: number, items: number): boolean {
  for (let item = 0; item < items; item += 1) {
    const place = at + item * 2;
    const lo = words[place]!;
    const hi = words[place + 1]!;
    const kind = table.format.kind(hi, lo, level);
    if (kind === EMPTY) continue;
    if (kind !== TABLE) return false;
    const frame = table.frameOf(hi, lo);
    if (frame === 0 || hasLeaf(table, frame, level - 1)) return false;
    words[place] = 0;
    words[place + 1] = 0;
    freeTables(table, frame, level - 1);
  }
  return true;
}

function hasLeaf(table: Table, frame: number, level: number): boolean {
  const words = table.store.wordsOf(frame)!;
  const base = table.store.wordOf(frame);
  for (let at = base; at < base + ITEMS * 2; at += 2) {
    const lo = words[at]!;
    const hi = words[at + 1]!;
    const kind = table.format.kind(hi, lo, level);
    if (kind === LEAF) return true;
    if (kind !== TABLE) continue;
    const child = table.frameOf(hi, lo);
    if (child !== 0 && hasLeaf(table, child, level - 1)) return true;
  }
  return false;
}

function freeTables(table: Table, frame: number, level: number): void {
  const words = table.store.wordsOf(frame)!;
  const base = table.store.wordOf(frame);
  for (let at = base; at < base + ITEMS * 2; at += 2) {
    const lo = words[at]!;
    const hi = words[at + 1]!;
    if (table.format.kind(hi, lo, level) !== TABLE) continue;
    const child = table.frameOf(hi, lo);
    if (child !== 0) freeTables(table, child, level - 1);
  }
  table.arena.free(frame);
}

/** The table of `level` that covers the address, made where missing; or NO_MEMORY, IN_USE. */
function tableFor(table: Table, vaHi: number, vaLo: number, level: number): number {
  const { format, store } = table;
  let frame = table.rootFrame;
  for (let above = table.topLevel; above > level; above -= 1) {
    const words = store.wordsOf(frame)!;
    const index = shiftRight(vaHi, vaLo, itemLg2(format, above)) & (ITEMS - 1);
    const at = store.wordOf(frame) + index * 2;
    const lo = words[at]!;
    const hi = words[at + 1]!;
    const kind = format.kind(hi, lo, above);
    if (kind === TABLE) {
      frame = table.frameOf(hi, lo);
      if (frame === 0) return IN_USE;
    } else if (kind === EMPTY) {
      frame = table.arena.allocate(TABLE_LG2);
      if (frame === 0) return NO_MEMORY;
      table.link(words, at, above, frame);
    } else {
      return IN_USE;
    }
  }
  return frame;
}

/** Puts tables above the root until it covers the range and can hold its first leaf; all of them or none. */
function growTop(table: Table, job: MapJob): MapStatus {
  const { format, arena, store } = table;
  const leafLevel = levelOfSize(format, firstSize(table, job));
  let level = table.topLevel;
  while (leafLevel > level || job.next > table.spanGranules(level) - job.left) {
    level += 1;
    if (!format.hasDynamicTop || level > format.maxTopLevel) return 'ERANGE';
    if (itemLg2(format, level) >= table.maxVaLg2) return 'ERANGE';
  }
  let root = table.rootFrame;
  const added: number[] = [];
  for (let above = table.topLevel + 1; above <= level; above += 1) {
    const frame = arena.allocate(TABLE_LG2);
    if (frame === 0) {
      for (const unused of added) arena.free(unused);
      return 'ENOMEM';
    }
    added.push(frame);
    table.link(store.wordsOf(frame)!, store.wordOf(frame), above, root);
    root = frame;
  }
  table.rootFrame = root;
  table.topLevel = level;
  return 'ok';
}

function firstSize(table: Table, job: MapJob): number {
  const { granuleLg2 } = table.format;
  return bestSize(table, job, (job.next / pow2[32 - granuleLg2]!) | 0, (job.next * pow2[granuleLg2]!) | 0);
}

/** floor(log2(count)) of a positive integer. */
function floorLg2(count: number): number {
  return count < 0x8000_0000 ? 31 - Math.clz32(count) : 63 - Math.clz32((count / pow2[32]!) | 0);
}
