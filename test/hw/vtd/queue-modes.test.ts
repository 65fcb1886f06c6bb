/** Which descriptors a queue takes: by mode and width (Table 26), and by what the unit can do (sections 6.5.2, 7.6.1). */
import { describe, expect, test } from 'vitest';
import { ECAP as FIELDS } from '../../../src/hw/vtd/registers.js';
import { QueueWorld, contextInvalidate, iotlbInvalidate, pages } from './queue-world.js';
import { CAP, ECAP, SOURCE } from './world.js';

const IQE = 0x10;
const LEGACY = 0;
const SCALABLE = 1;

/** One descriptor of each type. */
const descriptors: readonly (readonly bigint[])[] = [
  [0n],
  [contextInvalidate(1n)],
  [iotlbInvalidate(1n)],
  [3n | (BigInt(SOURCE) << 32n)],
  [4n],
  [5n],
  [6n | (2n << 4n)],
  [7n | (3n << 4n)],
  [8n | (BigInt(SOURCE) << 16n)],
  [9n],
  // Host permission tables: not there.
  [10n | (1n << 4n)],
];

/** The IQEI that the queue stops with after one descriptor; 0: it does not. */
function tried(world: QueueWorld, words: readonly bigint[]): number {
  world.submit(...words);
  return (world.status & IQE) === 0 ? 0 : world.unit.read32(0xb0) & 0xf;
}

function without(...fields: (keyof typeof FIELDS)[]): bigint {
  return fields.reduce((ecap, field) => ecap & ~(1n << BigInt(FIELDS[field][0])), ECAP);
}

test.each([
  ['legacy mode, 128 bits', LEGACY, false, [3, 0, 0, 0, 0, 0, 3, 3, 3, 3, 3]],
  ['legacy mode, 256 bits', LEGACY, true, [3, 0, 0, 0, 0, 0, 3, 3, 3, 3, 3]],
  ['scalable mode, 128 bits', SCALABLE, false, [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]],
  ['scalable mode, 256 bits', SCALABLE, true, [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]],
  ['the mode that once was extended', 2, true, [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]],
  ['abort-dma mode, which the unit has not', 3, true, [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]],
])('%s', (_, ttm, is256, expected) => {
  const found = descriptors.map((words) => {
    const world = new QueueWorld({}, is256);
    world.start(ttm);
    return tried(world, words);
  });
  expect(found).toEqual(expected);
});

test('a unit without scalable mode has neither that mode nor its descriptors', () => {
  const options = { ecap: without('SMTS') };
  for (const [ttm, is256, expected] of [
    [LEGACY, false, 0],
    [LEGACY, true, 5],
    [SCALABLE, true, 7],
  ] as const) {
    const world = new QueueWorld(options, is256);
    world.start(ttm);
    expect([ttm, is256, tried(world, [contextInvalidate(1n)])]).toEqual([ttm, is256, expected]);
  }
});

describe('what a unit cannot do it has no descriptor for', () => {
  test.each([
    ['device TLBs', 'DT', 3n | (BigInt(SOURCE) << 32n), 3],
    ['device TLBs of a PASID', 'DT', 8n | (BigInt(SOURCE) << 16n), 3],
    ['answers to page requests', 'PRS', 9n, 3],
    ['a wait that drains page requests', 'PDS', 5n | 0x80n, 4],
  ] as const)('%s', (_, field, words, code) => {
    for (const [ecap, expected] of [
      [ECAP | (1n << BigInt(FIELDS[field][0])), 0],
      [without(field), code],
    ] as const) {
      const world = new QueueWorld({ ecap });
      world.start();
      expect(tried(world, [words])).toBe(expected);
    }
  });

  test('page-selective IOTLB invalidation', () => {
    const PSI = 1n << 39n;
    for (const [cap, expected] of [
      [CAP | PSI, 0],
      [CAP & ~PSI, 4],
    ] as const) {
      const world = new QueueWorld({ cap });
      world.start();
      expect(tried(world, [iotlbInvalidate(3n), pages(0n)])).toBe(expected);
    }
  });
});

test('a wait that asks for nothing is done with', () => {
  const world = new QueueWorld();
  world.start();
  expect(tried(world, [5n])).toBe(0);
  expect(world.head).toBe(32);
});

test('bits of a status address above the host address width are ignored', () => {
  const world = new QueueWorld({ haw: 46 });
  world.start();
  const status = world.table();
  expect(tried(world, [5n | 0x20n | (0x1234_5678n << 32n), status | (1n << 46n) | (1n << 63n)])).toBe(0);
  expect(world.get(status)).toBe(0x1234_5678n);
});
