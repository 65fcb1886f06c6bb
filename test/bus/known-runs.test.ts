/** Where a buffer lies is known by everything that it was asked for with, and by the epoch; and then it is what it was. */
import { beforeEach, expect, test } from 'vitest';
import { KnownRuns } from '../../src/bus/known-runs.js';
import { Epoch } from '../../src/mem/epoch.js';
import { RunList } from '../../src/mem/runs.js';

/** Every one of them is taken by addresses enough. */
const PLACES = 127;
const PAGE = 4096;

interface Question {
  readonly hi: number;
  readonly lo: number;
  readonly access: number;
  readonly pasid: number;
}

const OWN: Question = { hi: 5, lo: 0x7000, access: 1, pasid: 3 };

let epoch: Epoch;
let known: KnownRuns;
beforeEach(() => {
  epoch = new Epoch();
  known = new KnownRuns(epoch);
});

/** Runs that nobody else has. */
function runsOf(count: number, seed: number): RunList {
  const runs = new RunList();
  for (let run = 0; run < count; run += 1) runs.add(seed, (run * 2 + 1) * PAGE, PAGE + run);
  return runs;
}

const LENGTH = runsOf(3, 0).bytes;

function keep(runs: RunList, question: Partial<Question> = {}): RunList {
  const { hi, lo, access, pasid } = { ...OWN, ...question };
  return known.keep(hi, lo, access, pasid, runs);
}

function recall(question: Partial<Question> = {}, length = LENGTH): RunList | null {
  const { hi, lo, access, pasid } = { ...OWN, ...question };
  return known.recall(hi, lo, length, access, pasid);
}

test('nothing is known at first', () => {
  expect(recall()).toBeNull();
  expect(recall({ hi: 0, lo: 0, access: 0, pasid: 0 }, 0)).toBeNull();
});

test('the list that was kept comes back, as it is', () => {
  const runs = runsOf(3, 1);
  keep(runs);
  for (let turn = 0; turn < 3; turn += 1) expect(recall()).toBe(runs);
  expect(runs).toEqual(runsOf(3, 1));
});

test('a bit of what it was asked for with is enough to make it another', () => {
  const bits = Array.from({ length: 32 }, (_, bit) => (1 << bit) | 0);
  const runs = runsOf(3, 1);
  keep(runs);
  for (const bit of bits) {
    expect(recall({ hi: OWN.hi ^ bit })).toBeNull();
    expect(recall({ lo: OWN.lo ^ bit })).toBeNull();
    expect(recall({ access: OWN.access ^ bit })).toBeNull();
    expect(recall({ pasid: OWN.pasid ^ bit })).toBeNull();
    expect(recall({}, LENGTH ^ bit)).toBeNull();
  }
  // Addresses whose high word alone differs, among them those with the same place.
  for (let hi = 0; hi < 2000; hi += 1) expect(recall({ hi })).toBe(hi === OWN.hi ? runs : null);
});

test('what is asked for of the same place takes it, and hands back the list that was there', () => {
  // The same page: the same place.
  const others: Partial<Question>[] = [
    { lo: 0x7001 },
    { access: 3 },
    { pasid: -1 },
    { lo: 0x7fff, access: 2 },
  ];
  for (const other of others) {
    const first = runsOf(3, 1);
    const second = runsOf(3, 2);
    keep(first);
    expect(keep(second, other)).toBe(first);
    expect([recall(), recall(other)]).toEqual([null, second]);
  }
});

test('no list is in two places', () => {
  const given = new Set<RunList>();
  for (let page = 0; page < PLACES; page += 1) {
    const runs = runsOf(2, page);
    const back = keep(runs, { lo: page * PAGE });
    expect(given.has(back) || back === runs).toBe(false);
    given.add(runs).add(back);
  }
});

test.each([1, 2, 3, 8, 15, 16, 64, 128, 256, 512, 4096, 2 ** 20, 2 ** 21])(
  'so many buffers are known at once as there are places, %i pages from each other',
  (pages) => {
    // About an address whose frame number has another sign than the one before.
    const addresses = Array.from({ length: PLACES }, (_, index) => {
      const address = 2 ** 43 + (index - 60) * pages * PAGE;
      return { hi: Math.floor(address / 2 ** 32), lo: (address % 2 ** 32) | 0 };
    });
    for (const [index, at] of addresses.entries()) keep(runsOf(3, index), at);
    expect(addresses.map((at) => recall(at)?.words[0])).toEqual([...addresses.keys()]);
  },
);

test('whatever their addresses, none has runs of another', () => {
  const addresses = Array.from({ length: 2000 }, (_, index) => ({
    hi: index >> 8,
    lo: Math.imul(index, 0x01f3_5000),
  }));
  for (const [index, at] of addresses.entries()) {
    keep(runsOf(3, index), at);
    // What was kept last is there, wherever its address has its place.
    expect(recall(at)?.words[0]).toBe(index);
  }
  const found = addresses.map((at) => recall(at));
  expect(found.filter((runs) => runs !== null).length).toBe(PLACES);
  found.forEach((runs, index) => runs === null || expect(runs).toEqual(runsOf(3, index)));
});

test('for one epoch', () => {
  keep(runsOf(3, 1));
  expect(recall()).not.toBeNull();
  epoch.end();
  expect(recall()).toBeNull();
  keep(runsOf(3, 2));
  expect(recall()).toEqual(runsOf(3, 2));
});

test('until it is forgotten: what was asked for last, and no other', () => {
  keep(runsOf(3, 1));
  keep(runsOf(3, 2), { lo: 0x8000 });
  expect(recall()).not.toBeNull();
  known.forget();
  expect([recall(), recall({ lo: 0x8000 })]).toEqual([null, runsOf(3, 2)]);
});
