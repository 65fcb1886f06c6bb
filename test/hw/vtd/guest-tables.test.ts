/**
 * Where a guest's tables lie: near each other and far, in pages of all sizes, with other permissions; what of the way there is
 * not gone twice, and that this is the right way (sections 3.8, 6.2.4, 6.2.5).
 */
import { describe, expect, test } from 'vitest';
import {
  FS_LEAF,
  FS_TABLE,
  PS,
  SECOND,
  SS_RW,
  context,
  guestSpace,
  mapPage,
  pasidEntry,
} from './structures.js';
import { CAP, READ, World, WRITE } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;
const PAGE = 0x1000n;
const TWO_MIB = 1n << 21n;
const GIB = 1n << 30n;
/** ESRTPS: setting the root table empties every cache. */
const FORGETTING = { cap: CAP | (1n << 63n) };
/** Every second bit below 48, and a table's place among others. */
const SOMEWHERE = 0x2aaa_aaa0_0000n;
/** Root entry, context entry, directory, PASID entry. */
const STRUCTURE_LOADS = 1 + 4 + 1 + 8;

/** What a request is answered, and how many loads that takes. */
function look(world: World, iova: bigint, ask = {}): [bigint | string, number] {
  world.memory.loads = 0;
  const hpa = world.ask(iova, ask);
  return [hpa ?? `0x${world.request.reason.toString(16)}`, world.memory.loads];
}

/** The same without caches. */
function peek(world: World, iova: bigint): [bigint | null, number] {
  world.memory.loads = 0;
  const hpa = world.peek(iova);
  return [hpa, world.memory.loads];
}

describe('tables in two blocks of 2 MiB', () => {
  test('whose addresses differ in one bit only', () => {
    const world = new World(FORGETTING);
    for (let n = 21n; n < 48n; n += 1n) {
      const other = SOMEWHERE ^ (1n << n);
      const { second } = guestSpace(world, IOVA, {
        // Of each pair both are the same entry of their second-stage table.
        tables: [SOMEWHERE, other, SOMEWHERE + PAGE, other + PAGE],
        page: SOMEWHERE + 2n * PAGE,
        hpa: HPA,
      });
      mapPage(world, second, other + 2n * PAGE, (HPA ^ (1n << 40n)) | SS_RW, SECOND);
      pasidEntry(world, context(world).entry, 3n, { first: SOMEWHERE, second });
      world.start();
      expect([n, peek(world, IOVA + 5n)[0]]).toEqual([n, HPA + 5n]);
      for (const access of [READ, WRITE])
        expect([n, look(world, IOVA + 5n, { access })[0]]).toEqual([n, HPA + 5n]);
    }
  });

  const far = SOMEWHERE + 5n * GIB;
  /** Which of both the four tables and the page lie in. */
  const layouts = Array.from({ length: 32 }, (_, bits) => [4, 3, 2, 1, 0].map((n) => (bits >> n) & 1));

  /** Of `layout`; the second-stage entries of the far block have no W, or no R, at the level of `depth`. */
  function build(world: World, layout: readonly number[], missing = 0n, depth = 2): void {
    const place = (at: number): bigint => (layout[at] === 1 ? far : SOMEWHERE) + BigInt(at) * PAGE;
    const made = guestSpace(world, IOVA, { tables: [0, 1, 2, 3].map(place), page: place(4), hpa: HPA });
    const paths = [...made.toTables, made.toPage];
    for (const [at, path] of paths.entries())
      if (layout[at] === 1) world.put(path[depth]!, world.get(path[depth]!) & ~missing);
    pasidEntry(world, context(world).entry, 3n, { first: place(0), second: made.second });
    world.start();
  }

  test('the way down is gone once for neighbours', () => {
    const world = new World(FORGETTING);
    for (const layout of layouts) {
      build(world, layout);
      // Four loads where the block changes, one where it does not; and an entry of each table.
      const changes = layout.filter((block, at) => at === 0 || block !== layout[at - 1]).length;
      const loads = STRUCTURE_LOADS + 4 * changes + (5 - changes) + 4;
      expect([layout, peek(world, IOVA)]).toEqual([layout, [HPA, loads]]);
      expect(look(world, IOVA)[0]).toBe(HPA);
      expect(world.memory.loads).toBeLessThanOrEqual(loads);
    }
  });

  test.each([0, 1, 2, 3])(
    'what an entry of level %i forbids is forbidden there and nowhere else',
    (depth) => {
      const world = new World(FORGETTING);
      for (const layout of layouts) {
        // The highest entry is the same for both.
        const meets = (at: number): boolean => layout[at] === 1 || (depth === 0 && layout.includes(1));
        const unreadable = [0, 1, 2, 3, 4].find(meets);
        const reason = unreadable === 0 ? '0x75' : unreadable === 4 ? '0x86' : '0x76';
        build(world, layout, 1n, depth);
        expect([layout, look(world, IOVA)[0]]).toEqual([layout, unreadable === undefined ? HPA : reason]);
        build(world, layout, 2n, depth);
        expect([layout, look(world, IOVA)[0]]).toEqual([layout, HPA]);
        world.start();
        const written = look(world, IOVA, { access: WRITE })[0];
        expect([layout, written]).toEqual([layout, meets(4) ? '0x85' : HPA]);
        world.faults();
      }
    },
  );
});

