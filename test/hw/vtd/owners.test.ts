/**
 * Owners of address spaces without a table, in place of a first and of a second stage: what they are asked for, and what
 * the unit makes of their answers (docs/units.md).
 */
import { describe, expect, test } from 'vitest';
import type { AddressSpaceProvider } from '../../../src/mem/providers.js';
import {
  FIRST_FLAGS,
  FS_LEAF,
  FS_TABLE,
  SS_RW,
  context,
  guestSpace,
  mapPage,
  pasidEntry,
} from './structures.js';
import { CAP, EXEC, PRIV, READ, World, WRITE } from './world.js';

const IOVA = 0x12_3456_7000n;
const GUEST_PAGE = 0x4_8000_0000n;
const GUEST_TABLES = [0n, 1n, 2n, 3n].map((level) => 0x5_0000_0000n + (level << 21n));
const HPA = 0x9_8765_4000n;
const RIGHTS = [0, 1, 2, 3, 4, 5, 6, 7];
const SRE = 1n;
const ERE = 2n;

/** An owner by pages; what it may not give, it does not have. */
class Owner implements AddressSpaceProvider {
  readonly name = 'owner';
  readonly pages = new Map<bigint, { hpa: bigint; rights: number; sizeLg2?: number }>();
  readonly asked: [bigint, number][] = [];
  /** Whether it answers with less than it is asked for. */
  isSparing = false;
  onInvalidate = null;

  translate(
    hi: number,
    lo: number,
    access: number,
    page: Parameters<AddressSpaceProvider['translate']>[3],
  ): boolean {
    const at = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    this.asked.push([at, access]);
    const found = this.pages.get(at & ~0xfffn);
    if (found === undefined || (!this.isSparing && (access & ~found.rights) !== 0)) return false;
    const hpa = found.hpa | (at & 0xfffn);
    Object.assign(page, {
      hpaHi: Number(hpa >> 32n) | 0,
      hpaLo: Number(hpa & 0xffff_ffffn) | 0,
      sizeLg2: found.sizeLg2 ?? 12,
      permitted: found.rights,
    });
    return true;
  }
}

/** The place of an owner in HPA. */
function rootOf(world: World, owner: Owner): bigint {
  return BigInt(world.memory.providers.add(owner)) << 12n;
}

/** Whatever was cached is dropped by {@link World.start} (ESRTPS). */
function worldOf(): World {
  return new World({ cap: CAP | (1n << 63n) });
}

describe('in place of a first stage', () => {
  test('a block beside the interrupts is not cut, whatever its size', () => {
    const world = worldOf();
    const owner = new Owner();
    for (const at of [0xfedf_0000n, 0xfef0_0000n]) owner.pages.set(at, { hpa: at, rights: 7, sizeLg2: 16 });
    pasidEntry(world, context(world).entry, 1n, { first: rootOf(world, owner) });
    world.start();
    for (const at of owner.pages.keys()) {
      expect(world.ask(at)).toBe(at);
      expect(world.request.sizeLg2).toBe(16);
    }
  });

  test('without SRE a privileged request is refused, though what a user may do is cached', () => {
    const world = worldOf();
    const owner = new Owner();
    owner.pages.set(IOVA, { hpa: HPA, rights: 7 });
    pasidEntry(world, context(world).entry, 1n, { first: rootOf(world, owner), firstFlags: ERE });
    world.start();
    for (const access of [READ, WRITE, EXEC]) {
      expect(world.ask(IOVA, { access })).toBe(HPA);
      expect(world.ask(IOVA, { access: access | PRIV })).toBe(null);
      expect(world.request.reason).toBe(0x5d);
    }
  });

  test('what an owner permits is permitted; a bit in the PASID entry takes execution, and another all from privileged requests', () => {
    const world = worldOf();
    const owner = new Owner();
    owner.isSparing = true;
    const { entry } = context(world);
    const first = rootOf(world, owner);
    for (const flags of [0n, SRE, ERE, SRE | ERE, FIRST_FLAGS])
      for (const rights of RIGHTS)
        for (const at of [0, 1])
          for (const access of [READ, WRITE, READ | WRITE, EXEC, READ | EXEC].flatMap((one) => [
            one,
            one | PRIV,
          ])) {
            owner.pages.set(IOVA, { hpa: HPA, rights });
            pasidEntry(world, entry, 1n, { first, firstFlags: flags });
            world.start();
            for (let turn = 0; turn < 2; turn += 1) {
              const hpa = world.ask(IOVA + 7n, { access, at });
              const what = { flags, rights, at, access, turn };
              const found = hpa === null ? world.request.reason : [hpa, world.request.permitted];
              expect({ ...what, found }).toEqual({
                ...what,
                found: expectedOf({ flags, rights, at, access }),
              });
            }
            world.faults();
          }
  });

  /** A translation request wants to read, if it says so, and takes of the rest what there is. */
  function expectedOf(asked: { flags: bigint; rights: number; at: number; access: number }): unknown {
    const { flags, rights, at, access } = asked;
    if ((access & PRIV) !== 0 && (flags & SRE) === 0n) return 0x5d;
    if ((access & EXEC) !== 0 && (flags & ERE) === 0n) return 0x5c;
    const wanted = at === 1 && (access & READ) !== 0 ? READ : access & 7;
    const missing = wanted & ~rights;
    if ((missing & WRITE) !== 0) return 0x85;
    if ((missing & READ) !== 0) return 0x86;
    if ((missing & EXEC) !== 0) return 0x82;
    return [HPA + 7n, (flags & ERE) === 0n ? rights & 3 : rights];
  }

  test.each([
    ['beyond the width of the host', IOVA, 1n << 48n, 0x72],
    ['where interrupts are', IOVA, 0xfee0_1000n, 0x87],
    ['for an address that is not canonical', 1n << 47n, HPA, 0x80],
  ])('an answer %s is a fault', (_, iova, hpa, reason) => {
    const world = worldOf();
    const owner = new Owner();
    owner.pages.set(iova, { hpa, rights: 7 });
    pasidEntry(world, context(world).entry, 1n, { first: rootOf(world, owner) });
    world.start();
    expect(world.ask(iova)).toBe(null);
    expect(world.request.reason).toBe(reason);
    expect(owner.asked).toHaveLength(reason === 0x80 ? 0 : 1);
  });

  test('an owner is asked again before the first write', () => {
    const world = worldOf();
    const owner = new Owner();
    owner.pages.set(IOVA, { hpa: HPA, rights: 7 });
    pasidEntry(world, context(world).entry, 1n, { first: rootOf(world, owner) });
    world.start();
    for (const access of [READ, EXEC, READ, WRITE, WRITE, READ | WRITE]) world.ask(IOVA, { access });
    expect(owner.asked).toEqual([
      [IOVA, READ],
      [IOVA, WRITE],
    ]);
  });
});

