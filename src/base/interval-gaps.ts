/**
 * The search for free addresses in an interval map. It leaps over whatever is used densely: each inner row knows
 * the widest gap below it, and measures it anew when something below has changed since.
 */
import { invariant } from './errno.js';
import { GAP, HEADER, LAST, NEXT, NONE, PREV, ROW, SIGN, STALE, TOP, VALUE } from './interval-nodes.js';
import { baseOf, forgetPath, pathNode, pathRow } from './interval-nodes.js';
import type { IntervalNodes } from './interval-nodes.js';

export class GapSearch {
  readonly #nodes: IntervalNodes;
  /** The gap found; while a search runs, `free` is the first free address that it has come to. Turned words. */
  freeHi = 0;
  freeLo = 0;
  freeLastHi = 0;
  freeLastLo = 0;

  constructor(nodes: IntervalNodes) {
    this.#nodes = nodes;
  }

  /**
   * Finds the first gap that is at least `need` (1 or more) long, counting only addresses from `at` on, or after
   * `at` when that is `taken`: the last address of an entry. All words are turned.
   */
  from(atHi: number, atLo: number, taken: boolean, needHi: number, needLo: number): boolean {
    let leaf = this.#nodes.descend(atHi, atLo);
    // The path moves on with the search.
    forgetPath();
    let chunk = this.#nodes.chunkOf(leaf);
    let base = baseOf(leaf);
    let row = pathRow[0]! + 1;
    this.freeLo = taken ? (atLo + 1) | 0 : atLo;
    this.freeHi = taken && this.freeLo === SIGN ? (atHi + 1) | 0 : atHi;
    while (!this.#scanLeaf(chunk, base, row, needHi, needLo)) {
      const freeHi = this.freeHi;
      const freeLo = this.freeLo;
      leaf = this.#nextWide(needHi, needLo);
      if (leaf === NONE) return this.#scanTail(atHi, atLo, needHi, needLo);
      const follows = leaf === chunk[base + NEXT]!;
      chunk = this.#nodes.chunkOf(leaf);
      base = baseOf(leaf);
      row = 0;
      this.#freeAfter(chunk[base + PREV]!);
      if (follows) {
        // What follows directly is measured from where the scan stands, which may be within the gap.
        this.freeHi = freeHi;
        this.freeLo = freeLo;
      }
    }
    return true;
  }