/** Sizes of the second-stage pages that the four tables and the guest's page lie in. */
const sizes = Array.from({ length: 243 }, (_, n) =>
  [81, 27, 9, 3, 1].map((d) => 12 + 9 * (Math.floor(n / d) % 3)),
);

test('tables in pages of 4 KiB, 2 MiB and 1 GiB, one after the other', () => {
  const world = new World(FORGETTING);
  for (const own of sizes) {
    const second = world.table();
    const places = [0, 1, 2, 3].map(() => world.table());
    // Small pages lie together, in a GiB with those of 2 MiB; each of 1 GiB is in another.
    const gpas = [...places, HPA].map((hpa, at) => {
      const size = own[at]!;
      const block = 1n << BigInt(size);
      const base = SOMEWHERE & -GIB;
      const start =
        size === 30 ? base + BigInt(at + 1) * GIB : base + (size === 21 ? BigInt(at + 1) * TWO_MIB : 0n);
      const gpa = size === 12 ? start + BigInt(at) * PAGE : start + (hpa & (block - 1n));
      mapPage(world, second, gpa, (hpa & -block) | SS_RW, { ...SECOND, size });
      return gpa;
    });
    for (const [level, place] of places.entries()) {
      const entry = place + ((IOVA >> BigInt(39 - 9 * level)) & 511n) * 8n;
      world.put(entry, gpas[level + 1]! | (level === 3 ? FS_LEAF : FS_TABLE));
    }
    pasidEntry(world, context(world).entry, 3n, { first: gpas[0]!, second });
    world.start();
    const expected = [own, HPA + 5n, HPA + 5n, HPA + 5n];
    const [cold, warm] = [look(world, IOVA + 5n)[0], look(world, IOVA + 5n, { access: WRITE })[0]];
    expect([own, peek(world, IOVA + 5n)[0], cold, warm]).toEqual(expected);
  }
});

