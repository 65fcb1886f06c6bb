/**
 * The walk at its edges: the first and last address of each width, addresses that differ in one bit, blocks with
 * interrupts in them, sizes of one stage under another.
 */
import { describe, expect, test } from 'vitest';
import {
  FIRST_FLAGS,
  FS_LEAF,
  FS_TABLE,
  SECOND,
  SS_RW,
  context,
  guestSpace,
  mapPage,
  pasidEntry,
} from './structures.js';
import { CAP, ECAP, HAW, World } from './world.js';

const HPA = 0x9_8765_4000n;
const PAGE = 0x1000n;
const bit = (n: number): bigint => 1n << BigInt(n);
const numbers = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

/** Where an address leads, or the reason. */
function look(world: World, iova: bigint, ask = {}): bigint | string {
  const hpa = world.ask(iova, ask);
  const { request } = world;
  return hpa ?? `0x${request.reason.toString(16)}`;
}

describe('the last address of a width', () => {
  test.each([
    [4, 48],
    [5, 57],
  ])('%i first-stage levels: bits 63 to %i - 1 are all alike', (levels, width) => {
    const world = new World();
    const root = world.table();
    const inside = [0n, bit(width - 1) - PAGE, -bit(width - 1), -PAGE];
    for (const [index, iova] of inside.entries())
      mapPage(world, root, iova, (HPA + BigInt(index) * PAGE) | FS_LEAF, { levels });
    const firstFlags = FIRST_FLAGS | (levels === 5 ? 4n : 0n);
    pasidEntry(world, context(world).entry, 1n, { first: root, firstFlags });
    world.start();
    for (let turn = 0; turn < 2; turn += 1)
      expect(inside.map((iova) => look(world, iova + 5n))).toEqual(
        inside.map((_, index) => HPA + BigInt(index) * PAGE + 5n),
      );
    for (const n of numbers(width - 1, 63)) {
      expect([n, look(world, bit(n))]).toEqual([n, '0x80']);
      expect([n, look(world, ~bit(n) & ~(PAGE - 1n))]).toEqual([n, '0x80']);
      world.faults();
    }
  });

  /** SAGAW has all three; MGAW bounds them. */
  const widths = [1n, 2n, 3n].flatMap((aw) => [57, 48, 44, 39].map((mgaw) => ({ aw, mgaw })));
  test.each(widths)('a second stage of AW $aw on a unit of $mgaw bits', ({ aw, mgaw }) => {
    const cap = (CAP & ~(63n << 16n)) | (BigInt(mgaw - 1) << 16n);
    // ESRTPS: setting the root table empties every cache.
    const world = new World({ cap: cap | bit(63) });
    const levels = Number(aw) + 2;
    const width = Math.min(12 + 9 * levels, mgaw);
    const second = world.table();
    const last = bit(width) - PAGE;
    mapPage(world, second, 0n, HPA | SS_RW, { ...SECOND, levels });
    mapPage(world, second, last, (HPA + PAGE) | SS_RW, { ...SECOND, levels });
    pasidEntry(world, context(world).entry, 2n, { second, aw });
    // Guests that have their page, and their last table, where this one ends, or the host does.
    const lastOfGuest = bit(Math.min(width, HAW)) - PAGE;
    const tables = [1n, 2n, 3n, 4n].map((n) => n << 21n);
    const build = (pasid: number, its: readonly bigint[], page: bigint): readonly bigint[] => {
      const made = guestSpace(world, 0n, { tables: its, page, hpa: HPA, levels });
      const own = { did: BigInt(pasid + 10), first: its[0]!, second: made.second, aw };
      pasidEntry(world, context(world, { pasid }).entry, 3n, own);
      return made.path;
    };
    const [, , , toPage] = build(4, tables, lastOfGuest);
    const [, , toTable] = build(5, [...tables.slice(0, 3), lastOfGuest], 7n << 21n);
    world.start();
    expect([0n, last + 5n].map((iova) => look(world, iova))).toEqual([HPA, HPA + PAGE + 5n]);
    for (const pasid of [4, 5]) expect([pasid, look(world, 3n, { pasid })]).toEqual([pasid, HPA + 3n]);
    for (const n of numbers(width, 63)) {
      expect([n, look(world, bit(n))]).toEqual([n, '0x84']);
      world.faults();
    }
    for (const n of numbers(width, 51)) {
      world.put(toPage!, bit(n) | FS_LEAF);
      world.put(toTable!, bit(n) | FS_TABLE);
      world.start();
      const found = [4, 5].map((pasid) => look(world, 3n, { pasid }));
      expect([n, found]).toEqual([n, n < HAW ? ['0x84', '0x74'] : ['0x72', '0x72']]);
      world.faults();
    }
  });
});

