/** Where tables lie: in the unit's own memory, chunk by chunk, and in a program's, far above 4 GiB. */
import { describe, expect, test } from 'vitest';
import { NearChunk } from '../../../src/mem/table-store.js';
import { FakeBacking } from '../../mem/fake-backing.js';
import {
  A,
  BARE,
  D,
  SS_A,
  SS_D,
  SECOND,
  SSADE,
  SS_RW,
  context,
  guestSpace,
  mapPage,
  pasidEntry,
} from './structures.js';
import { CAP, World, WRITE } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;
const PAGE = 0x1000n;
const TWO_MIB = 1n << 21n;
const GIB = 1n << 30n;
/** First stage: P, RW, US; A, D. */
const TABLES = [1n, 2n, 3n, 4n].map((n) => n * GIB);
/** Root entry, context entry, directory, PASID entry. */
const STRUCTURE_LOADS = 1 + 4 + 1 + 8;
const FORGETTING = { cap: CAP | (1n << 63n) };

/** Makes tables lie where `next` says, one after the other. */
function placed(world: World, next: () => bigint): void {
  world.table = () => next();
}

/** Three spaces, each with pages at IOVA and at some distance; PASIDs 3, 4 and 5. */
function spaces(
  world: World,
  distances: readonly bigint[],
): { first: bigint[]; second: bigint[]; page: bigint[] } {
  const [first, second, guest] = [world.table(), world.table(), world.table()];
  const paths = { first: [] as bigint[], second: [] as bigint[], page: [] as bigint[] };
  const secondOfGuest = world.table();
  for (const at of distances) {
    paths.first.push(...mapPage(world, first, IOVA + at, (HPA + at) | BARE, { table: BARE }));
    paths.second.push(...mapPage(world, second, IOVA + at, (HPA + at) | SS_RW, SECOND));
    for (const entry of mapPage(world, guest, IOVA + at, (IOVA + at) | BARE, { table: BARE }))
      mapPage(world, secondOfGuest, entry & -PAGE, (entry & -PAGE) | SS_RW, SECOND);
    paths.page.push(...mapPage(world, secondOfGuest, IOVA + at, (HPA + at) | SS_RW, SECOND));
  }
  Reflect.deleteProperty(world, 'table');
  const flags = SSADE;
  pasidEntry(world, context(world).entry, 1n, { did: 1n, first });
  pasidEntry(world, context(world, { pasid: 4 }).entry, 2n, { did: 2n, second, flags });
  pasidEntry(world, context(world, { pasid: 5 }).entry, 3n, {
    did: 3n,
    first: guest,
    second: secondOfGuest,
    flags,
  });
  return paths;
}

describe('tables above 4 GiB', () => {
  test('in the memory of a program: found, gone on from, and bits set in them', () => {
    const world = new World(FORGETTING);
    const [range] = world.memory.window(new FakeBacking(1), 0n, 0x80_0000n)!;
    let used = 0n;
    placed(world, () => range!.hpa + (used += PAGE));
    const distances = [0n, PAGE, TWO_MIB, GIB];
    const { first, second, page } = spaces(world, distances);
    world.start();
    for (const at of distances)
      for (const pasid of [3, 4, 5])
        expect([at, pasid, world.ask(IOVA + at + 5n, { pasid })]).toEqual([at, pasid, HPA + at + 5n]);
    for (const at of distances)
      for (const pasid of [3, 4, 5])
        expect([at, pasid, world.ask(IOVA + at, { pasid, access: WRITE })]).toEqual([at, pasid, HPA + at]);
    for (const [index, entry] of first.entries())
      expect(world.get(entry) & (A | D)).toBe(index % 4 === 3 ? A | D : A);
    for (const [index, entry] of [...second, ...page].entries())
      expect(world.get(entry) & (SS_A | SS_D)).toBe(index % 4 === 3 ? SS_A | SS_D : SS_A);
    expect(world.faults()).toEqual([]);
  });

  test.each([1n, 2n])(
    "in the unit's own memory, where the chunk is that was looked at last: type %i",
    (kind) => {
      const world = new World();
      const words = new Int32Array(1 << 20);
      // Frames of 4 GiB and of 12 GiB; nothing else is there.
      for (const hi of [1, 3]) {
        const near = Object.assign(new NearChunk(), { words, first: hi << 20, frames: 1024 });
        const base = BigInt(hi) << 32n;
        const tables = [5n, 0n, 1023n, 7n];
        for (const [level, frame] of tables.entries()) {
          const index = (IOVA >> BigInt(39 - 9 * level)) & 511n;
          const below = tables[level + 1];
          const entry =
            (below === undefined ? HPA : base + below * PAGE) | (kind === 1n ? BARE | A | D : SS_RW);
          const word = Number(frame * 1024n + index * 2n);
          words[word] = Number(BigInt.asIntN(32, entry));
          words[word + 1] = Number(entry >> 32n);
        }
        const root = base + 5n * PAGE;
        pasidEntry(world, context(world).entry, kind, kind === 1n ? { first: root } : { second: root });
        world.start();
        world.memory.near = near;
        expect(world.peek(IOVA + 5n)).toBe(HPA + 5n);
        // An entry that leads one frame too far leads out of what is near.
        near.frames = 1023;
        expect(world.peek(IOVA)).toBe(null);
        near.frames = 1024;
        near.first += 1;
        expect(world.peek(IOVA)).toBe(null);
        world.memory.near = new NearChunk();
        expect(world.peek(IOVA)).toBe(null);
      }
    },
  );
});

