/** What a run that is held is told apart by, byte by byte and bit by bit. */
import { beforeEach, describe, expect, test } from 'vitest';
import { HeldRun } from '../../src/bus/held-run.js';
import type { DirectView } from '../../src/mem/client.js';
import { Epoch } from '../../src/mem/epoch.js';
import type { PhysicalMemory } from '../../src/mem/physical.js';
import { RunList } from '../../src/mem/runs.js';

const PAGE = 0x1000;
const HI = 5;
const LO = 0x7fff_f000;
const ACCESS = 3;
const PASID = 9;
const bits = Array.from({ length: 32 }, (_, bit) => (1 << bit) | 0);

class View implements DirectView {
  readonly start = 0;
  readonly bytes = new Uint8Array(0);
  readonly words = new Int32Array(0);
  alive = true;
}

/** Memory that is one view, where a byte's index is its low word. */
class FakeMemory {
  readonly epoch = new Epoch();
  view: View | null = new View();
  directRoom = 0x10_0000;
  directAt = 0;

  direct(hi: number, lo: number): View | null {
    expect(hi).toBe(1);
    this.directAt = lo;
    return this.view;
  }
}

let memory: FakeMemory;
let held: HeldRun;
beforeEach(() => {
  memory = new FakeMemory();
  held = new HeldRun(memory as unknown as PhysicalMemory);
});

interface Kept {
  readonly hi?: number;
  readonly lo?: number;
  readonly access?: number;
  readonly pasid?: number;
  readonly hpaLo?: number;
  readonly bytes?: number;
}

function keep({
  hi = HI,
  lo = LO,
  access = ACCESS,
  pasid = PASID,
  hpaLo = 0x4000,
  bytes = PAGE,
}: Kept): void {
  const runs = new RunList();
  runs.add(1, hpaLo, bytes);
  held.keep(hi, lo, access, pasid, runs);
}

/** Where `length` bytes at an address are in the view; null: they are not held. */
function find({ hi = HI, lo = LO, access = ACCESS, pasid = PASID }: Kept, length = 1): number | null {
  const before = held.at;
  if (held.has(hi, lo, length, access, pasid)) return held.at;
  expect(held.at).toBe(before);
  return null;
}

test('nothing is held at first, not even nothing', () => {
  expect(find({ hi: 0, lo: 0, access: 0, pasid: -1 }, 0)).toBeNull();
});

test('every part of it is held, and no byte more', () => {
  keep({});
  expect(held.bytes).toBe(memory.view!.bytes);
  for (const [from, length] of [
    [0, PAGE],
    [0, 0],
    [0, 1],
    [1, PAGE - 1],
    [PAGE - 1, 1],
    [PAGE, 0],
  ] as const) {
    expect(find({ lo: (LO + from) | 0 }, length)).toBe(0x4000 + from);
  }
  for (const [from, length] of [
    [0, PAGE + 1],
    [-1, 1],
    [-1, 2],
    [PAGE - 1, 2],
    [PAGE, 1],
    [1, PAGE],
  ] as const) {
    expect(find({ lo: (LO + from) | 0 }, length)).toBeNull();
  }
});

test('a bit of what it was translated for makes it another’s', () => {
  keep({});
  for (const bit of bits) {
    expect(find({ hi: HI ^ bit })).toBeNull();
    expect(find({ access: ACCESS ^ bit })).toBeNull();
    expect(find({ pasid: PASID ^ bit })).toBeNull();
    if (Math.abs(bit) >= PAGE) expect(find({ lo: LO ^ bit })).toBeNull();
  }
  expect(find({})).toBe(0x4000);
});

test('it ends with the epoch, and with the view that it is of', () => {
  keep({});
  memory.view!.alive = false;
  expect([find({}), held.alive]).toEqual([null, false]);
  memory.view!.alive = true;
  expect([find({}), held.alive]).toEqual([0x4000, true]);
  memory.epoch.end();
  expect(find({})).toBeNull();
});

describe('not held', () => {
  test.each<[string, () => void, Kept]>([
    ['memory that cannot be reached directly', () => void (memory.view = null), {}],
    ['a run over the end of a view', () => void (memory.directRoom = PAGE - 1), {}],
    ['addresses with two high words', () => {}, { lo: 0xffff_f001 | 0 }],
  ])('is %s, and what was held stays so', (_, change, kept) => {
    keep({ hpaLo: 0x8000 });
    change();
    keep({ lo: 0x1000, ...kept });
    expect(find({ lo: 0x1000, ...kept })).toBeNull();
    expect(find({})).toBe(0x8000);
  });

  test('is no run to the end of a view, nor one to the end of a high word', () => {
    memory.directRoom = PAGE;
    keep({ lo: 0xffff_f000 | 0 });
    expect(find({ lo: 0xffff_f000 | 0 }, PAGE)).toBe(0x4000);
  });
});

describe('the next run', () => {
  test.each([0x1000, LO - PAGE, LO, 0xffff_e000 | 0])('is joined to it at %i, and both are one', (lo) => {
    keep({ lo, hpaLo: 0x4000 });
    keep({ lo: (lo + PAGE) | 0, hpaLo: 0x5000, bytes: 0x800 });
    expect(find({ lo }, PAGE + 0x800)).toBe(0x4000);
    expect(find({ lo }, PAGE + 0x801)).toBeNull();
    expect(find({ lo: (lo + PAGE + 0x7ff) | 0 })).toBe(0x57ff);
  });

  const next = { lo: (LO + PAGE) | 0, hpaLo: 0x5000 };
  test.each<[string, Kept]>([
    ['addresses that go on elsewhere', { ...next, lo: (LO + 2 * PAGE) | 0 }],
    ['addresses that are the same', { ...next, lo: LO }],
    ['another high word', { ...next, hi: HI + 1 }],
    ['another access', { ...next, access: ACCESS ^ 4 }],
    ['another PASID', { ...next, pasid: PASID ^ 1 }],
    ['memory that goes on elsewhere', { ...next, hpaLo: 0x6000 }],
    ['memory that is the same', { ...next, hpaLo: 0x4000 }],
  ])('is held in its place if it has %s', (_, other) => {
    keep({});
    keep(other);
    expect(find(other, PAGE)).toBe(other.hpaLo);
    expect(find(other, PAGE + 1)).toBeNull();
    if (other.lo !== LO) expect(find({})).toBeNull();
  });

  test('is held in its place if it is of another view, or of another epoch', () => {
    keep({});
    memory.view = new View();
    keep(next);
    expect([find({}), find(next)]).toEqual([null, 0x5000]);
    expect(held.bytes).toBe(memory.view.bytes);
    memory.epoch.end();
    keep({ lo: (LO + 2 * PAGE) | 0, hpaLo: 0x6000 });
    expect([find(next), find({ lo: (LO + 2 * PAGE) | 0 })]).toEqual([null, 0x6000]);
  });

  test('of address 0 does not follow the last one of the same high word', () => {
    keep({ lo: 0xffff_f000 | 0, hpaLo: 0x4000 });
    keep({ lo: 0, hpaLo: 0x5000 });
    expect([find({ lo: 0xffff_f000 | 0 }), find({ lo: 0 })]).toEqual([null, 0x5000]);
  });
});
