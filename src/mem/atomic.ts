/**
 * Atomic operations on a naturally aligned word of physical memory. They are atomic against the owner's processors where
 * the memory can be reached directly; elsewhere, against this program alone. The value
 * that was there comes back in `memory.loadedHi` and `loadedLo`. False: no memory is there.
 */
import { highWord, joinWords, lowWord } from '../base/words.js';
import type { DirectView } from './client.js';
import type { PhysicalMemory } from './physical.js';

/** Bytes of a word. */
export type AtomicWidth = 4 | 8;

/** Stores the new value if the expected one is there. */
export function compareExchange(
  memory: PhysicalMemory,
  hi: number,
  lo: number,
  width: AtomicWidth,
  expected: bigint,
  value: bigint,
): boolean {
  const view = memory.directWord(hi, lo, width);
  if (view !== null) {
    const at = memory.directAt;
    const old =
      width === 8
        ? Atomics.compareExchange(word64(view, at), 0, asSigned(expected), asSigned(value))
        : Atomics.compareExchange(view.words, at >>> 2, lowWord(expected), lowWord(value));
    return keep(memory, old) && view.alive;
  }
  if (!load(memory, hi, lo, width)) return false;
  const isEqual =
    memory.loadedLo === lowWord(expected) && (width === 4 || memory.loadedHi === highWord(expected));
  return !isEqual || store(memory, hi, lo, width, value);
}

/** Adds to what is there. */
export function fetchAdd(
  memory: PhysicalMemory,
  hi: number,
  lo: number,
  width: AtomicWidth,
  operand: bigint,
): boolean {
  const view = memory.directWord(hi, lo, width);
  if (view !== null) {
    const at = memory.directAt;
    const old =
      width === 8
        ? Atomics.add(word64(view, at), 0, asSigned(operand))
        : Atomics.add(view.words, at >>> 2, lowWord(operand));
    return keep(memory, old) && view.alive;
  }
  if (!load(memory, hi, lo, width)) return false;
  const sum = BigInt.asUintN(64, joinWords(memory.loadedHi, memory.loadedLo) + operand);
  return store(memory, hi, lo, width, sum);
}

const word64 = ({ bytes }: DirectView, at: number): BigInt64Array =>
  new BigInt64Array(bytes.buffer, bytes.byteOffset + at, 1);

const asSigned = (value: bigint): bigint => BigInt.asIntN(64, value);

function keep(memory: PhysicalMemory, old: bigint | number): true {
  memory.loadedHi = typeof old === 'bigint' ? highWord(old) : 0;
  memory.loadedLo = typeof old === 'bigint' ? lowWord(old) : old;
  return true;
}

const scratch = new Uint8Array(8);
const scratchWords = new Int32Array(scratch.buffer);

function load(memory: PhysicalMemory, hi: number, lo: number, width: AtomicWidth): boolean {
  scratchWords[1] = 0;
  if (!memory.readAt(hi, lo, scratch, 0, width)) return false;
  memory.loadedHi = scratchWords[1]!;
  memory.loadedLo = scratchWords[0]!;
  return true;
}

function store(memory: PhysicalMemory, hi: number, lo: number, width: AtomicWidth, value: bigint): boolean {
  scratchWords[0] = lowWord(value);
  scratchWords[1] = highWord(value);
  return memory.writeAt(hi, lo, scratch, 0, width);
}
