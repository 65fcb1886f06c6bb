/**
 * What is served although the tables say otherwise, told at the first request that meets it: also where the IOTLB had
 * nothing, and the walk went on from a step, a page or a PASID entry that is no longer true.
 */
import { describe, expect, test } from 'vitest';
import { FS_LEAF, SECOND, SS_RW, context, mapPage, pasidEntry } from './structures.js';
import { QueueWorld } from './queue-world.js';

const A = 0x40_0000_0000n;
const PAGE = 0x1000n;
const OLD = 0x1_0000_0000n;
const NEW = 0x2_0000_0000n;
const ADDRESS = 0xf_ffff_ffff_f000n;

/** A stage with three pages at A, one after the other, the first of them cached; and another that leads elsewhere. */
interface Scene {
  readonly world: QueueWorld;
  readonly root: bigint;
  readonly other: bigint;
  readonly entry: bigint;
  readonly context: bigint;
}

function threePages(world: QueueWorld, hpa: bigint, isSecond: boolean): bigint {
  const root = world.table();
  for (const at of [0n, PAGE, 2n * PAGE]) {
    if (isSecond) mapPage(world, root, A + at, (hpa + at) | SS_RW, SECOND);
    else mapPage(world, root, A + at, (hpa + at) | FS_LEAF);
  }
  return root;
}

function scene(isSecond: boolean): Scene {
  const world = new QueueWorld();
  const root = threePages(world, OLD, isSecond);
  const other = threePages(world, NEW, isSecond);
  const place = context(world);
  pasidEntry(world, place.entry, isSecond ? 2n : 1n, isSecond ? { second: root } : { first: root });
  world.start();
  expect(world.ask(A)).toBe(OLD);
  return { world, root, other, entry: place.entry, context: place.context };
}

/** Where the entry of the level that begins at bit `shift` lies. */
function entryOf(world: QueueWorld, root: bigint, iova: bigint, shift: bigint): bigint {
  let at = root;
  for (let bit = 39n; bit > shift; bit -= 9n) at = world.get(at + ((iova >> bit) & 511n) * 8n) & ADDRESS;
  return at + ((iova >> shift) & 511n) * 8n;
}

function told(world: QueueWorld): unknown[] {
  return world.stale.splice(0).map(({ iova, cached, current, missing }) => [iova, cached, current, missing]);
}

describe.each([
  ['first stage', false, 'PASID-based IOTLB invalidate, DID 5 PASID 3'],
  ['second stage', true, 'IOTLB invalidate, DID 5'],
] as const)('%s', (_, isSecond, missing) => {
  test.each([30n, 21n])('a step of bit %i that is served though its entry leads elsewhere', (shift) => {
    const { world, root, other } = scene(isSecond);
    world.put(entryOf(world, root, A, shift), world.get(entryOf(world, other, A, shift)));
    expect(world.ask(A + PAGE)).toBe(OLD + PAGE);
    expect(told(world)).toEqual([[A + PAGE, OLD + PAGE, NEW + PAGE, missing]]);
    // Once: nothing has changed since.
    expect(world.ask(A + PAGE)).toBe(OLD + PAGE);
    expect(told(world)).toEqual([]);
  });

  test('what is remembered behind an old step is as old', () => {
    const { world, root, other } = scene(isSecond);
    const far = A + (1n << 21n);
    mapPage(world, root, far, OLD | (isSecond ? SS_RW : FS_LEAF), isSecond ? SECOND : {});
    mapPage(world, root, far + PAGE, OLD | (isSecond ? SS_RW : FS_LEAF), isSecond ? SECOND : {});
    world.put(entryOf(world, root, A, 30n), world.get(entryOf(world, other, A, 30n)));
    for (const iova of [far, far + PAGE]) {
      expect(world.ask(iova)).toBe(OLD);
      expect(told(world)).toEqual([[iova, OLD, null, missing]]);
    }
  });

  test('a step that is still true is looked at once after a change, and costs nothing more', () => {
    const { world, root } = scene(isSecond);
    const far = A + (3n << 21n);
    mapPage(world, root, far, OLD | (isSecond ? SS_RW : FS_LEAF), isSecond ? SECOND : {});
    expect(world.ask(A + PAGE)).toBe(OLD + PAGE);
    expect(world.unit.statistics.silentWalks).toBe(1);
    expect(world.ask(A + 2n * PAGE)).toBe(OLD + 2n * PAGE);
    expect(world.unit.statistics.silentWalks).toBe(1);
    expect(told(world)).toEqual([]);
  });

  test('a PASID entry that is served though it says otherwise', () => {
    const { world, other, entry } = scene(isSecond);
    pasidEntry(world, entry, isSecond ? 2n : 1n, isSecond ? { second: other } : { first: other });
    expect(world.ask(A + PAGE)).toBe(OLD + PAGE);
    expect(told(world)).toEqual([
      [
        A + PAGE,
        OLD + PAGE,
        NEW + PAGE,
        'PASID-cache invalidate, DID 5 PASID 3, then PASID-based IOTLB invalidate',
      ],
    ]);
  });

  test('a context entry too: the chain of what is missing begins with it', () => {
    const { world, context: at } = scene(isSecond);
    world.put(at, world.get(at) & ~1n);
    const all =
      'context-cache invalidate, source 01:00.0, then PASID-cache invalidate, DID 5 PASID 3, ' +
      'then PASID-based IOTLB invalidate';
    expect(world.ask(A + PAGE)).toBe(OLD + PAGE);
    expect(world.ask(A)).toBe(OLD);
    expect(told(world)).toEqual([
      [A + PAGE, OLD + PAGE, null, all],
      [A, OLD, null, all],
    ]);
  });
});

