/** Bits that a walk is to set: noted once for each entry, set in the order in which they were passed. */
import { beforeEach, expect, test } from 'vitest';
import { Pending } from '../../../src/hw/vtd/pending.js';
import type { EntryMemory } from '../../../src/mem/physical.js';

const A = 0x20;
const D = 0x40;

/** Every entry that bits are set in, as `hi lo expected bits`. */
let written: string[];
/** Which of them is refused. */
let refused: number;
const memory = {
  setBits64: (hi: number, lo: number, expected: number, bits: number) => {
    written.push([hi, lo, expected, bits].join(' '));
    return written.length - 1 !== refused;
  },
} as EntryMemory;
let pending: Pending;
beforeEach(() => {
  written = [];
  refused = -1;
  pending = new Pending();
});

test('nothing is noted, and nothing written, at first and after it was cleared', () => {
  expect([pending.isEmpty, pending.hasFirst, pending.apply(memory)]).toEqual([true, false, true]);
  pending.add(0, 8, 1, A);
  pending.hasFirst = true;
  expect(pending.isEmpty).toBe(false);
  pending.clear();
  expect([pending.isEmpty, pending.hasFirst, pending.apply(memory)]).toEqual([true, false, true]);
  expect(written).toEqual([]);
});

test('entries are told apart by either half of their address, and are written in order', () => {
  pending.add(1, 8, 101, A);
  pending.add(0, 8, 102, A);
  pending.add(1, 16, 103, D);
  pending.add(8, 1, 104, A);
  expect(pending.apply(memory)).toBe(true);
  expect(written).toEqual(['1 8 101 32', '0 8 102 32', '1 16 103 64', '8 1 104 32']);
});

test('an entry that is passed again is written once, with all bits, if it is what it was at first', () => {
  for (const lo of [8, 16, 24]) pending.add(1, lo, 100 + lo, A);
  for (const lo of [24, 8]) pending.add(1, lo, 0, D);
  expect(pending.apply(memory)).toBe(true);
  expect(written).toEqual(['1 8 108 96', '1 16 116 32', '1 24 124 96']);
});

test('an entry that cannot be written ends it', () => {
  for (const lo of [8, 16, 24]) pending.add(0, lo, 1, A);
  refused = 1;
  expect(pending.apply(memory)).toBe(false);
  expect(written).toEqual(['0 8 1 32', '0 16 1 32']);
});

test('as many entries as the longest walk passes are noted', () => {
  // Five levels of a first stage, each through five of a second, and five of the page's own.
  const count = 5 * 6 + 5;
  for (let entry = 0; entry < count; entry += 1) pending.add(entry, entry * 8, entry, A);
  expect(pending.apply(memory)).toBe(true);
  expect(written).toEqual(
    Array.from({ length: count }, (_, entry) => [entry, entry * 8, entry, A].join(' ')),
  );
});
