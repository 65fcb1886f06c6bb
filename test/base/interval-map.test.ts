/**
 * The interval map against a plain array, over few addresses (so that ranges touch, and nodes split and merge often)
 * and at both ends of the 64-bit space.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { IntervalMap } from '../../src/base/interval-map.js';
import { MAX, NaiveRanges } from './naive-ranges.js';

/** All entries, in order, by the cursor. */
function listed(map: IntervalMap): { start: bigint; last: bigint; value: number }[] {
  const entries = [];
  for (let more = map.seek(0n); more; more = map.advance()) {
    entries.push({ start: map.curStart, last: map.curLast, value: map.curValue });
  }
  return entries;
}

/** The same, backwards. */
function listedBackwards(map: IntervalMap): bigint[] {
  const starts = [];
  for (let more = map.seek(MAX) || map.prev(MAX) !== -1; more; more = map.retreat())
    starts.push(map.curStart);
  return starts;
}

/** How much of its slot of 16 addresses an entry takes: often all, so that neighbours touch. */
function widthOf(slot: number): bigint {
  return BigInt(slot % 3 === 0 ? 15 : slot % 15);
}

/** A fixed shuffle of 0..count-1; `count` is a power of two. */
function shuffled(count: number): number[] {
  return Array.from({ length: count }, (_, i) => (i * 40503) & (count - 1));
}

/** A map of 4 KiB areas, inserted in the order of `order`. */
function fill(order: readonly number[]): IntervalMap {
  const map = new IntervalMap();
  for (const slot of order) map.insertWords(0, slot * 4096, 0, slot * 4096 + 4095, slot);
  return map;
}

/** Addresses near a base, so that collisions happen; the bases include both ends and a carry between words. */
const bases = [0n, (1n << 32n) - 40n, (1n << 63n) - 40n, MAX - 79n];
const address = fc
  .tuple(fc.constantFrom(...bases), fc.integer({ min: 0, max: 79 }))
  .map(([base, offset]) => base + BigInt(offset));

const operation = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('insert' as const),
      at: address,
      size: fc.integer({ min: 0, max: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('remove' as const), at: address, size: fc.constant(0) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('look' as const),
      at: address,
      size: fc.integer({ min: 0, max: 90 }),
    }),
  },
);

function compareLook(map: IntervalMap, naive: NaiveRanges, at: bigint, size: number): void {
  const last = at + BigInt(size) > MAX ? MAX : at + BigInt(size);
  const from = naive.from(at);
  expect(map.find(at)).toBe(naive.overlapping(at, at)?.value ?? -1);
  expect(map.firstFrom(at)).toBe(from?.value ?? -1);
  if (from) expect([map.curStart, map.curLast]).toEqual([from.start, from.last]);
  expect(map.firstOverlap(at, last)).toBe(naive.overlapping(at, last)?.value ?? -1);
  expect(map.overlaps(at, last)).toBe(naive.overlapping(at, last) !== undefined);
  expect(map.next(at)).toBe(naive.entries.find((e) => e.start > at)?.value ?? -1);
  expect(map.prev(at)).toBe(naive.entries.findLast((e) => e.start < at)?.value ?? -1);
  const length = BigInt(size + 1);
  const gap = naive.gap(at, length);
  expect(map.seekGap(at, length)).toBe(gap !== undefined);
  if (gap) expect([map.gapStart, map.gapLast]).toEqual(gap);
}

