/**
 * Which bits a request sets, whatever is set already, allowed, snooped and cached: those that a second reading of the tables
 * says, and no others (sections 3.6.2, 3.7.2).
 */
import { expect, test } from 'vitest';
import { dice } from '../../dice.js';
import { answer, show } from './reference.js';
import {
  A,
  BARE,
  D,
  EA,
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
import { CAP, EXEC, PASID, PRIV, READ, SOURCE, WRITE, World } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;
const EAFE = 128n;
const WPE = 16n;
const GUEST_PAGE = 0x4_8000_0000n;
const GUEST_TABLES = [0n, 1n, 2n, 3n].map((level) => 0x5_0000_0000n + (level << 21n));

test.each([true, false])(
  'a translation request for writing, which the second stage does not permit, sets no bit for it (PWSNP %s)',
  (snoops) => {
    const world = new World();
    const { path, second, toTables, toPage } = guestSpace(world, IOVA, {
      ...{ tables: GUEST_TABLES, page: GUEST_PAGE, hpa: HPA },
      ...{ table: BARE | A, leaf: BARE | A },
    });
    for (const at of new Set([...toTables.flat(), ...toPage])) world.put(at, world.get(at) | SS_A);
    world.put(toPage[3]!, world.get(toPage[3]!) & ~2n);
    const own = { first: GUEST_TABLES[0]!, second, flags: SSADE };
    pasidEntry(world, context(world).entry, 3n, snoops ? own : { ...own, cache: 0n });
    world.start();
    for (let turn = 0; turn < 2; turn += 1) {
      expect(world.ask(IOVA, { access: READ | WRITE, at: 1 })).toBe(HPA);
      expect(world.request.permitted).toBe(READ | EXEC);
      // Neither is the leaf dirty nor the page of the table that it lies in.
      expect(world.memory.sets.size).toBe(0);
    }
    expect(path.map((entry) => world.get(entry) & D)).toEqual([0n, 0n, 0n, 0n]);
    expect(world.faults()).toEqual([]);
  },
);

/** A space of each kind, the first-stage entries on its way, and those of the second stage: to tables, to the page. */
function spaceOf(
  world: World,
  kind: bigint,
): { first: bigint; second: bigint; path: bigint[]; pages: bigint[] } {
  const root = world.table();
  if (kind === 1n)
    return { first: root, second: 0n, path: mapPage(world, root, IOVA, HPA | BARE), pages: [] };
  if (kind === 2n)
    return { first: 0n, second: root, path: [], pages: mapPage(world, root, IOVA, HPA | SS_RW, SECOND) };
  const { path, second, toTables, toPage } = guestSpace(world, IOVA, {
    tables: GUEST_TABLES,
    page: GUEST_PAGE,
    hpa: HPA,
  });
  return {
    first: GUEST_TABLES[0]!,
    second,
    path: [...path],
    pages: [...new Set([...toTables.flat(), ...toPage])],
  };
}

/** Whatever is set already and may be done: each of some requests, after those before it, sets what is missing. */
test.each([1n, 2n, 3n])(
  'what a request of a space of type %i sets is what the specification says',
  (kind) => {
    const next = dice(Number(20_261_126n + kind));
    // ESRTPS: setting the root table empties every cache.
    const world = new World({ cap: CAP | (1n << 63n) });
    const { entry } = context(world);
    const { first, second, path, pages } = spaceOf(world, kind);
    const plain = new Map([...path, ...pages].map((at) => [at, world.get(at) & ~0xfffn]));
    const some = (...values: readonly bigint[]): bigint =>
      values.reduce((all, value) => all | (next(3) ? value : 0n), 0n);
    const model = world.model();
    world.start();
    const answers = new Set<string>();
    for (let step = 0; step < 600; step += 1) {
      const flags = 1n | 2n | 32n | some(WPE) | (next(4) ? 0n : EAFE);
      const own = { first, second, firstFlags: flags, flags: next(4) ? SSADE : 0n };
      pasidEntry(world, entry, kind, next(8) ? own : { ...own, cache: 0n });
      for (const at of path) {
        const rights = next(8) ? 6n : some(2n, 4n);
        world.put(at, plain.get(at)! | 1n | rights | some(A, EA) | (at === path.at(-1) ? some(D) : 0n));
      }
      for (const at of pages)
        world.put(at, plain.get(at)! | (next(12) ? 3n : 1n + BigInt(next(2))) | some(SS_A, SS_D));
      world.unit.write32(0x18, 0xc000_0000);
      for (const access of [0, PRIV]) {
        if (kind === 2n && access === PRIV) continue;
        const peeked = show(world.answerTo(world.peek(IOVA, access)));
        const expected = show(
          answer(model, { source: SOURCE, pasid: PASID, iova: IOVA, access, isPeek: true }),
        );
        if (!peeked.startsWith('reason'))
          expect({ step, access, peeked }).toEqual({ step, access, peeked: expected });
        else expect(expected).toMatch(/^reason/);
      }
      for (let turn = 0; turn < 4; turn += 1) {
        const access =
          [READ, WRITE, READ | WRITE, EXEC][next(4)]! | (kind !== 2n && next(3) === 0 ? PRIV : 0);
        const request = { source: SOURCE, pasid: PASID, access, at: next(4) ? 0 : 1 };
        const expected = show(answer(model, { ...request, iova: IOVA }));
        const found = show(world.answerTo(world.ask(IOVA, request)));
        if (found !== expected)
          expect({ step, turn, request, found }).toEqual({ step, turn, request, found: expected });
        answers.add(found);
      }
      world.unit.write32(0x34, 1);
      world.faults();
    }
    expect(answers.size).toBeGreaterThan(50);
  },
);

test('a guest table that cannot be written is in the way of those only who would set a bit in it', () => {
  const world = new World({ cap: CAP | (1n << 63n) });
  const { entry } = context(world);
  const { second, toTables, path } = guestSpace(world, IOVA, {
    tables: GUEST_TABLES,
    page: GUEST_PAGE,
    hpa: HPA,
  });
  world.put(toTables[3]![3]!, world.get(toTables[3]![3]!) & ~2n);
  const model = world.model();
  const answers = new Set<string>();
  for (const rights of [0n, 2n, 4n, 6n])
    for (const flags of [3n, 3n | WPE])
      for (const set of [0n, A, A | D])
        for (const access of [READ, WRITE, READ | WRITE, EXEC].flatMap((one) => [one, one | PRIV]))
          for (const at of [0, 1]) {
            world.put(path[3]!, GUEST_PAGE | 1n | rights | set);
            pasidEntry(world, entry, 3n, { first: GUEST_TABLES[0]!, second, firstFlags: flags });
            world.start();
            const expected = show(answer(model, { source: SOURCE, pasid: PASID, iova: IOVA, access, at }));
            const found = show(world.answerTo(world.ask(IOVA, { access, at })));
            expect([rights, flags, set, access, at, found]).toEqual([
              rights,
              flags,
              set,
              access,
              at,
              expected,
            ]);
            answers.add(found);
            world.faults();
          }
  expect(answers.size).toBeGreaterThan(4);
});

/** The dirty bit of the page that a guest's table lies in is remembered with where that is. */
test.each([0, 1, 2, 3])(
  'two addresses that part at level %i of a guest, the pages of whose tables are clean',
  (level) => {
    const world = new World({ cap: CAP | (1n << 63n) });
    const { entry } = context(world);
    const model = world.model();
    const other = IOVA ^ (1n << BigInt(39 - 9 * level));
    for (const isClean of [true, false])
      for (const access of [READ, WRITE]) {
        const root = world.table();
        const second = world.table();
        const paths = [IOVA, other].map((iova) =>
          mapPage(world, root, iova, (iova & 0x7f_ffff_ffffn) | BARE, { table: BARE }),
        );
        const pages = new Set<bigint>();
        for (const at of [...paths.flat(), IOVA, other & 0x7f_ffff_ffffn]) {
          const page = at & ~0xfffn;
          for (const step of mapPage(world, second, page, page | SS_RW, SECOND)) pages.add(step);
        }
        for (const at of paths[0]!) world.put(at, world.get(at) | A);
        for (const at of pages) world.put(at, world.get(at) | SS_A | (isClean ? 0n : SS_D));
        pasidEntry(world, entry, 3n, { first: root, second, flags: SSADE });
        world.start();
        for (const iova of [IOVA, other]) {
          const expected = show(answer(model, { source: SOURCE, pasid: PASID, iova, access }));
          expect([isClean, access, show(world.answerTo(world.ask(iova, { access })))]).toEqual([
            isClean,
            access,
            expected,
          ]);
        }
        // A write that is known to be one needs no walk.
        world.ask(other, { access: WRITE });
        world.memory.sets.clear();
        world.memory.loads = 0;
        expect(world.ask(other, { access: WRITE })).not.toBe(null);
        expect(world.memory.loads).toBe(0);
      }
  },
);

test('whatever was written before in another space, a page that was only read is made dirty by its first write', () => {
  const world = new World();
  const written = world.table();
  mapPage(world, written, IOVA, HPA | BARE);
  const read = world.table();
  const path = mapPage(world, read, IOVA, HPA | SS_RW, SECOND);
  pasidEntry(world, context(world).entry, 1n, { did: 1n, first: written });
  pasidEntry(world, context(world, { pasid: 4 }).entry, 2n, { did: 2n, second: read, flags: SSADE });
  world.start();
  expect(world.ask(IOVA, { access: WRITE })).toBe(HPA);
  expect(world.ask(IOVA, { pasid: 4 })).toBe(HPA);
  expect(world.get(path[3]!) & SS_D).toBe(0n);
  // Of a way with accessed bits to be set nothing was kept.
  for (const loads of [4, 0]) {
    world.memory.loads = 0;
    expect(world.ask(IOVA, { pasid: 4, access: WRITE })).toBe(HPA);
    expect(world.memory.loads).toBe(loads);
    expect(world.get(path[3]!) & SS_D).toBe(SS_D);
  }
});
