/**
 * Runs of physical memory, in the order in which an operation passes them: what a device is to touch, once it is
 * translated. What follows the run before it in physical memory is joined to it, so a run is as long as it can be.
 */
import { carry } from '../base/words.js';
import type { PhysicalMemory } from './physical.js';

/** Words of a run: the HPA of its first byte, and how many bytes. */
const R_HI = 0;
const R_LO = 1;
const R_LENGTH = 2;
const STRIDE = 3;
export const RUN = { R_LO, R_LENGTH, STRIDE } as const;
/** So many scattered pages are 1 MiB. */
export const MOST_RUNS = 256;

export class RunList {
  readonly words = new Int32Array(MOST_RUNS * STRIDE);
  count = 0;
  /** Sum of the lengths. */
  bytes = 0;
  /** All was cached: asked for again in the same epoch, it would be the same. */
  areHits = false;
  /** Where {@link words} lie in the memory of this process, once a host had to find out; they do not move. */
  address = 0;

  /** Whether the next run may find no place. */
  get isFull(): boolean {
    return this.count === MOST_RUNS;
  }

  clear(): void {
    this.count = 0;
    this.bytes = 0;
    this.areHits = false;
  }

  add(hi: number, lo: number, length: number): void {
    const { words } = this;
    const at = this.count * STRIDE;
    this.bytes += length;
    if (at > 0 && this.#isNext(at - STRIDE, hi, lo)) {
      words[at - STRIDE + R_LENGTH] = words[at - STRIDE + R_LENGTH]! + length;
      return;
    }
    words[at] = hi;
    words[at + R_LO] = lo;
    words[at + R_LENGTH] = length;
    this.count += 1;
  }

  /** Whether the byte at an HPA follows the run at `at`. */
  #isNext(at: number, hi: number, lo: number): boolean {
    const { words } = this;
    const first = words[at + R_LO]!;
    const length = words[at + R_LENGTH]!;
    return lo === ((first + length) | 0) && hi === words[at]! + carry(first, length);
  }

  /** Takes away the first `length` bytes. */
  drop(length: number): void {
    if (length === this.bytes) return this.clear();
    const { words } = this;
    this.bytes -= length;
    let at = 0;
    while (length > 0 && words[at + R_LENGTH]! <= length) {
      length -= words[at + R_LENGTH]!;
      at += STRIDE;
    }
    if (at > 0) {
      words.copyWithin(0, at, this.count * STRIDE);
      this.count -= at / STRIDE;
    }
    if (length === 0) return;
    words[R_HI] = words[R_HI]! + carry(words[R_LO]!, length);
    words[R_LO] = words[R_LO]! + length;
    words[R_LENGTH] = words[R_LENGTH]! - length;
  }
}

/** Reads all of `runs` to index `at` of `into`. Returns how many bytes; less than there are: the run after them is gone. */
export function readRuns(memory: PhysicalMemory, runs: RunList, into: Uint8Array, at: number): number {
  const { words, count } = runs;
  let done = 0;
  if (count > 1 && memory.gather(runs, into, at)) return runs.bytes;
  for (let run = 0; run < count * STRIDE; run += STRIDE) {
    const length = words[run + R_LENGTH]!;
    if (!memory.readAt(words[run]!, words[run + R_LO]!, into, at + done, length)) break;
    done += length;
  }
  return done;
}

/** The same into memory, from index `at` of `from` on. */
export function writeRuns(memory: PhysicalMemory, runs: RunList, from: Uint8Array, at: number): number {
  const { words, count } = runs;
  let done = 0;
  if (count > 1 && memory.scatter(runs, from, at)) return runs.bytes;
  for (let run = 0; run < count * STRIDE; run += STRIDE) {
    const length = words[run + R_LENGTH]!;
    if (!memory.writeAt(words[run]!, words[run + R_LO]!, from, at + done, length)) break;
    done += length;
  }
  return done;
}

/** Copies as many bytes as `target` has, which is no more than `source` has, piece by piece, upwards. */
export function copyRuns(memory: PhysicalMemory, source: RunList, target: RunList): number {
  const from = source.words;
  const to = target.words;
  if (source.count + target.count === 2) {
    const isDone = memory.copy(from[0]!, from[R_LO]!, to[0]!, to[R_LO]!, target.bytes);
    return isDone ? target.bytes : 0;
  }
  if (memory.copyRuns(source, target)) return target.bytes;
  let done = 0;
  let fromRun = 0;
  let toRun = 0;
  let fromUsed = 0;
  let toUsed = 0;
  while (done < target.bytes) {
    const piece = Math.min(from[fromRun + R_LENGTH]! - fromUsed, to[toRun + R_LENGTH]! - toUsed);
    const fromLo = from[fromRun + R_LO]!;
    const toLo = to[toRun + R_LO]!;
    const fromHi = from[fromRun]! + carry(fromLo, fromUsed);
    const toHi = to[toRun]! + carry(toLo, toUsed);
    if (!memory.copy(fromHi, (fromLo + fromUsed) | 0, toHi, (toLo + toUsed) | 0, piece)) break;
    done += piece;
    fromUsed += piece;
    toUsed += piece;
    if (fromUsed === from[fromRun + R_LENGTH]) {
      fromRun += STRIDE;
      fromUsed = 0;
    }
    if (toUsed === to[toRun + R_LENGTH]) {
      toRun += STRIDE;
      toUsed = 0;
    }
  }
  return done;
}
