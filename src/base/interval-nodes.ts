/**
 * The nodes of an interval map: a B+-tree in chunks of int32 words, with a free list and a chain of leaves.
 *
 * Invariants: words of addresses have their sign bit turned over, so that signed comparison orders them and V8
 * keeps them in registers. Every node but a lone root has a row. An inner row's bound is at most every start below
 * it, and above every start below the row before. Its gap is the widest run of free addresses that ends before an
 * entry below it, or stale.
 */

/** Rows of a node: three levels above the leaves hold a million. With rows of five words a node is 732 bytes. */
const CAPACITY = 36;
export const ROW = 5;
// Header of a node: rows in use, then the chain of leaves. NEXT also links the free list.
export const NEXT = 1;
export const PREV = 2;
export const HEADER = 3;
const NODE = HEADER + CAPACITY * ROW;
// A leaf's row: start (high, low), last (high, low), value. An inner row: lower bound (high, low), gap (high, low), child.
export const LAST = 2;
export const GAP = 2;
export const VALUE = 4;

const CHUNK_LG2 = 8;
const CHUNK_NODES = 1 << CHUNK_LG2;
const CHUNK_MASK = CHUNK_NODES - 1;

/** Below this a node is merged into its neighbour, or filled from it; 16 of 36 keeps an area below 48 bytes. */
const FEW = 16;
/** A merge leaves room, so that the next insert does not split again. */
const MERGED = 31;

export const NONE = -1;
export const SIGN = -0x80000000;
/** The largest word, once its sign bit is turned over. */
export const TOP = 0x7fffffff;
/** As the high word of a gap: not known. A gap that really is so wide is measured every time. */
export const STALE = TOP;
/** How many nodes an emptied map keeps. */
const KEPT_NODES = 8;
const DEEPEST = 16;

// The way from the root to the row last looked for, by level (leaves are level 0). The row of the leaf is the last
// that does not start above what was looked for, or -1.
export const pathNode = new Int32Array(DEEPEST);
export const pathRow = new Int32Array(DEEPEST);
// What that was, so that a look and the change that it was for go the way once. A change forgets it.
let pathOwner: IntervalNodes | null = null;
let pathHi = 0;
let pathLo = 0;
let pathLeaf = 0;

/** For whoever changes the path, or what it leads through. */
export function forgetPath(): void {
  pathOwner = null;
}

/** The row that {@link IntervalNodes.put} puts. */
export const newRow = new Int32Array(ROW);

/**
 * Rows that {@link countRows} leaps over at once: so few that it comes by nearly every cache line of a node at once,
 * and the CPU fetches them together.
 */
const LEAP = 4 * ROW;

/**
 * The last row of a leaf whose first two words are not above (hi, lo), or -1. It counts rows instead of halving: a
 * branch that depends on random words is guessed wrong half of the time, and that costs more than some more rows.
 * Reading in order also lets the CPU fetch ahead.
 */
function floorRow(chunk: Int32Array, base: number, hi: number, lo: number): number {
  return countRows(chunk, base + HEADER, base + HEADER + chunk[base]! * ROW, hi, lo) - 1;
}

/** How many of the ascending rows in words `rows` to `end` are not above (hi, lo). */
function countRows(chunk: Int32Array, rows: number, end: number, hi: number, lo: number): number {
  let from = rows;
  for (let at = rows + LEAP; at < end; at += LEAP) from += LEAP & -notAbove(chunk, at, hi, lo);
  const until = end < from + LEAP ? end : from + LEAP;
  let count = (from - rows) / ROW;
  for (let at = from; at < until; at += ROW) count += notAbove(chunk, at, hi, lo);
  return count;
}

/** 1 when the words at `at` are not above (hi, lo), else 0; without a branch. */
function notAbove(chunk: Int32Array, at: number, hi: number, lo: number): number {
  const high = chunk[at]!;
  return Number(high < hi) | (Number(high === hi) & Number(chunk[at + 1]! <= lo));
}

/** Where a node's words begin in its chunk. */
export function baseOf(node: number): number {
  return (node & CHUNK_MASK) * NODE;
}

