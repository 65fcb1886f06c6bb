/** One side of an operation: where it is, how often it may ask again, and which answers are good for the next one. */
import { beforeEach, describe, expect, test } from 'vitest';
import { Cursor } from '../../src/bus/cursor.js';
import { Epoch } from '../../src/mem/epoch.js';
import type { PhysicalMemory } from '../../src/mem/physical.js';

const HI = 5;
const LO = 0x7fff_f000;
const LENGTH = 0x3000;
const ACCESS = 3;
const PASID = 9;
/** Memory that cannot be reached directly, so that no run is held. */
const memory = { epoch: new Epoch(), direct: () => null };
const bits = Array.from({ length: 32 }, (_, bit) => (1 << bit) | 0);

let cursor: Cursor;
beforeEach(() => {
  memory.direct = () => null;
  cursor = new Cursor(memory as unknown as PhysicalMemory);
});

const at = (): number[] => [cursor.hi, cursor.lo, cursor.left];

describe('where it is', () => {
  test('it begins with nothing in hand and nothing refused, whatever was', () => {
    cursor.runs.add(1, 0, 16);
    cursor.isRefused = true;
    cursor.start(HI, LO, LENGTH, ACCESS, PASID);
    expect(at()).toEqual([HI, LO, LENGTH]);
    expect(cursor).toMatchObject({ access: ACCESS, pasid: PASID, isRefused: false });
    expect([cursor.runs.count, cursor.runs.bytes]).toEqual([0, 0]);
  });

  test.each([
    [5, 0x1000, 0x234, 5, 0x1234],
    [5, 0x7fff_ffff, 1, 5, -0x8000_0000],
    [5, -1, 1, 6, 0],
    [-1, -1, 1, 0, 0],
    [0x7fff_ffff, -4, 8, -0x8000_0000, 4],
  ])('from %i:%i, %i bytes on, is %i:%i', (hi, lo, length, nextHi, nextLo) => {
    cursor.start(hi, lo, LENGTH, ACCESS, PASID);
    cursor.pass(length);
    expect(at()).toEqual([nextHi, nextLo, LENGTH - length]);
    cursor.runs.add(1, 0, 16);
    cursor.isRefused = true;
    cursor.restart(hi, lo, length, 77);
    expect(at()).toEqual([nextHi, nextLo, 77]);
    expect([cursor.runs.count, cursor.isRefused]).toEqual([0, false]);
  });
});

/** How often it may be asked for again at `done`. */
const asksAt = (done: number): number => {
  for (let count = 0; count < 100; count += 1) if (!cursor.mayAskAgain(done)) return count;
  return Infinity;
};

describe('what is gone', () => {
  test('is asked for fifteen times more, at each place and in each operation', () => {
    for (const length of [LENGTH, LENGTH]) {
      cursor.start(HI, LO, length, ACCESS, PASID);
      for (const done of [0, 1, 4096, 0]) expect([done, asksAt(done)]).toEqual([done, 15]);
      expect(cursor.mayAskAgain(0)).toBe(false);
    }
  });

  test('is asked for as often at a place that others were between', () => {
    cursor.start(HI, LO, LENGTH, ACCESS, PASID);
    for (let turn = 0; turn < 40; turn += 1) {
      expect(cursor.mayAskAgain(0)).toBe(true);
      expect(cursor.mayAskAgain(1)).toBe(true);
    }
  });
});

interface Question {
  readonly hi?: number;
  readonly lo?: number;
  readonly length?: number;
  readonly access?: number;
  readonly pasid?: number;
}

/** Whether the answer to a question is in hand without asking. */
function isKnown({
  hi = HI,
  lo = LO,
  length = LENGTH,
  access = ACCESS,
  pasid = PASID,
}: Question = {}): boolean {
  cursor.start(hi, lo, length, access, pasid);
  return cursor.recall(length);
}

/** Asks, is told `count` runs, and moves all. */
function operate({ length = LENGTH, ...question }: Question = {}, count = 3, areHits = true): void {
  expect(isKnown({ length, ...question })).toBe(false);
  for (let run = 0; run < count; run += 1) cursor.runs.add(1, run * 0x2000, length / count);
  cursor.runs.areHits = areHits;
  cursor.pass(length);
  cursor.finish(question.hi ?? HI, question.lo ?? LO, length);
  expect(cursor.runs.count).toBe(0);
}

