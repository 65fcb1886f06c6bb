/**
 * One walk for everybody: a unit's hardware walk, iova_to_phys, people. It reads entries as bytes of physical
 * memory, wherever they lie, and trusts none of them; the level falls with every step, so it ends. An entry may skip levels: it translates the addresses whose bits for
 * those levels are 0, and no others.
 */
import type { PhysicalMemory } from '../mem/physical.js';
import { EMPTY, EVERYTHING, INVALID, ITEMS, LEAF, TABLE, itemLg2, type PageTableFormat } from './format.js';
import { maskFromHi, maskFromLo, shiftRight } from './words.js';

/** {@link Walk.kind} when an entry lies where no memory is. */
export const UNREADABLE = 4;

/** Where a walk starts. The words of an HPA, and the level of the table there. */
export interface WalkRoot {
  readonly rootHi: number;
  readonly rootLo: number;
  readonly topLevel: number;
}

/** What a walk found; reused between walks. */
export class Walk {
  /** LEAF, EMPTY, INVALID or UNREADABLE; TABLE when it was told to stop above the leaf. */
  kind = 0;
  level = 0;
  /** The last entry that was read, and its HPA. */
  entryHi = 0;
  entryLo = 0;
  atHi = 0;
  atLo = 0;
  /** READ | WRITE | EXEC | USER, ANDed along the path. */
  prot = 0;
  /** Of a LEAF: its size, and the output address of exactly the byte that was asked for. */
  sizeLg2 = 0;
  oaHi = 0;
  oaLo = 0;
}

/** Walks from `root` down to a leaf, or to the entry of level `stop`. True when it found a leaf. */
export function walk(
  memory: PhysicalMemory,
  format: PageTableFormat,
  root: WalkRoot,
  vaHi: number,
  vaLo: number,
  out: Walk,
  stop = 0,
): boolean {
  let tableHi = root.rootHi;
  let tableLo = root.rootLo;
  let prot = EVERYTHING;
  let level = root.topLevel;
  for (;;) {
    const index = shiftRight(vaHi, vaLo, itemLg2(format, level)) & (ITEMS - 1);
    out.level = level;
    out.atHi = tableHi;
    out.atLo = tableLo + index * 8;
    if (!memory.load64(tableHi, out.atLo)) {
      out.kind = UNREADABLE;
      return false;
    }
    const hi = memory.loadedHi;
    const lo = memory.loadedLo;
    const kind = format.kind(hi, lo, level);
    prot &= format.protOf(hi, lo);
    out.kind = kind;
    out.entryHi = hi;
    out.entryLo = lo;
    out.prot = prot;
    if (kind !== EMPTY && format.isReserved(hi, lo, level)) {
      out.kind = INVALID;
      return false;
    }
    if (kind === LEAF) {
      const sizeLg2 = format.leafLg2(hi, lo, level);
      out.sizeLg2 = sizeLg2;
      out.oaHi = format.leafHi(hi, lo, sizeLg2) | (vaHi & ~maskFromHi(sizeLg2));
      out.oaLo = format.leafLo(hi, lo, sizeLg2) | (vaLo & ~maskFromLo(sizeLg2));
      return true;
    }
    if (kind !== TABLE || level <= stop) return false;
    tableHi = format.tableHi(hi, lo);
    tableLo = format.tableLo(hi, lo);
    if ((tableLo & 0xfff) !== 0) {
      out.kind = INVALID;
      return false;
    }
    const next = format.nextLevel(hi, lo, level);
    if (next !== level - 1 && !isZeroBetween(vaHi, vaLo, itemLg2(format, next + 1), itemLg2(format, level))) {
      out.kind = EMPTY;
      return false;
    }
    level = next;
  }
}

function isZeroBetween(hi: number, lo: number, firstLg2: number, aboveLg2: number): boolean {
  const inHi = maskFromHi(firstLg2) & ~maskFromHi(aboveLg2);
  const inLo = maskFromLo(firstLg2) & ~maskFromLo(aboveLg2);
  return ((hi & inHi) | (lo & inLo)) === 0;
}