describe('the interval map agrees with a plain array', () => {
  test('in random inserts, removals and looks', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 300, size: 'max' }), (operations) => {
        const map = new IntervalMap();
        const naive = new NaiveRanges();
        let value = 0;
        for (const { op, at, size } of operations) {
          if (op === 'look') compareLook(map, naive, at, size);
          if (op === 'remove') expect(map.remove(at)).toBe(naive.remove(at));
          if (op !== 'insert') continue;
          const last = at + BigInt(size) > MAX ? MAX : at + BigInt(size);
          if (naive.overlapping(at, last)) continue;
          map.insert(at, last, ++value);
          naive.insert(at, last, value);
        }
        expect(map.size).toBe(naive.entries.length);
        expect(listed(map)).toEqual(naive.entries);
        expect(listedBackwards(map)).toEqual(naive.entries.map((e) => e.start).toReversed());
      }),
      { numRuns: 400 },
    );
  });

  /** Distinct slots of 16 addresses: many entries quickly, without checking for overlaps. */
  const slots = fc.uniqueArray(fc.integer({ min: 0, max: 4095 }), {
    minLength: 200,
    maxLength: 2500,
    size: 'max',
  });
  const orders = fc.constantFrom<(a: number, b: number) => number>(
    () => 0,
    (a, b) => a - b,
    (a, b) => b - a,
    (a, b) => (a & 63) - (b & 63),
    (a, b) => (a >> 6 === b >> 6 ? b - a : (a >> 6) - (b >> 6)),
  );

  test('when thousands of entries come and go in every order', () => {
    const oneRun = fc.record({
      slots,
      inOrder: orders,
      outOrder: orders,
      left: fc.integer({ min: 0, max: 120 }),
      looks: fc.array(fc.tuple(fc.integer({ min: 0, max: 65600 }), fc.integer({ min: 1, max: 700 })), {
        maxLength: 20,
      }),
      base: fc.constantFrom(0n, (1n << 32n) - 32768n, (1n << 63n) - 32768n, MAX - 65535n),
    });
    fc.assert(
      fc.property(oneRun, (run) => {
        const map = new IntervalMap();
        const startOf = (slot: number): bigint => run.base + BigInt(slot * 16);
        for (const slot of run.slots.toSorted(run.inOrder)) {
          map.insert(startOf(slot), startOf(slot) + widthOf(slot), slot);
        }
        const leaving = run.slots.toSorted(run.outOrder).slice(run.left);
        const half = leaving.length >> 1;
        let kept = new Set(run.slots);
        for (const part of [leaving.slice(0, half), leaving.slice(half)]) {
          for (const slot of part) {
            if (!map.remove(startOf(slot))) throw new Error(`slot ${slot} was lost`);
            kept.delete(slot);
          }
          const naive = new NaiveRanges();
          naive.entries = [...kept]
            .toSorted((a, b) => a - b)
            .map((slot) => ({ start: startOf(slot), last: startOf(slot) + widthOf(slot), value: slot }));
          expect(listed(map)).toEqual(naive.entries);
          for (const [offset, length] of run.looks) {
            const at = run.base + BigInt(offset) > MAX ? MAX : run.base + BigInt(offset);
            compareLook(map, naive, at, length);
          }
        }
        // What is left takes new entries in the middle of the old ones, gaps measured before included.
        for (const slot of leaving) map.insert(startOf(slot), startOf(slot) + widthOf(slot), slot);
        kept = new Set(run.slots);
        expect(listed(map).map((e) => e.value)).toEqual([...kept].toSorted((a, b) => a - b));
      }),
      { numRuns: 120 },
    );
  });
});

/** A row of slots of 16 addresses, each wholly used or wholly free: cheap enough to judge after every step. */
class Slots {
  readonly used = new Uint8Array(4096);
  readonly map = new IntervalMap();

  constructor(readonly base: bigint) {}

  set(slot: number, used: boolean): void {
    if (this.used[slot] === Number(used)) return;
    this.used[slot] = Number(used);
    const start = this.base + BigInt(slot * 16);
    if (used) this.map.insert(start, start + 15n, slot);
    else expect(this.map.remove(start)).toBe(true);
  }

  /** The first slot from `from` on that begins a free run of `count`; the space after the last slot is free. */
  firstFree(from: number, count: number): number {
    for (let slot = from, free = 0; slot < this.used.length; slot++) {
      free = this.used[slot] ? 0 : free + 1;
      if (free === count) return slot - count + 1;
    }
    const lastUsed = this.used.lastIndexOf(1);
    return Math.max(from, lastUsed + 1);
  }