/** Takes a row out; returns how many are left. */
function deleteRow(chunk: Int32Array, base: number, row: number): number {
  const at = base + HEADER + row * ROW;
  const count = chunk[base]! - 1;
  if (row < count) chunk.copyWithin(at, at + ROW, base + HEADER + (count + 1) * ROW);
  chunk[base] = count;
  return count;
}

/** Copies rows between two places, which may overlap only within one chunk. */
function moveRows(from: Int32Array, fromAt: number, to: Int32Array, toAt: number, rows: number): void {
  if (from === to) to.copyWithin(toAt, fromAt, fromAt + rows * ROW);
  else for (let word = 0; word < rows * ROW; word++) to[toAt + word] = from[fromAt + word]!;
}

/** A leaf without rows, which all empty maps share: there are many of them. It is never written to. */
const emptyLeaf = new Int32Array(NODE);
emptyLeaf[NEXT] = NONE;
emptyLeaf[PREV] = NONE;
const emptyChunks = [emptyLeaf];

export class IntervalNodes {
  chunks = emptyChunks;
  root = NONE;
  /** Level of the root; 0 while it is a leaf. */
  height = 0;
  #used = 0;
  #free = NONE;
  // Where the last row went, and which way inserts run: 1 ascending, -1 descending, 0 anyhow.
  #lastLeaf = NONE;
  #lastRow = 0;
  #run = 0;

  constructor() {
    this.clear();
  }

  clear(): void {
    forgetPath();
    const first = this.chunks[0];
    const keep = first !== undefined && first !== emptyLeaf && first.length <= KEPT_NODES * NODE;
    this.chunks = keep ? [first] : emptyChunks;
    this.#used = 1;
    this.#free = NONE;
    this.height = 0;
    this.#lastLeaf = NONE;
    this.root = 0;
    if (keep) this.#reset(0);
  }

  chunkOf(node: number): Int32Array {
    return this.chunks[node >> CHUNK_LG2]!;
  }