/** A guest whose memory the owner has; its entries have all bits already, or none. */
function owned(
  world: World,
  isAccessed: boolean,
): { owner: Owner; path: readonly bigint[]; places: readonly bigint[] } {
  const owner = new Owner();
  const bits = isAccessed ? {} : { table: FS_TABLE & ~32n, leaf: FS_LEAF & ~96n };
  const { path, places } = guestSpace(world, IOVA, {
    ...{ tables: GUEST_TABLES, page: GUEST_PAGE, hpa: HPA },
    ...bits,
  });
  for (const [level, gpa] of GUEST_TABLES.entries()) owner.pages.set(gpa, { hpa: places[level]!, rights: 3 });
  owner.pages.set(GUEST_PAGE, { hpa: HPA, rights: 3 });
  pasidEntry(world, context(world).entry, 3n, { first: GUEST_TABLES[0]!, second: rootOf(world, owner) });
  return { owner, path, places };
}

describe('in place of a second stage', () => {
  test('alone: what it permits, and that something is not there', () => {
    const world = worldOf();
    const owner = new Owner();
    pasidEntry(world, context(world).entry, 2n, { second: rootOf(world, owner) });
    for (const isSparing of [false, true])
      for (const rights of RIGHTS)
        for (const at of [0, 1])
          for (const access of [READ, WRITE, READ | WRITE]) {
            owner.isSparing = isSparing;
            owner.pages.set(IOVA, { hpa: HPA, rights });
            world.start();
            for (let turn = 0; turn < 2; turn += 1) {
              const hpa = world.ask(IOVA + 7n, { access, at });
              const found = hpa === null ? world.request.reason : [hpa, world.request.permitted];
              // A second stage says nothing of execution. What is only to be written is not asked for alone.
              const has = isSparing ? rights & 3 : (rights & READ) === 0 ? 0 : rights & 3;
              const isRefused = at === 1 ? has === 0 : (access & ~has) !== 0;
              const permitted = (has & READ) === 0 ? has : has | EXEC;
              const missing = access & ~has;
              const reason = has === 0 ? 0x79 : (missing & WRITE) !== 0 ? 0x85 : 0x86;
              const expected = isRefused ? reason : [HPA + 7n, permitted];
              expect({ isSparing, rights, at, access, turn, found }).toEqual({
                ...{ isSparing, rights, at, access, turn },
                found: expected,
              });
            }
            world.faults();
          }
  });

  test('an owner is asked for both rights first, since a table may have to be written, and then for one', () => {
    const world = worldOf();
    const owner = new Owner();
    owner.pages.set(IOVA, { hpa: HPA, rights: READ });
    pasidEntry(world, context(world).entry, 2n, { second: rootOf(world, owner) });
    world.start();
    expect(world.ask(IOVA)).toBe(HPA);
    expect(owner.asked).toEqual([
      [IOVA, READ | WRITE],
      [IOVA, READ],
    ]);
  });

  test.each([
    ['beyond the width of the host', 1n << 48n, 0x7a],
    ['where interrupts are', 0xfee0_1000n, 0x87],
  ])('an answer %s is a fault', (_, hpa, reason) => {
    const world = worldOf();
    const owner = new Owner();
    owner.pages.set(IOVA, { hpa, rights: 7 });
    pasidEntry(world, context(world).entry, 2n, { second: rootOf(world, owner) });
    world.start();
    expect(world.ask(IOVA)).toBe(null);
    expect(world.request.reason).toBe(reason);
  });

  test('an owner that is gone', () => {
    const world = worldOf();
    pasidEntry(world, context(world).entry, 2n, { second: 1n << 39n });
    world.start();
    expect(world.ask(IOVA)).toBe(null);
    expect(world.request.reason).toBe(0x7b);
  });

  test.each([12, 16, 21, 30])(
    'its pages of 2^%i bytes are as large as the smaller of both stages',
    (sizeLg2) => {
      const world = worldOf();
      const owner = new Owner();
      const root = rootOf(world, owner);
      owner.pages.set(0x4000_0000n, { hpa: 0x9_4000_0000n, rights: 3, sizeLg2 });
      pasidEntry(world, context(world).entry, 2n, { second: root });
      const first = world.table();
      for (const entry of mapPage(world, first, 0n, 0x4000_0000n | FS_LEAF, { size: 21 }).values())
        owner.pages.set(entry & ~0xfffn, { hpa: entry & ~0xfffn, rights: 3 });
      pasidEntry(world, context(world, { pasid: 4 }).entry, 3n, { did: 6n, first, second: root });
      world.start();
      expect(world.ask(0x4000_0005n)).toBe(0x9_4000_0005n);
      expect(world.request.sizeLg2).toBe(sizeLg2);
      expect(world.ask(5n, { pasid: 4 })).toBe(0x9_4000_0005n);
      expect(world.request.sizeLg2).toBe(Math.min(sizeLg2, 21));
    },
  );

  test("a guest's tables and its page are found by it, and bits set where they lie", () => {
    const world = worldOf();
    const { path } = owned(world, false);
    world.start();
    expect(world.ask(IOVA + 5n)).toBe(HPA + 5n);
    expect(path.map((entry) => world.get(entry) & 96n)).toEqual([32n, 32n, 32n, 32n]);
    expect(world.ask(IOVA + 5n, { access: WRITE })).toBe(HPA + 5n);
    expect(path.map((entry) => world.get(entry) & 96n)).toEqual([32n, 32n, 32n, 96n]);
  });

  test.each([0, 1, 2, 3])('a table %i that it lets nobody write: a bit in it cannot be set', (level) => {
    const world = worldOf();
    const { owner, places, path } = owned(world, false);
    owner.pages.set(GUEST_TABLES[level]!, { hpa: places[level]!, rights: READ });
    world.start();
    expect(world.ask(IOVA)).toBe(null);
    expect(world.request.reason).toBe(0x77);
    expect(world.ask(IOVA, { at: 1 })).toBe(null);
    expect(world.request.recoverable).toBe(true);
    // Where there is nothing to be set, it need not be written.
    world.put(path[level]!, world.get(path[level]!) | (level === 3 ? 96n : 32n));
    expect(world.ask(IOVA)).toBe(HPA);
    expect(world.ask(IOVA + 5n, { access: WRITE })).toBe(HPA + 5n);
  });

  test.each([0, 1, 2, 3])('a table %i that it lets nobody read', (level) => {
    const world = worldOf();
    const { owner, places } = owned(world, true);
    owner.isSparing = true;
    owner.pages.set(GUEST_TABLES[level]!, { hpa: places[level]!, rights: WRITE });
    world.start();
    expect(world.ask(IOVA)).toBe(null);
    expect(world.request.reason).toBe(level === 0 ? 0x75 : 0x76);
  });
});

test('both stages: the page may be what both let be', () => {
  const world = worldOf();
  const owner = new Owner();
  const { places, path } = guestSpace(world, IOVA, { tables: GUEST_TABLES, page: GUEST_PAGE, hpa: HPA });
  for (const [level, gpa] of GUEST_TABLES.entries()) owner.pages.set(gpa, { hpa: places[level]!, rights: 3 });
  pasidEntry(world, context(world).entry, 3n, { first: GUEST_TABLES[0]!, second: rootOf(world, owner) });
  for (const rights of [1, 3])
    for (const access of [READ, WRITE]) {
      owner.pages.set(GUEST_PAGE, { hpa: HPA, rights });
      world.start();
      expect(world.ask(IOVA, { access })).toBe((access & ~rights) === 0 ? HPA : null);
      expect(world.request.reason).toBe((access & ~rights) === 0 ? 0 : 0x85);
      world.ask(IOVA, { access, at: 1 });
      expect(world.request.permitted).toBe(rights | EXEC);
      world.faults();
    }
  expect(path.every((entry) => (world.get(entry) & SS_RW) !== 0n)).toBe(true);
});