test('a PASID that is met first by an old context entry', () => {
  const { world, context: at, other } = scene(false);
  const second = context(world, { pasid: 4 });
  pasidEntry(world, second.entry, 1n, { first: other });
  world.put(at, world.get(at) & ~1n);
  expect(world.ask(A, { pasid: 4 })).toBe(NEW);
  expect(told(world)).toHaveLength(1);
});

/** The guest's tables lie where the guest thinks, its pages at A in the second stage. */
function nested(): { world: QueueWorld; guest: bigint; second: bigint } {
  const world = new QueueWorld();
  const guest = world.table();
  const second = world.table();
  for (const at of [0n, PAGE]) {
    for (const entry of mapPage(world, guest, A + at, (A + at) | FS_LEAF)) {
      mapPage(world, second, entry & ~0xfffn, (entry & ~0xfffn) | SS_RW, SECOND);
    }
    mapPage(world, second, A + at, (OLD + at) | SS_RW, SECOND);
  }
  pasidEntry(world, context(world).entry, 3n, { first: guest, second });
  world.start();
  expect(world.ask(A)).toBe(OLD);
  return { world, guest, second };
}

describe('nested', () => {
  test('a step of the second stage that leads elsewhere', () => {
    const { world, second } = nested();
    const other = threePages(world, NEW, true);
    world.put(entryOf(world, second, A, 21n), world.get(entryOf(world, other, A, 21n)));
    expect(world.ask(A + PAGE)).toBe(OLD + PAGE);
    expect(told(world)).toEqual([[A + PAGE, OLD + PAGE, NEW + PAGE, 'IOTLB invalidate, DID 5']]);
  });

  test("where a guest's table lies, when nothing but its page is old", () => {
    const { world, guest, second } = nested();
    const B = A + (1n << 39n);
    // Where no walk has been, so that no step of the second stage is met again.
    const FAR = 1n << 45n;
    const moved = world.table();
    for (const [root, leads] of [
      [guest, OLD],
      [moved, NEW],
    ] as const) {
      const entries = mapPage(world, root, B, leads | FS_LEAF);
      for (const entry of entries) world.put(entry, world.get(entry) | FAR);
      for (const entry of entries.slice(1))
        mapPage(world, second, FAR | (entry & ADDRESS), (entry & ADDRESS) | SS_RW, SECOND);
      mapPage(world, second, FAR | leads, leads | SS_RW, SECOND);
    }
    world.put(entryOf(world, second, guest, 12n), moved | SS_RW);
    expect(world.ask(B)).toBe(OLD);
    expect(told(world)).toEqual([[B, OLD, NEW, 'IOTLB invalidate, DID 5']]);
  });

  test("a step of the guest's, whose stores nobody sees: when every walk is checked", () => {
    const { world, guest, second } = nested();
    world.unit.checking = true;
    const other = threePages(world, A, false);
    for (let bit = 39n, at = other; bit >= 12n; bit -= 9n) {
      mapPage(world, second, at, at | SS_RW, SECOND);
      at = world.get(at + ((A >> bit) & 511n) * 8n) & ADDRESS;
    }
    world.put(entryOf(world, other, A + PAGE, 12n), A | FS_LEAF);
    world.ask(A);
    told(world);
    world.put(entryOf(world, guest, A, 21n), world.get(entryOf(world, other, A, 21n)));
    expect(world.ask(A + PAGE)).toBe(OLD + PAGE);
    expect(told(world)).toMatchObject([[A + PAGE, OLD + PAGE, OLD, expect.any(String)]]);
  });
});