  judgeGap(from: number, count: number): void {
    const found = this.map.seekGap(this.base + BigInt(from * 16), BigInt(count * 16));
    const start = found ? Number(this.map.gapStart - this.base) / 16 : -1;
    if (start !== this.firstFree(from, count)) expect(start).toBe(this.firstFree(from, count));
  }

  judge(): void {
    const expected = [];
    for (let slot = 0; slot < this.used.length; slot++) if (this.used[slot]) expected.push(slot);
    const seen = [];
    for (let more = this.map.seek(0n); more; more = this.map.advance()) seen.push(this.map.curValue);
    expect(seen).toEqual(expected);
    for (const slot of expected) {
      const value = this.map.find(this.base + BigInt(slot * 16 + 7));
      if (value !== slot) expect(value).toBe(slot);
    }
  }
}

describe('the interval map in long runs', () => {
  const phase = fc.record({
    used: fc.boolean(),
    direction: fc.constantFrom('up', 'down', 'mixed'),
    first: fc.integer({ min: 0, max: 4095 }),
    count: fc.integer({ min: 1, max: 3000 }),
    every: fc.constantFrom(1, 1, 1, 2, 7),
    wanted: fc.integer({ min: 1, max: 12 }),
  });

  test('stays true while whole stretches fill and empty in every direction', () => {
    const base = fc.constantFrom(0n, (1n << 32n) - 32768n, (1n << 63n) - 32768n);
    fc.assert(
      fc.property(base, fc.array(phase, { minLength: 3, maxLength: 14, size: 'max' }), (at, phases) => {
        const slots = new Slots(at);
        for (const { used, direction, first, count, every, wanted } of phases) {
          for (let i = 0; i < count; i += every) {
            const step = direction === 'up' ? i : direction === 'down' ? count - 1 - i : (i * 1021) % count;
            const slot = (first + step) & 4095;
            slots.set(slot, used);
            if (i % 3 === 0) slots.judgeGap(slot > 40 ? slot - 40 : 0, wanted);
          }
          slots.judgeGap(0, wanted);
          slots.judge();
        }
      }),
      { numRuns: 70 },
    );
  });

  test('loses nothing when the last leaf of an upper node empties, from either end', () => {
    for (const up of [true, false]) {
      for (let more = 1; more <= 40; more++) {
        const slots = new Slots(1n << 40n);
        const all = Array.from({ length: 2 * 36 * 36 + more }, (_, i) => (up ? i : 4095 - i));
        for (const slot of all) slots.set(slot, true);
        slots.judgeGap(0, 1);
        for (const slot of all.slice(-more - 20)) slots.set(slot, false);
        for (const slot of all.slice(36, 36 * 35)) slots.set(slot, false);
        slots.judgeGap(0, 2);
        for (const slot of all) slots.set(slot, true);
        slots.judge();
      }
    }
  });
});

describe('the bounds of the interval map', () => {
  test('stay true when an upper node empties, takes in its neighbour, and is taken in itself', () => {
    for (let top = 1290; top < 1340; top++) {
      const slots = new Slots(1n << 32n);
      const range = (from: number, to: number, used: boolean): void => {
        for (let slot = from; slot < to; slot++) slots.set(slot, used);
      };
      range(2048, 2348, true);
      range(0, top, true);
      for (let slot = top - 1; slot >= top - 36; slot--) slots.set(slot, false);
      range(top - 36, top + 700, true);
      for (let slot = 0; slot < top - 40; slot++) if (slot % 16 !== 0) slots.set(slot, false);
      slots.judge();
      range(0, top - 40, true);
      slots.judge();
    }
  });
});