/** Frames at the same place of three chunks, the first of each and those after it. */
function chunks(): { world: World; pools: bigint[] } {
  const world = new World(FORGETTING);
  const pools = [0, 1, 2].map(() => world.table(22));
  expect(pools.map((pool) => pool - pools[0]!)).toEqual([0n, 1n << 22n, 2n << 22n]);
  return { world, pools };
}

describe('in neighbouring chunks', () => {
  test.each([
    [0, 1, 2],
    [2, 1, 0],
    [0, 0, 1],
    [1, 0, 0],
    [2, 0, 1],
    [1, 2, 2],
  ])('tables in turn in chunks %i, %i and %i', (...order) => {
    const { world, pools } = chunks();
    let used = 0;
    placed(
      world,
      () =>
        pools[order[used % 3]!]! + BigInt(Math.floor(used++ / 3)) * PAGE + BigInt(used % 2 ? 0 : 512) * PAGE,
    );
    const [first, second] = [world.table(), world.table()];
    mapPage(world, first, IOVA, HPA | BARE | A | D, { table: BARE | A });
    mapPage(world, second, IOVA, HPA | SS_RW, SECOND);
    const made = guestSpace(world, IOVA, { tables: TABLES, page: 5n * GIB, hpa: HPA });
    Reflect.deleteProperty(world, 'table');
    const kinds = [
      { kind: 1n, own: { first } },
      { kind: 2n, own: { second } },
      { kind: 3n, own: { first: TABLES[0]!, second: made.second } },
    ];
    for (const { kind, own } of kinds) {
      pasidEntry(world, context(world).entry, kind, own);
      world.memory.near = world.memory.tables.near;
      world.start();
      expect([kind, world.peek(IOVA + 5n)]).toEqual([kind, HPA + 5n]);
      expect([kind, world.ask(IOVA + 5n)]).toEqual([kind, HPA + 5n]);
    }
  });

  test('what lies in the chunk that was looked at last is found there', () => {
    const { world, pools } = chunks();
    world.memory.near = world.memory.tables.near;
    for (const kind of [1n, 2n])
      for (const [turn, order] of [
        [0, 0, 0, 0],
        [0, 1, 1, 1],
        [0, 0, 1, 1],
        [0, 1, 0, 1],
      ].entries()) {
        let used = 0;
        const frame = (kind * 4n + BigInt(turn)) * 16n;
        placed(world, () => pools[order[used % 4]!]! + (frame + BigInt(used++)) * PAGE);
        const root = world.table();
        if (kind === 1n) mapPage(world, root, IOVA, HPA | BARE | A | D, { table: BARE | A });
        else mapPage(world, root, IOVA, HPA | SS_RW, SECOND);
        Reflect.deleteProperty(world, 'table');
        pasidEntry(world, context(world).entry, kind, kind === 1n ? { first: root } : { second: root });
        world.start();
        world.peek(IOVA);
        // After the structures, which lie elsewhere, one more where the chunk changes.
        world.memory.loads = 0;
        expect(world.peek(IOVA)).toBe(HPA);
        const changes = order.filter((chunk, at) => at === 0 || chunk !== order[at - 1]).length;
        expect([kind, turn, world.memory.loads]).toEqual([kind, turn, STRUCTURE_LOADS + changes]);
      }
  });
});
