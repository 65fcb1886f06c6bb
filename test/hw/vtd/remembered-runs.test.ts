/** A buffer that was all hits is known by everything that it was asked for with, and by the epoch; and then it is what it was. */
import { beforeEach, expect, test } from 'vitest';
import { Translation } from '../../../src/bus/dma.js';
import { RememberedRuns } from '../../../src/hw/vtd/remembered-runs.js';
import { Epoch } from '../../../src/mem/epoch.js';
import { RunList } from '../../../src/mem/runs.js';

/** Fewer runs are looked up as fast; more have no place. */
const FEWEST = 4;
const MOST = 18;
/** Every one of them is taken by addresses enough. */
const PLACES = 256;
const LENGTH = 0x1_2345;

let epoch: Epoch;
let remembered: RememberedRuns;
beforeEach(() => {
  epoch = new Epoch();
  remembered = new RememberedRuns(epoch);
});

type Asked = Partial<Pick<Translation, 'sourceId' | 'pasid' | 'hi' | 'lo' | 'access'>>;
const asks = (asked: Asked): Translation =>
  Object.assign(new Translation(), { sourceId: 0x100, pasid: 3, hi: 5, lo: 0x7000, access: 1 }, asked);

/** Runs that nobody else has. */
function runsOf(count: number, seed: number): RunList {
  const runs = new RunList();
  for (let run = 0; run < count; run += 1) runs.add(seed, (run * 2 + 1) * 4096, 4096 + run);
  return runs;
}

/** The runs that are known, word for word; null: none are. */
function known(asked: Asked = {}, length = LENGTH): number[] | null {
  const runs = new RunList();
  if (!remembered.recall(asks(asked), length, runs)) {
    expect([runs.count, runs.bytes, runs.areHits]).toEqual([0, 0, false]);
    return null;
  }
  expect([runs.bytes, runs.areHits]).toEqual([length, true]);
  return wordsOf(runs);
}

const wordsOf = ({ words, count }: RunList): number[] => [...words.subarray(0, count * 3)];

test('nothing is known at first', () => {
  expect(known()).toBeNull();
  expect(known({ sourceId: 0, pasid: 0, hi: 0, lo: 0, access: 0 }, 0)).toBeNull();
});

test('of four runs to eighteen', () => {
  for (let count = 1; count < 24; count += 1) {
    const lo = count * 0x10_0000;
    remembered.keep(asks({ lo }), LENGTH, runsOf(count, count));
    const expected = count >= FEWEST && count <= MOST ? wordsOf(runsOf(count, count)) : null;
    expect([count, known({ lo })]).toEqual([count, expected]);
  }
});

test('a bit of what it was asked for with is enough to make it another', () => {
  const bits = Array.from({ length: 32 }, (_, bit) => (1 << bit) | 0);
  const own = wordsOf(runsOf(FEWEST, 1));
  const { sourceId, pasid, hi, lo, access } = asks({});
  remembered.keep(asks({}), LENGTH, runsOf(FEWEST, 1));
  expect(known()).toEqual(own);
  for (const bit of bits) {
    expect(known({ sourceId: sourceId ^ bit })).toBeNull();
    expect(known({ pasid: pasid ^ bit })).toBeNull();
    expect(known({ hi: hi ^ bit })).toBeNull();
    expect(known({ lo: lo ^ bit })).toBeNull();
    expect(known({ access: access ^ bit })).toBeNull();
    expect(known({}, LENGTH ^ bit)).toBeNull();
  }
  // Addresses whose high word alone differs, among them those with the same place.
  for (let other = 0; other < 2000; other += 1)
    expect(known({ hi: other })).toEqual(other === hi ? own : null);
});

test('what is asked for of the same place takes it, and has all of its own', () => {
  // The same page: the same place.
  const others: Asked[] = [
    { lo: 0x7001 },
    { access: 3 },
    { sourceId: 0x101 },
    { pasid: -1 },
    { lo: 0x7fff, access: 2, pasid: 9, sourceId: 0 },
  ];
  for (const [index, asked] of others.entries()) {
    remembered.keep(asks({}), LENGTH, runsOf(MOST, 1));
    remembered.keep(asks(asked), LENGTH + 1, runsOf(FEWEST + index, 2));
    expect(known({}, LENGTH)).toBeNull();
    expect(known(asked, LENGTH + 1)).toEqual(wordsOf(runsOf(FEWEST + index, 2)));
  }
});

test('many buffers are known at once, whatever their addresses, and none has runs of another', () => {
  const addresses = Array.from({ length: 2000 }, (_, index) => ({
    hi: index >> 8,
    lo: Math.imul(index, 0x01f3_5000) | 0,
  }));
  for (const [index, at] of addresses.entries()) remembered.keep(asks(at), LENGTH, runsOf(MOST, index));
  const found = addresses.map((at) => known(at));
  expect(found.filter((runs) => runs !== null).length).toBe(PLACES);
  found.forEach((runs, index) => runs === null || expect(runs).toEqual(wordsOf(runsOf(MOST, index))));
  // What was kept last is there, wherever its address has its place.
  for (const [index, at] of addresses.entries()) {
    remembered.keep(asks(at), LENGTH, runsOf(MOST, -index));
    expect(known(at)).toEqual(wordsOf(runsOf(MOST, -index)));
  }
});

test('for one epoch', () => {
  remembered.keep(asks({}), LENGTH, runsOf(FEWEST, 1));
  expect(known()).not.toBeNull();
  epoch.end();
  expect(known()).toBeNull();
  remembered.keep(asks({}), LENGTH, runsOf(FEWEST, 2));
  expect(known()).toEqual(wordsOf(runsOf(FEWEST, 2)));
});
