/**
 * Who may do what: every combination of permissions on the way to a page, for every kind of access, is what a second
 * reading of the tables says; asked twice, so that a hit grants what the walk has granted, and no more.
 */
import { expect, test } from 'vitest';
import { answer, show } from './reference.js';
import { context, FIRST_FLAGS, mapPage, pasidEntry, SECOND, SS_RW } from './structures.js';
import { CAP, EXEC, PASID, PRIV, READ, SOURCE, World, WRITE } from './world.js';

const IOVA = 0x12_3456_7000n;
const PAGE = 0x9_8765_4000n;
/** Where the guest has its page and its tables. */
const GUEST_PAGE = 0x4_8000_0000n;
const GUEST_TABLES = 0x5_0000_0000n;
const ACCESSES = [READ, WRITE, READ | WRITE, EXEC, READ | EXEC].flatMap((access) => [access, access | PRIV]);
/** Translation requests say what may be done, whatever of it was asked for. */
const REQUESTS = [
  ...ACCESSES.map((access) => ({ access, at: 0 })),
  ...[READ, WRITE, READ | EXEC].flatMap((access) =>
    [access, access | PRIV].map((all) => ({ access: all, at: 1 })),
  ),
];
/** P, A, D. */
const THERE = 1n | 32n | 64n;
/** R/W, U/S and XD of a first-stage entry, in all combinations. */
const FIRST = Array.from({ length: 8 }, (_, bits) => (BigInt(bits & 3) << 1n) | (BigInt(bits >> 2) << 63n));
/** R/W and U/S. */
const ALL = FIRST[3]!;
/** R and W of a second-stage entry. */
const SECOND_RIGHTS = [0n, 1n, 2n, 3n];
const SRE = 1n;
const ERE = 2n;
const WPE = 16n;
const SMEP = 64n;
const NXE = 32n;
/** SRE, ERE, WPE, SMEP and NXE in all combinations. */
const flagSets = Array.from({ length: 32 }, (_, index) =>
  [SRE, ERE, WPE, SMEP, NXE].reduce((flags, flag, bit) => ((index >> bit) & 1 ? flags | flag : flags), 0n),
);

class Matrix {
  // ESRTPS: setting the root table empties every cache.
  readonly world = new World({ cap: CAP | (1n << 63n) });
  readonly #model = this.world.model();
  /** By kind of answer: how often. */
  granted = 0;
  refused = 0;