describe('the interval map at the edges', () => {
  test('one entry may be the whole 64-bit space', () => {
    const map = new IntervalMap();
    map.insert(0n, MAX, 7);
    expect([map.find(0n), map.find(1n << 63n), map.find(MAX)]).toEqual([7, 7, 7]);
    expect(map.seekGap(0n, 1n)).toBe(false);
    expect(map.firstFrom(MAX)).toBe(7);
    expect(map.curLast).toBe(MAX);
    expect(map.next(0n)).toBe(-1);
    expect(map.remove(0n)).toBe(true);
    expect(map.seekGap(0n, MAX)).toBe(true);
    expect([map.gapStart, map.gapLast]).toEqual([0n, MAX]);
  });

  test('an empty map has no entry, no neighbour and one gap', () => {
    const map = new IntervalMap();
    expect([map.find(0n), map.firstFrom(0n), map.next(0n), map.prev(MAX), map.size]).toEqual([
      -1, -1, -1, -1, 0,
    ]);
    expect(map.remove(0n)).toBe(false);
    expect(map.seek(0n)).toBe(false);
    expect(map.advance()).toBe(false);
    expect(map.seekGap(MAX, 1n)).toBe(true);
    expect(map.seekGap(MAX, 2n)).toBe(false);
  });

  test('a cursor that is nowhere is a bug to read', () => {
    const map = new IntervalMap();
    expect(() => map.curStart).toThrow('the cursor is nowhere');
    map.insert(5n, 6n, 1);
    expect(map.seek(7n)).toBe(false);
    expect(() => map.curValue).toThrow('the cursor is nowhere');
    map.seek(6n);
    map.remove(5n);
    expect(() => map.curValue).toThrow('the cursor is nowhere');
  });

  test('an entry that overlaps its neighbour is a bug', () => {
    const map = new IntervalMap();
    map.insert(0x10n, 0x1fn, 1);
    expect(() => map.insert(0x1fn, 0x20n, 2)).toThrow('would overlap');
    expect(() => map.insert(0x8n, 0x10n, 2)).toThrow('would overlap');
    expect(() => map.insert(0x10n, 0x10n, 2)).toThrow('would overlap');
    expect(map.size).toBe(1);
  });

  test('(high, low) words of either sign mean the same as the bigint', () => {
    const map = new IntervalMap();
    map.insertWords(-1, -0x1000, -1, -1, 3);
    map.insert(0x80000000_7fffffffn, 0x80000000_80000000n, 4);
    expect(map.find(MAX)).toBe(3);
    expect(map.findWords(0x80000000 | 0, 0x7fffffff)).toBe(4);
    expect(map.findWords(0x80000000, 0x80000000)).toBe(4);
    expect(map.removeWords(0x80000000, 0x7fffffff)).toBe(true);
    expect(map.seekWords(0, 0)).toBe(true);
    expect(map.curStart).toBe(0xffffffff_fffff000n);
  });
});

describe('the memory of the interval map', () => {
  test('stays below 48 bytes an area, whatever the order of inserts', () => {
    const order = shuffled(1 << 16);
    const ascending = order.toSorted((a, b) => a - b);
    for (const each of [order, ascending, ascending.toReversed()]) {
      expect(fill(each).bytes() / each.length).toBeLessThan(48);
    }
  });

  test('stays below 48 bytes an area while areas churn', () => {
    const order = shuffled(1 << 15);
    const map = fill(order);
    for (let round = 0; round < 4; round++) {
      for (const slot of order) map.removeWords(0, slot * 4096);
      for (const slot of order.toReversed()) map.insertWords(0, slot * 4096, 0, slot * 4096 + 4095, slot);
    }
    expect(map.bytes() / map.size).toBeLessThan(48);
  });

  test('is small for a small map and comes back when the last entry goes', () => {
    const map = new IntervalMap();
    map.insert(0n, 4095n, 0);
    expect(map.bytes()).toBeLessThan(1024);
    for (let i = 1; i < 10000; i++) map.insertWords(0, i * 4096, 0, i * 4096 + 4095, i);
    for (let i = 0; i < 10000; i++) map.removeWords(0, i * 4096);
    expect(map.bytes()).toBeLessThan(8192);
    map.insert(0n, 4095n, 0);
    map.clear();
    expect([map.size, map.find(0n)]).toEqual([0, -1]);
  });
});