describe('an answer', () => {
  test('is good for the same question, as often as it is asked', () => {
    operate();
    for (let turn = 0; turn < 3; turn += 1) {
      expect(isKnown()).toBe(true);
      expect([cursor.runs.count, cursor.runs.bytes]).toEqual([3, LENGTH]);
      expect([...cursor.runs.words.subarray(0, 9)]).toEqual([
        1, 0, 0x1000, 1, 0x2000, 0x1000, 1, 0x4000, 0x1000,
      ]);
      expect(at()).toEqual([HI, -0x7fff_e000, 0]);
      cursor.finish(HI, LO, LENGTH);
    }
  });

  test('is good for no other', () => {
    const others = bits.flatMap((bit): Question[] => [
      { hi: HI ^ bit },
      { lo: LO ^ bit },
      { access: ACCESS ^ bit },
      { pasid: PASID ^ bit },
      { length: LENGTH ^ bit },
    ]);
    operate();
    for (const other of others) expect([other, isKnown(other), isKnown()]).toEqual([other, false, true]);
  });

  test('is not touched by another that is on its way, nor by one that is begun and left', () => {
    operate();
    for (let turn = 0; turn < 3; turn += 1) {
      operate({ lo: LO + LENGTH * (turn + 1) });
      expect(isKnown()).toBe(true);
      cursor.start(HI, 0, LENGTH, ACCESS, PASID);
      expect(cursor.runs.count).toBe(0);
      cursor.runs.add(7, 7, 7);
      expect(isKnown()).toBe(true);
      expect([...cursor.runs.words.subarray(0, 3), cursor.runs.count]).toEqual([1, 0, 0x1000, 3]);
    }
  });

  test('that was in hand is not kept as that of the bytes before it', () => {
    operate();
    cursor.start(HI, LO - 0x1000, LENGTH + 0x1000, ACCESS, PASID);
    cursor.pass(0x1000);
    expect(cursor.recall(LENGTH)).toBe(true);
    cursor.finish(HI, LO - 0x1000, LENGTH);
    expect(isKnown({ lo: LO - 0x1000 })).toBe(false);
    expect(isKnown()).toBe(true);
  });

  test('ends with the epoch', () => {
    operate();
    memory.epoch.end();
    expect(isKnown()).toBe(false);
  });

  test('is none if not all of it was cached', () => {
    operate({}, 3, false);
    expect(isKnown()).toBe(false);
  });

  test('is none if it came in parts', () => {
    expect(isKnown()).toBe(false);
    cursor.runs.add(1, 0, 0x1000);
    cursor.runs.add(1, 0x2000, 0x1000);
    cursor.runs.areHits = true;
    cursor.finish(HI, LO, LENGTH);
    expect(isKnown()).toBe(false);
  });

  test('is none if the epoch ended before all was moved', () => {
    expect(isKnown()).toBe(false);
    for (const run of [0, 1, 2]) cursor.runs.add(1, run * 0x2000, 0x1000);
    cursor.runs.areHits = true;
    memory.epoch.end();
    cursor.finish(HI, LO, LENGTH);
    expect(isKnown()).toBe(false);
  });

  test('is none any more once some of it was used up, or what it led to was gone', () => {
    operate();
    expect(isKnown()).toBe(true);
    cursor.drop(0x1800);
    expect([cursor.runs.count, cursor.runs.bytes]).toEqual([2, 0x1800]);
    expect(isKnown()).toBe(false);
    operate();
    expect(isKnown()).toBe(true);
    cursor.mayAskAgain(0);
    expect(isKnown()).toBe(false);
  });

  test('of one run is not kept here: the run is', () => {
    const kept: unknown[] = [];
    cursor.held.keep = (hi, lo, access, pasid, { count, bytes }) =>
      kept.push([hi, lo, access, pasid, count, bytes]);
    operate({}, 1);
    expect(kept).toEqual([[HI, LO, ACCESS, PASID, 1, LENGTH]]);
    expect(isKnown()).toBe(false);
    operate({}, 2);
    expect(kept).toHaveLength(1);
    expect(isKnown()).toBe(true);
  });
});