/** The interrupt window is 0xfee00000..0xfeefffff; addresses, and whether the block around them is cut to pages. */
const blocks = [
  { size: 21, at: 0xfec0_0000n, isCut: false },
  { size: 21, at: 0xfef0_0000n, isCut: true },
  { size: 21, at: 0xff00_0000n, isCut: false },
  { size: 21, at: 0xfae0_0000n, isCut: false },
  { size: 21, at: 0x7ee0_0000n, isCut: false },
  { size: 21, at: 0x1_fee0_0000n, isCut: false },
  { size: 21, at: 0x80_fee0_0000n, isCut: false },
  { size: 30, at: 0xc000_0000n, isCut: true },
  { size: 30, at: 0xff00_0000n, isCut: true },
  { size: 30, at: 0x8000_0000n, isCut: false },
  { size: 30, at: 0x1_0000_0000n, isCut: false },
  { size: 30, at: 0x1_c000_0000n, isCut: false },
] as const;
/** A block of that size somewhere else. */
const ELSEWHERE = 0x3_4000_0000n;
const GUEST_TABLES = [1n, 2n, 3n, 4n].map((n) => 0x7_0000_0000n + (n << 21n));

describe('a block with interrupts in it is cut to pages', () => {
  const cases = blocks.flatMap((block) =>
    (['from', 'over', 'to'] as const).map(
      (side) => [side, block.at.toString(16), block.size, block, side] as const,
    ),
  );
  test.each(cases)('%s 0x%s, 2^%i bytes', (_side, _at, _size, { size, at, isCut }, side) => {
    const world = new World();
    const low = at & (bit(size) - 1n);
    const from = side === 'from' ? at : ELSEWHERE + low;
    const over = side === 'over' ? at : 0x5_4000_0000n + low;
    const to = side === 'to' ? at : 0x4_8000_0000n + low;
    const made = guestSpace(world, from, {
      tables: GUEST_TABLES.slice(0, size === 21 ? 3 : 2),
      page: over - low,
      hpa: to - low,
      size,
      secondSize: size,
    });
    const second = world.table();
    mapPage(world, second, from, (to - low) | SS_RW, { ...SECOND, size });
    const first = world.table();
    mapPage(world, first, from, (to - low) | FS_LEAF, { size });
    pasidEntry(world, context(world).entry, 1n, { did: 1n, first });
    pasidEntry(world, context(world, { pasid: 4 }).entry, 2n, { did: 2n, second });
    pasidEntry(world, context(world, { pasid: 5 }).entry, 3n, {
      did: 3n,
      first: GUEST_TABLES[0]!,
      second: made.second,
    });
    world.start();
    for (const pasid of [3, 4, 5]) {
      const isMet = isCut && (side !== 'over' || pasid === 5);
      expect([pasid, look(world, from, { pasid })]).toEqual([pasid, to]);
      expect([pasid, world.request.sizeLg2]).toEqual([pasid, isMet ? 12 : size]);
    }
    if (side === 'from' || !isCut) return;
    // What has been answered so far says nothing of the window itself.
    const window = 0xfee0_0000n - at;
    for (const pasid of side === 'over' ? [5] : [3, 4, 5])
      expect([pasid, look(world, from + window, { pasid })]).toEqual([pasid, '0x87']);
  });
});