describe('what is left to be loaded', () => {
  /** By how far an address is from the one that was asked for before. */
  const distances = [
    ['the next page', PAGE],
    ['the next 2 MiB', TWO_MIB],
    ['the next GiB', GIB],
    ['the next 512 GiB', 512n * GIB],
  ] as const;

  test.each(distances)('%s', (_, distance) => {
    const world = new World(FORGETTING);
    const first = world.table();
    const second = world.table();
    const guest = world.table();
    const secondOfGuest = world.table();
    for (const iova of [IOVA, IOVA + distance]) {
      mapPage(world, first, iova, iova | FS_LEAF);
      mapPage(world, second, iova, iova | SS_RW, SECOND);
      for (const entry of mapPage(world, guest, iova, iova | FS_LEAF))
        mapPage(world, secondOfGuest, entry & -PAGE, (entry & -PAGE) | SS_RW, SECOND);
      mapPage(world, secondOfGuest, iova, iova | SS_RW, SECOND);
    }
    pasidEntry(world, context(world).entry, 1n, { did: 1n, first });
    pasidEntry(world, context(world, { pasid: 4 }).entry, 2n, { did: 2n, second });
    pasidEntry(world, context(world, { pasid: 5 }).entry, 3n, {
      did: 3n,
      first: guest,
      second: secondOfGuest,
    });
    world.start();
    for (const pasid of [3, 4, 5]) world.ask(IOVA, { pasid });
    // Tables that cover more than a GiB are looked through again.
    const levels = distance === PAGE ? 1 : distance === TWO_MIB ? 2 : 4;
    expect(look(world, IOVA + distance, { pasid: 3 })).toEqual([IOVA + distance, levels]);
    expect(look(world, IOVA + distance, { pasid: 4 })).toEqual([IOVA + distance, levels]);
    // An entry of each table; of a table that is met first the page, which is the neighbour of others; and the result.
    const met = { [`${PAGE}`]: 0, [`${TWO_MIB}`]: 1, [`${GIB}`]: 2, [`${512n * GIB}`]: 3 }[`${distance}`]!;
    expect(look(world, IOVA + distance, { pasid: 5 })).toEqual([IOVA + distance, levels + met + levels]);
  });

  test('of a path with accessed bits to be set nothing is kept, so that nobody goes by them', () => {
    const world = new World(FORGETTING);
    const bare = { first: world.table(), second: world.table() };
    const pages = [0n, PAGE, 2n * PAGE];
    for (const at of pages) {
      mapPage(world, bare.first, IOVA + at, (IOVA + at) | 7n, { table: 7n });
      mapPage(world, bare.second, IOVA + at, (IOVA + at) | SS_RW, SECOND);
    }
    pasidEntry(world, context(world).entry, 1n, { did: 1n, first: bare.first });
    pasidEntry(world, context(world, { pasid: 4 }).entry, 2n, { did: 2n, second: bare.second, flags: 512n });
    world.start();
    for (const pasid of [3, 4]) {
      const loads = pages.map((at) => look(world, IOVA + at, { pasid })[1]);
      expect(loads.slice(1)).toEqual([4, 1]);
    }
  });
});

test("tables that lie in different chunks of the unit's own memory", () => {
  const world = new World(FORGETTING);
  const pools = [0, 1, 2].map(() => {
    world.table(22);
    return world.table(17);
  });
  let next = 0;
  world.table = (lg2 = 12) => {
    const at = pools[next % 3]! + BigInt(Math.floor(next / 3)) * PAGE;
    next += 1;
    if (lg2 !== 12) throw new Error('one frame at a time');
    return at;
  };
  const first = world.table();
  const second = world.table();
  mapPage(world, first, IOVA, HPA | FS_LEAF);
  mapPage(world, second, IOVA, HPA | SS_RW, SECOND);
  const tables = [1n, 2n, 3n, 4n].map((n) => n * GIB);
  const made = guestSpace(world, IOVA, { tables, page: 5n * GIB, hpa: HPA });
  Reflect.deleteProperty(world, 'table');
  pasidEntry(world, context(world).entry, 1n, { did: 1n, first });
  pasidEntry(world, context(world, { pasid: 4 }).entry, 2n, { did: 2n, second });
  pasidEntry(world, context(world, { pasid: 5 }).entry, 3n, {
    did: 3n,
    first: tables[0]!,
    second: made.second,
  });
  world.memory.near = world.memory.tables.near;
  for (let turn = 0; turn < 2; turn += 1) {
    world.start();
    for (const pasid of [3, 4, 5])
      expect([pasid, look(world, IOVA + 5n, { pasid })[0]]).toEqual([pasid, HPA + 5n]);
  }
  expect(world.get(made.path[3]!) & PS).toBe(0n);
});