  #alloc(): number {
    const free = this.#free;
    if (free !== NONE) {
      this.#free = this.chunkOf(free)[baseOf(free) + NEXT]!;
      this.#reset(free);
      return free;
    }
    const node = this.#used;
    const at = node >> CHUNK_LG2;
    const chunk = this.chunks[at];
    if (chunk === undefined) {
      this.chunks.push(new Int32Array(CHUNK_NODES * NODE));
    } else if ((node & CHUNK_MASK) * NODE >= chunk.length) {
      // Only the first chunk starts small, for the many maps that stay small.
      const grown = new Int32Array(chunk.length * 2);
      grown.set(chunk);
      this.chunks[at] = grown;
    }
    this.#used += 1;
    this.#reset(node);
    return node;
  }

  #reset(node: number): void {
    const chunk = this.chunkOf(node);
    const base = baseOf(node);
    chunk[base] = 0;
    chunk[base + NEXT] = NONE;
    chunk[base + PREV] = NONE;
  }

  /** Takes a node out of its chain and frees it. */
  #release(node: number): void {
    const chunk = this.chunkOf(node);
    const base = baseOf(node);
    const next = chunk[base + NEXT]!;
    const prev = chunk[base + PREV]!;
    if (next !== NONE) this.chunkOf(next)[baseOf(next) + PREV] = prev;
    if (prev !== NONE) this.chunkOf(prev)[baseOf(prev) + NEXT] = next;
    chunk[base + NEXT] = this.#free;
    this.#free = node;
  }

  /** The leaf that an entry starting at (hi, lo) belongs to; fills the path. */
  descend(hi: number, lo: number): number {
    if (pathOwner === this && pathHi === hi && pathLo === lo) return pathLeaf;
    let node = this.root;
    for (let level = this.height; level > 0; level--) {
      const chunk = this.chunkOf(node);
      const base = baseOf(node);
      const rows = base + HEADER;
      // The first bound may be old, and what lies below it belongs to the first child anyway.
      const row = countRows(chunk, rows + ROW, rows + chunk[base]! * ROW, hi, lo);
      pathNode[level] = node;
      pathRow[level] = row;
      node = chunk[rows + row * ROW + VALUE]!;
    }
    pathRow[0] = floorRow(this.chunkOf(node), baseOf(node), hi, lo);
    // oxlint-disable-next-line typescript/no-this-alias -- it says whose path it is, and calls nothing
    pathOwner = this;
    pathHi = hi;
    pathLo = lo;
    pathLeaf = node;
    return node;
  }

  /** Marks a row of an inner node stale. */
  stale(node: number, row: number): void {
    this.chunkOf(node)[baseOf(node) + HEADER + row * ROW + GAP] = STALE;
  }

  stalePath(): void {
    for (let level = this.height; level > 0; level--) this.stale(pathNode[level]!, pathRow[level]!);
  }

  /** Marks the way to the leaf after the path's: the gap before its first entry is about to change. */
  staleNext(): void {
    let level = 1;
    for (; ; level++) {
      const node = pathNode[level]!;
      if (pathRow[level]! + 1 < this.chunkOf(node)[baseOf(node)]!) break;
    }
    let row = pathRow[level]! + 1;
    let node = pathNode[level]!;
    for (; level > 0; level--) {
      this.stale(node, row);
      node = this.chunkOf(node)[baseOf(node) + HEADER + row * ROW + VALUE]!;
      row = 0;
    }
  }

  /**
   * Puts {@link newRow} as row `row` of the leaf that the path leads to, splitting what is full.
   * Inserts that run in one direction leave full leaves behind; others halve.
   */
  put(leaf: number, row: number): void {
    forgetPath();
    if (this.chunks === emptyChunks) this.chunks = [emptyLeaf.slice()];
    if (leaf !== this.#lastLeaf) this.#run = 0;
    else this.#run = row === this.#lastRow + 1 ? 1 : row === this.#lastRow ? -1 : 0;
    this.#lastLeaf = leaf;
    this.#lastRow = row;
    let node = leaf;
    let at = row;
    for (let level = 0; ; level++) {
      const chunk = this.chunkOf(node);
      const base = baseOf(node);
      if (chunk[base]! < CAPACITY) {
        this.#store(chunk, base, at);
        return;
      }
      const right = this.#split(level, node, at);
      const rightRow = baseOf(right) + HEADER;
      newRow[0] = this.chunkOf(right)[rightRow]!;
      newRow[1] = this.chunkOf(right)[rightRow + 1]!;
      newRow[GAP] = STALE;
      newRow[VALUE] = right;
      if (level === this.height) {
        this.#raise(node);
        return;
      }
      node = pathNode[level + 1]!;
      at = pathRow[level + 1]! + 1;
    }
  }

  #store(chunk: Int32Array, base: number, row: number): void {
    const count = chunk[base]!;
    const at = base + HEADER + row * ROW;
    if (row < count) chunk.copyWithin(at + ROW, at, base + HEADER + count * ROW);
    chunk[at] = newRow[0]!;
    chunk[at + 1] = newRow[1]!;
    chunk[at + 2] = newRow[2]!;
    chunk[at + 3] = newRow[3]!;
    chunk[at + 4] = newRow[4]!;
    chunk[base] = count + 1;
  }

  /** Splits a full node and puts {@link newRow} as row `row` of what it was; returns the new right half. */
  #split(level: number, node: number, row: number): number {
    const right = this.#alloc();
    const chunk = this.chunkOf(node);
    const base = baseOf(node);
    const rightChunk = this.chunkOf(right);
    const rightBase = baseOf(right);
    const run = this.#run;
    const cut = run === 0 ? CAPACITY >> 1 : row;
    const goesRight = run === 0 ? row > cut : run > 0 ? row === CAPACITY : row > 0;
    moveRows(chunk, base + HEADER + cut * ROW, rightChunk, rightBase + HEADER, CAPACITY - cut);
    chunk[base] = cut;
    rightChunk[rightBase] = CAPACITY - cut;
    const next = chunk[base + NEXT]!;
    rightChunk[rightBase + NEXT] = next;
    rightChunk[rightBase + PREV] = node;
    chunk[base + NEXT] = right;
    if (next !== NONE) this.chunkOf(next)[baseOf(next) + PREV] = right;
    if (goesRight) this.#store(rightChunk, rightBase, row - cut);
    else this.#store(chunk, base, row);
    if (level === 0 && goesRight) {
      this.#lastLeaf = right;
      this.#lastRow = row - cut;
    }
    return right;
  }

  /** Puts a new root above `left`, the old one, and {@link newRow}. */
  #raise(left: number): void {
    const root = this.#alloc();
    const chunk = this.chunkOf(root);
    const at = baseOf(root) + HEADER;
    chunk[at] = SIGN;
    chunk[at + 1] = SIGN;
    chunk[at + GAP] = STALE;
    chunk[at + VALUE] = left;
    chunk[baseOf(root)] = 1;
    this.#store(chunk, baseOf(root), 1);
    this.root = root;
    this.height += 1;
  }

  /** Removes a row of the leaf that the path leads to; merges what has few rows left. */
  cut(leaf: number, row: number): void {
    forgetPath();
    const chunk = this.chunkOf(leaf);
    const base = baseOf(leaf);
    const count = deleteRow(chunk, base, row);
    this.#lastLeaf = NONE;
    if (count < FEW && this.height > 0) this.#mend(leaf);
  }

  #mend(leaf: number): void {
    let node = leaf;
    for (let level = 0; level < this.height; level++) {
      const parent = pathNode[level + 1]!;
      const chunk = this.chunkOf(parent);
      const base = baseOf(parent);
      const count = chunk[base]!;
      if (count === 1) {
        // An only child has nothing to merge with; it goes when it is empty, and its parent with it.
        if (this.chunkOf(node)[baseOf(node)]! > 0) return;
        this.#release(node);
        chunk[base] = 0;
      } else {
        const row = pathRow[level + 1]!;
        if (!this.#mergePair(level, parent, row + 1 < count ? row : row - 1)) return;
        if (level + 1 === this.height) this.#lower();
        if (count - 1 >= FEW) return;
      }
      node = parent;
    }
  }

  /** Takes roots away that have one child. */
  #lower(): void {
    while (this.height > 0 && this.chunkOf(this.root)[baseOf(this.root)] === 1) {
      const old = this.root;
      this.root = this.chunkOf(old)[baseOf(old) + HEADER + VALUE]!;
      this.height -= 1;
      this.#release(old);
    }
  }

  /** Merges the children in rows `row` and `row + 1`, or shares their rows evenly; true when they were merged. */
  #mergePair(level: number, parent: number, row: number): boolean {
    const chunk = this.chunkOf(parent);
    const base = baseOf(parent);
    const leftAt = base + HEADER + row * ROW;
    const rightAt = leftAt + ROW;
    const right = chunk[rightAt + VALUE]!;
    const leftChunk = this.chunkOf(chunk[leftAt + VALUE]!);
    const leftBase = baseOf(chunk[leftAt + VALUE]!);
    const rightChunk = this.chunkOf(right);
    const rightBase = baseOf(right);
    const leftCount = leftChunk[leftBase]!;
    const rightCount = rightChunk[rightBase]!;
    const leftEnd = leftBase + HEADER + leftCount * ROW;
    const rightRows = rightBase + HEADER;
    if (level > 0) {
      // A node's own first bound is never compared, so it may be old; between two rows it must be true.
      rightChunk[rightRows] = chunk[rightAt]!;
      rightChunk[rightRows + 1] = chunk[rightAt + 1]!;
    }
    chunk[leftAt + GAP] = STALE;
    const total = leftCount + rightCount;
    if (total <= MERGED) {
      moveRows(rightChunk, rightRows, leftChunk, leftEnd, rightCount);
      leftChunk[leftBase] = total;
      this.#release(right);
      deleteRow(chunk, base, row + 1);
      return true;
    }
    const half = total >> 1;
    if (leftCount < half) {
      const moved = half - leftCount;
      moveRows(rightChunk, rightRows, leftChunk, leftEnd, moved);
      moveRows(rightChunk, rightRows + moved * ROW, rightChunk, rightRows, rightCount - moved);
    } else {
      const moved = leftCount - half;
      moveRows(rightChunk, rightRows, rightChunk, rightRows + moved * ROW, rightCount);
      moveRows(leftChunk, leftEnd - moved * ROW, rightChunk, rightRows, moved);
    }
    leftChunk[leftBase] = half;
    rightChunk[rightBase] = total - half;
    chunk[rightAt] = rightChunk[rightRows]!;
    chunk[rightAt + 1] = rightChunk[rightRows + 1]!;
    chunk[rightAt + GAP] = STALE;
    return false;
  }
}
