/** Tables that change while a walk is made: it begins again, from memory alone, and not for ever (section 3.6.2). */
import { describe, expect, test } from 'vitest';
import { QueueWorld } from './queue-world.js';
import {
  A,
  BARE,
  D,
  SS_A,
  SECOND,
  SSADE,
  SS_RW,
  context,
  guestSpace,
  mapPage,
  pasidEntry,
} from './structures.js';
import { World, WRITE } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;
const OTHER = 0x8_7654_3000n;
const PAGE = 0x1000n;
const TABLES = [0n, 1n, 2n, 3n].map((level) => 0x5_0000_0000n + level * PAGE);
const GUEST_PAGE = 0x5_0000_4000n;
/** So often a walk is made. */
const TRIES = 4;

/** Calls `meddle` just before a bit is set; returns how often that was tried. */
function meddling(world: World, meddle: (attempt: number) => boolean): () => number {
  const { memory } = world;
  const original = memory.setBits64.bind(memory);
  let attempts = 0;
  memory.setBits64 = (hi, lo, expected, bits) => {
    attempts += 1;
    return meddle(attempts) && original(hi, lo, expected, bits);
  };
  return () => attempts;
}

test.each([0, 1, TRIES - 1, TRIES])('an entry that cannot be written %i times', (refusals) => {
  const world = new World();
  const root = world.table();
  const path = mapPage(world, root, IOVA, HPA | BARE | A | D, { table: BARE | A });
  world.put(path[1]!, world.get(path[1]!) & ~A);
  pasidEntry(world, context(world).entry, 1n, { first: root });
  world.start();
  const attempts = meddling(world, (attempt) => attempt > refusals);
  const isFound = refusals < TRIES;
  expect(world.ask(IOVA)).toBe(isFound ? HPA : null);
  expect(world.request.reason).toBe(isFound ? 0 : 0x91);
  expect(attempts()).toBe(Math.min(refusals + 1, TRIES));
  // And it is met again, with as many tries as before.
  if (!isFound) expect(world.ask(IOVA)).toBe(HPA);
});

describe('what is changed while bits are to be set is followed as it is then', () => {
  test.each([0, 1, 2, 3])('the entry of level %i of a first stage', (level) => {
    const world = new World();
    const root = world.table();
    const path = mapPage(world, root, IOVA, HPA | BARE, { table: BARE });
    const other = mapPage(world, world.table(), IOVA, OTHER | BARE, { table: BARE });
    pasidEntry(world, context(world).entry, 1n, { first: root });
    world.start();
    meddling(world, (attempt) => {
      if (attempt === 1) world.put(path[level]!, world.get(other[level]!));
      return true;
    });
    expect(world.ask(IOVA, { access: WRITE })).toBe(OTHER);
    const now = [...path.slice(0, level + 1), ...other.slice(level + 1)];
    expect(now.map((entry) => world.get(entry) & (A | D))).toEqual([A, A, A, A | D]);
    // What the walk before would have set is not.
    expect(
      [...path.slice(level + 1), ...other.slice(0, level + 1)].map((entry) => world.get(entry) & (A | D)),
    ).toEqual([3, 2, 1, 0].map(() => 0n));
  });

  test('an entry that leads a guest to its tables and its page', () => {
    const world = new World();
    const { second, toPage, toTables } = guestSpace(world, IOVA, {
      tables: TABLES,
      page: GUEST_PAGE,
      hpa: HPA,
    });
    // Another lowest table, with the same tables and another page.
    const other = world.table();
    for (const [leaf] of toTables.map((entries) => entries.slice(-1)))
      world.put(other + (leaf! & 0xfffn), world.get(leaf!));
    world.put(other + (toPage[3]! & 0xfffn), OTHER | SS_RW);
    pasidEntry(world, context(world).entry, 3n, { first: TABLES[0]!, second, flags: SSADE });
    world.start();
    meddling(world, (attempt) => {
      if (attempt === 1) world.put(toPage[2]!, other | SS_RW);
      return true;
    });
    expect(world.ask(IOVA)).toBe(OTHER);
    expect(world.ask(IOVA, { access: WRITE })).toBe(OTHER);
    expect(world.get(toPage[3]!)).toBe(HPA | SS_RW);
  });
});

/** Where the unit cannot tell from its caches whether the page of a guest's table is to become dirty, it looks again. */
test('a walk that could not go by what was cached does not say that it is true', () => {
  const world = new QueueWorld();
  const { second, toTables, path } = guestSpace(world, IOVA, { tables: TABLES, page: GUEST_PAGE, hpa: HPA });
  // A is set, D is not; the next page lies where nothing is cached.
  const far = GUEST_PAGE + (1n << 40n);
  mapPage(world, second, far, (HPA + PAGE) | SS_RW, SECOND);
  mapPage(world, second, OTHER, OTHER | SS_RW, SECOND);
  world.put(path[3]!, GUEST_PAGE | BARE | A);
  world.put(path[3]! + 8n, far | BARE | A);
  const other = world.table();
  for (const at of [0n, 8n]) world.put(other + (path[3]! & 0xfffn) + at, OTHER | BARE | A);
  for (const entry of new Set(toTables.flat())) world.put(entry, world.get(entry) | SS_A);
  pasidEntry(world, context(world).entry, 3n, { first: TABLES[0]!, second, flags: SSADE });
  world.start();
  expect(world.ask(IOVA)).toBe(HPA);
  // The last table is another now, and nobody is told.
  world.put(toTables[3]![3]!, other | SS_RW | SS_A);
  expect(world.ask(IOVA, { access: WRITE })).toBe(OTHER);
  expect(world.stale).toEqual([]);
  // The cached way to the table that was is as old as before.
  expect(world.ask(IOVA + PAGE)).toBe(HPA + PAGE);
  expect(world.stale.map(({ iova, cached, current }) => [iova, cached, current])).toEqual([
    [IOVA + PAGE, HPA + PAGE, OTHER],
  ]);
});

test('a walk that begins again from memory asks no cache of the second stage either', () => {
  const world = new QueueWorld();
  const { second, toPage, toTables } = guestSpace(world, IOVA, {
    tables: TABLES,
    page: GUEST_PAGE,
    hpa: HPA,
    leaf: BARE | A,
  });
  for (const entry of new Set(toTables.flat())) world.put(entry, world.get(entry) | SS_A);
  const other = world.table();
  for (const path of toTables) world.put(other + (path[3]! & 0xfffn), world.get(path[3]!));
  world.put(other + (toPage[3]! & 0xfffn), OTHER | SS_RW);
  pasidEntry(world, context(world).entry, 3n, { first: TABLES[0]!, second, flags: SSADE });
  world.start();
  expect(world.ask(IOVA)).toBe(HPA);
  world.put(toPage[2]!, other | SS_RW | SS_A);
  // D is to be set, in a page that is not dirty yet.
  expect(world.ask(IOVA, { access: WRITE })).toBe(OTHER);
});
