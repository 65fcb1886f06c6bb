/**
 * Ranges of 64-bit addresses that never overlap, each with an int32 value: a B+-tree in typed arrays, with no
 * object and no bigint per entry. Ends are inclusive: a range may start at 0 and may reach 2^64-1.
 *
 * Invariant: an address crosses this edge as a bigint or as (high, low) int32 words, and lies inside with sign bits
 * turned over (interval-nodes.ts).
 */
import { invariant } from './errno.js';
import { GapSearch } from './interval-gaps.js';
import { HEADER, LAST, NEXT, NONE, PREV, ROW, SIGN, TOP, VALUE } from './interval-nodes.js';
import { IntervalNodes, baseOf, newRow, pathRow } from './interval-nodes.js';

const wide = new BigUint64Array(1);
const words = new Int32Array(wide.buffer);

/** Below, at or above 0 as the address at `place` is below, at or above (hi, lo). */
function order(chunk: Int32Array, place: number, hi: number, lo: number): number {
  const high = chunk[place]!;
  if (high !== hi) return high < hi ? -1 : 1;
  const low = chunk[place + 1]!;
  return low < lo ? -1 : low === lo ? 0 : 1;
}

/** Two words with turned sign bits, as the number they stand for. */
function join(hi: number, lo: number): bigint {
  words[0] = lo ^ SIGN;
  words[1] = hi ^ SIGN;
  return wide[0]!;
}

export class IntervalMap {
  readonly #nodes = new IntervalNodes();
  /** Made for the first search, because most maps never see one. */
  #gaps: GapSearch | null = null;
  #size = 0;
  // The cursor: a leaf, or NONE when it is nowhere, and a row of it.
  #curLeaf = NONE;
  #curRow = 0;

  /** Entries. */
  get size(): number {
    return this.#size;
  }