describe('sizes', () => {
  const sizes = [12, 21, 30];
  const pairs = sizes.flatMap((first) => sizes.map((second) => [first, second] as const));
  test.each(pairs)(
    'a guest page of 2^%i bytes in one of 2^%i is as large as the smaller',
    (size, secondSize) => {
      const world = new World();
      const iova = 0x12_c000_0000n;
      const page = 0x3_4000_0000n;
      const hpa = 0x9_8000_0000n;
      const tables = GUEST_TABLES.slice(0, 4 - (size - 12) / 9);
      const { second } = guestSpace(world, iova, { tables, page, hpa, size, secondSize });
      pasidEntry(world, context(world).entry, 3n, { first: tables[0]!, second });
      world.start();
      const smaller = Math.min(size, secondSize);
      for (const at of [0n, 5n, bit(smaller - 1), bit(smaller) - 1n]) {
        expect(look(world, iova + at)).toBe(hpa + at);
        expect(world.request.sizeLg2).toBe(smaller);
      }
      expect(world.unit.statistics.iotlbEntries).toBe(1);
      expect(look(world, iova + bit(smaller))).toBe(
        smaller === size
          ? '0x71'
          : smaller === secondSize && size !== secondSize
            ? '0x79'
            : hpa + bit(smaller),
      );
    },
  );

  test.each(sizes)("a guest's tables may lie in second-stage pages of 2^%i bytes", (size) => {
    const world = new World();
    const iova = 0x12_3456_7000n;
    const root = world.table();
    const second = world.table();
    const path = mapPage(world, root, iova, 0x8000_1000n | FS_LEAF);
    const base = 0x5_4000_0000n;
    const block = bit(size);
    // Guest memory lies above `base` as the unit's own lies above 0.
    for (const [level, entry] of path.entries()) {
      const at = entry & ~(PAGE - 1n);
      mapPage(world, second, base + at, (at & -block) | SS_RW, { ...SECOND, size });
      if (level < 3) world.put(entry, world.get(entry) + base);
    }
    mapPage(world, second, 0x8000_1000n, (HPA & -block) | SS_RW, { ...SECOND, size });
    pasidEntry(world, context(world).entry, 3n, { first: base + root, second });
    world.start();
    for (let turn = 0; turn < 2; turn += 1)
      expect(look(world, iova + 5n)).toBe((HPA & -block) | (0x8000_1005n & (block - 1n)));
  });
});

test.each([0n, 1n, 2n, 3n])('a unit of SSLPS %i has large second-stage pages of these sizes', (sslps) => {
  const world = new World({ cap: (CAP & ~(15n << 34n)) | (sslps << 34n) | bit(63) });
  const second = world.table();
  const pages = [12, 21, 30].map((size, index) => {
    const at = BigInt(index + 1) * bit(30);
    mapPage(world, second, at, at | SS_RW, { ...SECOND, size });
    return { size, at };
  });
  pasidEntry(world, context(world).entry, 2n, { second });
  world.start();
  for (const { size, at } of pages) {
    const isThere = size === 12 || (sslps & (size === 21 ? 1n : 2n)) !== 0n;
    expect([size, look(world, at)]).toEqual([size, isThere ? at : '0x7a']);
  }
  // Of a page of 4 KiB bit 7 says nothing.
  mapPage(world, second, 5n * bit(30), (5n * bit(30)) | SS_RW | 128n, SECOND);
  expect(look(world, 5n * bit(30))).toBe(5n * bit(30));
});

test('a unit without snoop control finds what is mapped without it', () => {
  const world = new World({ ecap: ECAP & ~bit(7) });
  const second = world.table();
  mapPage(world, second, 0n, HPA | SS_RW, SECOND);
  mapPage(world, second, PAGE, HPA | SS_RW | bit(11), SECOND);
  pasidEntry(world, context(world).entry, 2n, { second });
  world.start();
  expect(look(world, 5n, { access: 2 })).toBe(HPA + 5n);
  expect(look(world, PAGE)).toBe('0x7a');
});

test('an address that differs in a bit that tables never have leads nowhere, though a table lies beside it', () => {
  const first = new World({ cap: CAP | bit(63), haw: 64 });
  const firstRoot = first.table();
  const firstPath = mapPage(first, firstRoot, 0n, HPA | FS_LEAF);
  const second = new World({ cap: CAP | bit(63), haw: 64 });
  const secondRoot = second.table();
  const secondPath = mapPage(second, secondRoot, 0n, HPA | SS_RW, SECOND);
  const kinds = [
    { world: first, kind: 1n, root: firstRoot, path: firstPath, reasons: ['0x73', '0x70'] },
    { world: second, kind: 2n, root: secondRoot, path: secondPath, reasons: ['0x7b', '0x78'] },
  ];
  for (const { world, kind, root, path, reasons } of kinds) {
    world.memory.near = world.memory.tables.near;
    const { entry } = context(world);
    const point = (to: bigint): void => {
      pasidEntry(world, entry, kind, kind === 1n ? { first: to } : { second: to });
      world.start();
    };
    for (const n of numbers(36, 63)) {
      point(root | bit(n));
      expect([n, look(world, 0n)]).toEqual([n, reasons[0]]);
      world.faults();
      point(root);
      expect(look(world, 0n)).toBe(HPA);
      if (n > 51) continue;
      for (const at of path.slice(0, -1)) {
        const old = world.get(at);
        world.put(at, old | bit(n));
        world.start();
        expect([n, look(world, 0n)]).toEqual([n, reasons[1]]);
        world.faults();
        world.put(at, old);
      }
    }
  }
});