  /** Every access and translation request, with nothing cached first and with what that has cached afterwards. */
  judge(what: readonly unknown[]): void {
    const { world } = this;
    world.unit.write32(0x18, 0xc000_0000);
    const expected = REQUESTS.map((request) =>
      show(answer(this.#model, { source: SOURCE, pasid: PASID, iova: IOVA, ...request })),
    );
    for (let turn = 0; turn < 2; turn += 1) {
      for (const [index, request] of REQUESTS.entries()) {
        const hpa = world.ask(IOVA, request);
        if (hpa === null) this.refused += 1;
        else this.granted += 1;
        const found = show(world.answerTo(hpa));
        if (found !== expected[index])
          expect([...what, { turn, ...request }, found]).toEqual([
            ...what,
            { turn, ...request },
            expected[index],
          ]);
      }
    }
    world.unit.write32(0x34, 1);
    world.faults();
  }
}

test.each(flagSets.map((flags) => [flags.toString(16), flags] as const))(
  'four first-stage entries, flags 0x%s',
  (_, flags) => {
    const matrix = new Matrix();
    const { world } = matrix;
    const first = world.table();
    const path = mapPage(world, first, IOVA, PAGE | THERE);
    pasidEntry(world, context(world).entry, 1n, { first, firstFlags: flags });
    world.start();
    const plain = path.map((entry) => (world.get(entry) & ~7n) | THERE);
    // All four levels once; for the other flags the lowest.
    const isWhole = flags === FIRST_FLAGS;
    for (let bits = 0; bits < 4096; bits += isWhole ? 1 : 512) {
      const own = path.map((_entry, level) =>
        isWhole || level === 3 ? FIRST[(bits >> (3 * level)) & 7]! : ALL,
      );
      for (const [level, entry] of path.entries()) world.put(entry, plain[level]! | own[level]!);
      matrix.judge([own]);
    }
    expect(Math.min(matrix.granted, matrix.refused)).toBeGreaterThan(10);
  },
);

test('four second-stage entries', () => {
  const matrix = new Matrix();
  const { world } = matrix;
  const second = world.table();
  const path = mapPage(world, second, IOVA, PAGE | SS_RW, SECOND);
  pasidEntry(world, context(world).entry, 2n, { second });
  world.start();
  const plain = path.map((entry) => world.get(entry) & ~3n);
  for (let bits = 0; bits < 256; bits += 1) {
    const own = path.map((_entry, level) => BigInt((bits >> (2 * level)) & 3));
    for (const [level, entry] of path.entries()) world.put(entry, plain[level]! | own[level]!);
    matrix.judge([own]);
  }
  expect(Math.min(matrix.granted, matrix.refused)).toBeGreaterThan(500);
});

test('both stages: the page, the tables above it, and what the second stage says of each', () => {
  const matrix = new Matrix();
  const { world } = matrix;
  const second = world.table();
  const tables = [0n, 1n, 2n, 3n].map((level) => ({
    gpa: GUEST_TABLES + level * 0x1000n,
    hpa: world.table(),
  }));
  const below = (level: number): bigint => tables[level + 1]?.gpa ?? GUEST_PAGE;
  const path = tables.map(({ hpa }, level) => hpa + ((IOVA >> BigInt(39 - 9 * level)) & 511n) * 8n);
  const leafOf = (gpa: bigint, hpa: bigint): bigint =>
    mapPage(world, second, gpa, hpa | SS_RW, SECOND).at(-1)!;
  const toTables = tables.map(({ gpa, hpa }) => leafOf(gpa, hpa));
  const toPage = leafOf(GUEST_PAGE, PAGE);
  pasidEntry(world, context(world).entry, 3n, { first: tables[0]!.gpa, second });
  world.start();
  for (const leaf of FIRST)
    for (const above of FIRST)
      for (const page of SECOND_RIGHTS)
        for (const [which, toTable] of toTables.entries())
          for (const table of SECOND_RIGHTS) {
            for (const [level, entry] of path.entries())
              world.put(entry, below(level) | THERE | (level === 3 ? leaf : above));
            world.put(toPage, PAGE | page);
            const kept = world.get(toTable);
            world.put(toTable, (kept & ~3n) | table);
            matrix.judge([{ leaf, above, page, which, table }]);
            world.put(toTable, kept);
          }
  expect(Math.min(matrix.granted, matrix.refused)).toBeGreaterThan(1000);
});

test('whoever asked before: without SRE a privileged request is refused, cached or not', () => {
  const world = new World();
  const spaces = [SRE | ERE, ERE].map((firstFlags, index) => {
    const first = world.table();
    mapPage(world, first, IOVA, PAGE | THERE | ALL);
    const pasid = PASID + index;
    pasidEntry(world, context(world, { pasid }).entry, 1n, { did: BigInt(pasid), first, firstFlags });
    return pasid;
  });
  world.start();
  for (const pasid of spaces) expect(world.ask(IOVA, { pasid })).toBe(PAGE);
  expect(world.ask(IOVA, { pasid: PASID, access: READ | PRIV })).toBe(PAGE);
  expect(world.ask(IOVA, { pasid: PASID + 1, access: READ | PRIV })).toBe(null);
  expect(world.request.reason).toBe(0x5d);
});

test('what passes through may do all, privileged or not', () => {
  const world = new World();
  pasidEntry(world, context(world).entry, 4n);
  world.start();
  for (const access of ACCESSES) {
    expect(world.ask(IOVA, { access })).toBe(IOVA);
    expect([world.request.permitted, world.request.sizeLg2]).toEqual([7, 12]);
  }
});