  /** Bytes of the node pool. */
  bytes(): number {
    let total = 0;
    for (const chunk of this.#nodes.chunks) total += chunk.byteLength;
    return total;
  }

  /** Forgets every entry and gives the memory back. */
  clear(): void {
    this.#nodes.clear();
    this.#size = 0;
    this.#curLeaf = NONE;
  }

  /**
   * Adds `start`..`last` (inclusive) with `value` >= 0. The caller has seen that nothing overlaps it.
   * Ends the cursor.
   */
  insert(start: bigint, last: bigint, value: number): void {
    wide[0] = start;
    const startHi = words[1]!;
    const startLo = words[0]!;
    wide[0] = last;
    this.insertWords(startHi, startLo, words[1]!, words[0]!, value);
  }

  /** {@link insert} with (high, low) int32 words. */
  insertWords(startHi: number, startLo: number, lastHi: number, lastLo: number, value: number): void {
    const hi = startHi ^ SIGN;
    const lo = startLo ^ SIGN;
    const leaf = this.#nodes.descend(hi, lo);
    const chunk = this.#nodes.chunkOf(leaf);
    const base = baseOf(leaf);
    const row = pathRow[0]! + 1;
    const newLastHi = lastHi ^ SIGN;
    const newLastLo = lastLo ^ SIGN;
    const at = base + HEADER + row * ROW;
    invariant(
      (row === 0 || order(chunk, at - ROW + LAST, hi, lo) < 0) &&
        (row === chunk[base] || order(chunk, at, newLastHi, newLastLo) > 0),
      'interval map: the entry would overlap another',
    );
    this.#nodes.stalePath();
    if (row === chunk[base]! && chunk[base + NEXT]! !== NONE) this.#nodes.staleNext();
    newRow[0] = hi;
    newRow[1] = lo;
    newRow[2] = newLastHi;
    newRow[3] = newLastLo;
    newRow[4] = value;
    this.#nodes.put(leaf, row);
    this.#size += 1;
    this.#curLeaf = NONE;
  }

  /** Removes the entry that starts at `start`; false when there is none. Ends the cursor. */
  remove(start: bigint): boolean {
    wide[0] = start;
    return this.removeWords(words[1]!, words[0]!);
  }

  /** {@link remove} with (high, low) int32 words. */
  removeWords(startHi: number, startLo: number): boolean {
    const hi = startHi ^ SIGN;
    const lo = startLo ^ SIGN;
    const leaf = this.#nodes.descend(hi, lo);
    const chunk = this.#nodes.chunkOf(leaf);
    const base = baseOf(leaf);
    const row = pathRow[0]!;
    if (row < 0) return false;
    const at = base + HEADER + row * ROW;
    if (chunk[at]! !== hi || chunk[at + 1]! !== lo) return false;
    this.#nodes.stalePath();
    if (row === chunk[base]! - 1 && chunk[base + NEXT]! !== NONE) this.#nodes.staleNext();
    this.#size -= 1;
    this.#curLeaf = NONE;
    if (this.#size === 0) this.#nodes.clear();
    else this.#nodes.cut(leaf, row);
    return true;
  }

  /** Removes the cursor's entry. Ends the cursor. */
  removeCurrent(): void {
    this.removeWords(this.#cur(0) ^ SIGN, this.#cur(1) ^ SIGN);
  }

  /** The value of the entry that contains `at`, or -1. Leaves the cursor alone. */
  find(at: bigint): number {
    wide[0] = at;
    return this.findWords(words[1]!, words[0]!);
  }

  /** {@link find} with (high, low) int32 words. */
  findWords(atHi: number, atLo: number): number {
    const hi = atHi ^ SIGN;
    const lo = atLo ^ SIGN;
    let leaf = this.#nodes.descend(hi, lo);
    let chunk = this.#nodes.chunkOf(leaf);
    let base = baseOf(leaf);
    let row = pathRow[0]!;
    if (row < 0) {
      // The leaf's bound may lie below its first entry; then the entry before is in the leaf before.
      leaf = chunk[base + PREV]!;
      if (leaf === NONE) return NONE;
      chunk = this.#nodes.chunkOf(leaf);
      base = baseOf(leaf);
      row = chunk[base]! - 1;
    }
    const place = base + HEADER + row * ROW;
    return order(chunk, place + LAST, hi, lo) >= 0 ? chunk[place + VALUE]! : NONE;
  }

  /** Puts the cursor on the first entry whose last address is not below `at`; false when there is none. */
  seek(at: bigint): boolean {
    wide[0] = at;
    return this.seekWords(words[1]!, words[0]!);
  }

  /** {@link seek} with (high, low) int32 words. */
  seekWords(atHi: number, atLo: number): boolean {
    if (this.#size === 0) {
      this.#curLeaf = NONE;
      return false;
    }
    const hi = atHi ^ SIGN;
    const lo = atLo ^ SIGN;
    const leaf = this.#nodes.descend(hi, lo);
    const row = pathRow[0]!;
    this.#curLeaf = leaf;
    this.#curRow = row;
    if (row < 0 && !this.retreat()) {
      this.#curLeaf = leaf;
      this.#curRow = 0;
      return true;
    }
    const lastHi = this.#cur(LAST);
    if (lastHi > hi || (lastHi === hi && this.#cur(LAST + 1) >= lo)) return true;
    return this.advance();
  }

  /** Moves the cursor to the entry after; false at the end, and then the cursor is nowhere. */
  advance(): boolean {
    const leaf = this.#curLeaf;
    if (leaf === NONE) return false;
    const chunk = this.#nodes.chunkOf(leaf);
    const base = baseOf(leaf);
    this.#curRow += 1;
    if (this.#curRow < chunk[base]!) return true;
    this.#curLeaf = chunk[base + NEXT]!;
    this.#curRow = 0;
    return this.#curLeaf !== NONE;
  }

  /** Moves the cursor to the entry before; false at the first, and then the cursor is nowhere. */
  retreat(): boolean {
    const leaf = this.#curLeaf;
    if (leaf === NONE) return false;
    this.#curRow -= 1;
    if (this.#curRow >= 0) return true;
    const before = this.#nodes.chunkOf(leaf)[baseOf(leaf) + PREV]!;
    this.#curLeaf = before;
    if (before === NONE) return false;
    this.#curRow = this.#nodes.chunkOf(before)[baseOf(before)]! - 1;
    return true;
  }

  /** First address of the cursor's entry. */
  get curStart(): bigint {
    return join(this.#cur(0), this.#cur(1));
  }

  /** Last address of the cursor's entry. */
  get curLast(): bigint {
    return join(this.#cur(LAST), this.#cur(LAST + 1));
  }

  /** Whether the cursor's entry is exactly that of these (high, low) int32 words. */
  curIs(startHi: number, startLo: number, lastHi: number, lastLo: number): boolean {
    const chunk = this.#nodes.chunkOf(this.#curLeaf);
    const place = baseOf(this.#curLeaf) + HEADER + this.#curRow * ROW;
    return (
      order(chunk, place, startHi ^ SIGN, startLo ^ SIGN) === 0 &&
      order(chunk, place + LAST, lastHi ^ SIGN, lastLo ^ SIGN) === 0
    );
  }

  /** Value of the cursor's entry. */
  get curValue(): number {
    return this.#cur(VALUE);
  }

  /** Gives the cursor's entry another value. */
  set curValue(value: number) {
    const leaf = this.#curLeaf;
    invariant(leaf !== NONE, 'interval map: the cursor is nowhere');
    this.#nodes.chunkOf(leaf)[baseOf(leaf) + HEADER + this.#curRow * ROW + VALUE] = value;
  }

  #cur(word: number): number {
    const leaf = this.#curLeaf;
    invariant(leaf !== NONE, 'interval map: the cursor is nowhere');
    return this.#nodes.chunkOf(leaf)[baseOf(leaf) + HEADER + this.#curRow * ROW + word]!;
  }

  /** The value of the first entry that contains `at` or lies after it, or -1. Moves the cursor there. */
  firstFrom(at: bigint): number {
    return this.seek(at) ? this.curValue : NONE;
  }

  /** The value of the first entry that starts after `start`, or -1. Moves the cursor there. */
  next(start: bigint): number {
    if (!this.seek(start)) return NONE;
    if (this.curStart <= start && !this.advance()) return NONE;
    return this.curValue;
  }

  /** The value of the last entry that starts before `start`, or -1. Moves the cursor there. */
  prev(start: bigint): number {
    if (!this.seek(start)) this.#seekEnd();
    else if (this.curStart < start) return this.curValue;
    else this.retreat();
    return this.#curLeaf === NONE ? NONE : this.curValue;
  }

  #seekEnd(): void {
    const leaf = this.#nodes.descend(TOP, TOP);
    this.#curLeaf = this.#size === 0 ? NONE : leaf;
    this.#curRow = this.#nodes.chunkOf(leaf)[baseOf(leaf)]! - 1;
  }

  /** The value of the first entry that shares an address with `start`..`last`, or -1. Moves the cursor there. */
  firstOverlap(start: bigint, last: bigint): number {
    wide[0] = start;
    const startHi = words[1]!;
    const startLo = words[0]!;
    wide[0] = last;
    return this.overlapsWords(startHi, startLo, words[1]!, words[0]!) ? this.curValue : NONE;
  }

  /** True when an entry shares an address with `start`..`last`. Moves the cursor. */
  overlaps(start: bigint, last: bigint): boolean {
    return this.firstOverlap(start, last) !== NONE;
  }

  /** {@link overlaps} with (high, low) int32 words. */
  overlapsWords(startHi: number, startLo: number, lastHi: number, lastLo: number): boolean {
    if (!this.seekWords(startHi, startLo)) return false;
    const leaf = this.#curLeaf;
    const place = baseOf(leaf) + HEADER + this.#curRow * ROW;
    return order(this.#nodes.chunkOf(leaf), place, lastHi ^ SIGN, lastLo ^ SIGN) <= 0;
  }

  /**
   * Finds the first run of free addresses, from `at` on, that is at least `length` (1 or more) long; its range
   * is then in {@link gapStart} and {@link gapLast}. Moves the cursor. Skips what is densely used in O(log n).
   */
  seekGap(at: bigint, length: bigint): boolean {
    wide[0] = at;
    let atHi = words[1]! ^ SIGN;
    let atLo = words[0]! ^ SIGN;
    let taken = false;
    if (this.seekWords(words[1]!, words[0]!)) {
      const leaf = this.#curLeaf;
      const place = baseOf(leaf) + HEADER + this.#curRow * ROW;
      taken = order(this.#nodes.chunkOf(leaf), place, atHi, atLo) <= 0;
      if (taken) {
        atHi = this.#cur(LAST);
        atLo = this.#cur(LAST + 1);
      }
    }
    wide[0] = length;
    this.#gaps ??= new GapSearch(this.#nodes);
    return this.#gaps.from(atHi, atLo, taken, words[1]! ^ SIGN, words[0]! ^ SIGN);
  }

  /** First address of the gap found last. */
  get gapStart(): bigint {
    return this.#gaps === null ? 0n : join(this.#gaps.freeHi, this.#gaps.freeLo);
  }

  /** Last address of the gap found last. */
  get gapLast(): bigint {
    return this.#gaps === null ? 0n : join(this.#gaps.freeLastHi, this.#gaps.freeLastLo);
  }
}