  /** Looks for a gap before one of the leaf's rows from `row` on, the first of them measured from `free`. */
  #scanLeaf(chunk: Int32Array, base: number, row: number, needHi: number, needLo: number): boolean {
    let freeHi = this.freeHi;
    let freeLo = this.freeLo;
    const end = base + HEADER + chunk[base]! * ROW;
    for (let at = base + HEADER + row * ROW; at < end; at += ROW) {
      const startHi = chunk[at]!;
      const startLo = chunk[at + 1]!;
      const gapHi = (startHi - freeHi - (startLo < freeLo ? 1 : 0)) ^ SIGN;
      if (gapHi > needHi || (gapHi === needHi && ((startLo - freeLo) ^ SIGN) >= needLo)) {
        this.freeHi = freeHi;
        this.freeLo = freeLo;
        this.freeLastLo = (startLo - 1) | 0;
        this.freeLastHi = (startHi - (startLo === SIGN ? 1 : 0)) | 0;
        return true;
      }
      freeLo = (chunk[at + LAST + 1]! + 1) | 0;
      freeHi = (chunk[at + LAST]! + (freeLo === SIGN ? 1 : 0)) | 0;
    }
    this.freeHi = freeHi;
    this.freeLo = freeLo;
    return false;
  }

  /** The gap after the last entry, from `at` on. */
  #scanTail(atHi: number, atLo: number, needHi: number, needLo: number): boolean {
    const leaf = this.#nodes.descend(TOP, TOP);
    const empty = this.#nodes.chunkOf(leaf)[baseOf(leaf)] === 0;
    this.#freeAfter(empty ? NONE : leaf);
    let freeHi = this.freeHi;
    let freeLo = this.freeLo;
    if (!empty && freeHi === SIGN && freeLo === SIGN) return false;
    if (freeHi < atHi || (freeHi === atHi && freeLo < atLo)) {
      freeHi = atHi;
      freeLo = atLo;
    }
    this.freeHi = freeHi;
    this.freeLo = freeLo;
    this.freeLastHi = TOP;
    this.freeLastLo = TOP;
    // The gap may be the whole of 2^64, so one less than its length is compared.
    const restLo = (needLo - 1) | 0;
    const restHi = (needHi - (needLo === SIGN ? 1 : 0)) | 0;
    return ~freeHi > restHi || (~freeHi === restHi && ~freeLo >= restLo);
  }

  /** Sets `free` to the address after the leaf's last entry; to 0 before the first leaf, or after 2^64-1. */
  #freeAfter(leaf: number): void {
    this.freeHi = SIGN;
    this.freeLo = SIGN;
    if (leaf === NONE) return;
    const chunk = this.#nodes.chunkOf(leaf);
    const base = baseOf(leaf);
    const at = base + HEADER + (chunk[base]! - 1) * ROW + LAST;
    const lo = (chunk[at + 1]! + 1) | 0;
    this.freeLo = lo;
    this.freeHi = (chunk[at]! + (lo === SIGN ? 1 : 0)) | 0;
  }

  /** Moves the path to the next leaf that has a gap of the needed length before one of its entries, or NONE. */
  #nextWide(needHi: number, needLo: number): number {
    for (let level = 1; level <= this.#nodes.height; level++) {
      let row = this.#wideRow(level, pathNode[level]!, pathRow[level]! + 1, needHi, needLo);
      if (row === NONE) continue;
      for (;;) {
        pathRow[level] = row;
        const node = pathNode[level]!;
        const at = baseOf(node) + HEADER + row * ROW;
        const child = this.#nodes.chunkOf(node)[at + VALUE]!;
        level -= 1;
        if (level === 0) return child;
        pathNode[level] = child;
        row = this.#wideRow(level, child, 0, needHi, needLo);
        invariant(row !== NONE, 'interval map: a gap is missing below its node');
      }
    }
    return NONE;
  }

  /** The first row, from `row` on, below which a gap of the needed length lies, or NONE. */
  #wideRow(level: number, node: number, row: number, needHi: number, needLo: number): number {
    const chunk = this.#nodes.chunkOf(node);
    const base = baseOf(node);
    const count = chunk[base]!;
    for (let r = row, at = base + HEADER + row * ROW + GAP; r < count; r++, at += ROW) {
      if (chunk[at] === STALE) this.#measure(level, chunk, at);
      const gapHi = chunk[at]!;
      if (gapHi > needHi || (gapHi === needHi && chunk[at + 1]! >= needLo)) return r;
    }
    return NONE;
  }

  /** Writes at `place`, the gap words of an inner row, the widest gap before any entry below that row. */
  #measure(level: number, parent: Int32Array, place: number): void {
    const node = parent[place - GAP + VALUE]!;
    const chunk = this.#nodes.chunkOf(node);
    const base = baseOf(node);
    const end = base + HEADER + chunk[base]! * ROW;
    if (level === 1) this.#freeAfter(chunk[base + PREV]!);
    let freeHi = this.freeHi;
    let freeLo = this.freeLo;
    let mostHi = SIGN;
    let mostLo = SIGN;
    for (let at = base + HEADER; at < end; at += ROW) {
      let gapHi: number;
      let gapLo: number;
      if (level === 1) {
        gapHi = (chunk[at]! - freeHi - (chunk[at + 1]! < freeLo ? 1 : 0)) ^ SIGN;
        gapLo = (chunk[at + 1]! - freeLo) ^ SIGN;
        freeLo = (chunk[at + LAST + 1]! + 1) | 0;
        freeHi = (chunk[at + LAST]! + (freeLo === SIGN ? 1 : 0)) | 0;
      } else {
        if (chunk[at + GAP] === STALE) this.#measure(level - 1, chunk, at + GAP);
        gapHi = chunk[at + GAP]!;
        gapLo = chunk[at + GAP + 1]!;
      }
      if (gapHi > mostHi || (gapHi === mostHi && gapLo > mostLo)) {
        mostHi = gapHi;
        mostLo = gapLo;
      }
    }
    parent[place] = mostHi;
    parent[place + 1] = mostLo;
  }
}
