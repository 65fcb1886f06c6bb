/** Accessed and dirty bits: which entries get which, when, and that a walk that fails sets none (sections 3.6.2, 3.7.2). */
import { describe, expect, test } from 'vitest';
import { LocalMemory } from '../../../src/machine/local-memory.js';
import {
  A,
  BARE,
  D,
  EA,
  SS_A,
  SS_D,
  FIRST_FLAGS,
  SECOND,
  SSADE,
  SS_RW,
  context,
  mapPage,
  pasidEntry,
} from './structures.js';
import { READ, WRITE, World } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;

function first(flags = FIRST_FLAGS, leaf = HPA | BARE): { world: World; entries: bigint[] } {
  const world = new World();
  const root = world.table();
  const entries = mapPage(world, root, IOVA, leaf, { table: BARE });
  pasidEntry(world, context(world).entry, 1n, { first: root, firstFlags: flags });
  world.start();
  return { world, entries };
}

function bitsOf(world: World, entries: readonly bigint[], mask: bigint): bigint[] {
  return entries.map((entry) => world.get(entry) & mask);
}

describe('first stage', () => {
  test('A at every level, D in the leaf on the first write, though a clean entry is cached', () => {
    const { world, entries } = first();
    world.ask(IOVA);
    expect(bitsOf(world, entries, A | D | EA)).toEqual([A, A, A, A]);
    world.memory.loads = 0;
    world.ask(IOVA);
    expect(world.memory.loads).toBe(0);
    world.ask(IOVA, { access: WRITE });
    expect(bitsOf(world, entries, A | D)).toEqual([A, A, A, A | D]);
    world.memory.loads = 0;
    world.ask(IOVA, { access: WRITE });
    expect(world.memory.loads).toBe(0);
  });

  test('EA where EAFE asks for it', () => {
    const { world, entries } = first(FIRST_FLAGS | 128n);
    world.ask(IOVA);
    expect(bitsOf(world, entries, A | EA)).toEqual([A | EA, A | EA, A | EA, A | EA]);
  });

  test.each([
    ['not present', 0n, READ],
    ['no write permission', HPA | 5n, WRITE],
    ['a privileged page', HPA | 3n, READ],
    ['a reserved bit', HPA | BARE | (1n << 50n), READ],
  ] as const)('a walk that ends in "%s" sets nothing', (_, leaf, access) => {
    const { world, entries } = first(FIRST_FLAGS, leaf);
    expect(world.ask(IOVA, { access })).toBe(null);
    expect(bitsOf(world, entries, A | D)).toEqual([0n, 0n, 0n, 0n]);
  });

  test('a translation request for writing that gets none leaves the leaf clean', () => {
    const { world, entries } = first(FIRST_FLAGS, HPA | 5n);
    expect(world.ask(IOVA, { access: READ | WRITE, at: 1 })).toBe(HPA);
    expect(world.request.permitted).toBe(READ | 4);
    expect(bitsOf(world, entries, A | D)).toEqual([A, A, A, A]);
  });

  test('D that software has cleared is not set again before the invalidation', () => {
    const { world, entries } = first();
    world.ask(IOVA, { access: WRITE });
    const leaf = entries[3]!;
    world.put(leaf, world.get(leaf) & ~D);
    world.ask(IOVA, { access: WRITE });
    expect(world.get(leaf) & D).toBe(0n);
  });

  test('a bit that changes between load and store makes another walk', () => {
    const { world, entries } = first();
    const { memory } = world;
    const original = memory.setBits64.bind(memory);
    let meddled = false;
    memory.setBits64 = (hi, lo, expected, set) => {
      if (!meddled) world.put(entries[3]!, (HPA + 0x1000n) | BARE);
      meddled = true;
      return original(hi, lo, expected, set);
    };
    // The entry that was meddled with is written first or later; either way the answer is one that was there.
    expect([HPA, HPA + 0x1000n]).toContain(world.ask(IOVA));
    expect(world.ask(IOVA, { access: WRITE })).not.toBe(null);
  });

  test('an entry that refuses to be written is 0x91', () => {
    const { world } = first();
    world.memory.setBits64 = () => false;
    expect(world.ask(IOVA)).toBe(null);
    expect(world.faults().map((fault) => fault.reason)).toEqual([0x91]);
  });
});

function second(flags: bigint): { world: World; entries: bigint[] } {
  const world = new World();
  const root = world.table();
  const entries = mapPage(world, root, IOVA, HPA | SS_RW, SECOND);
  pasidEntry(world, context(world).entry, 2n, { second: root, flags });
  world.start();
  return { world, entries };
}

describe('second stage', () => {
  test('without SSADE nothing is set', () => {
    const { world, entries } = second(0n);
    world.ask(IOVA, { access: WRITE });
    expect(bitsOf(world, entries, SS_A | SS_D)).toEqual([0n, 0n, 0n, 0n]);
  });

  test('with it, A at every level and D in the leaf on the first write', () => {
    const { world, entries } = second(SSADE);
    world.ask(IOVA);
    expect(bitsOf(world, entries, SS_A | SS_D)).toEqual([SS_A, SS_A, SS_A, SS_A]);
    world.ask(IOVA, { access: WRITE });
    expect(bitsOf(world, entries, SS_A | SS_D)).toEqual([SS_A, SS_A, SS_A, SS_A | SS_D]);
  });
});

describe('nested', () => {
  test('a bit in a guest table makes the page of that table dirty in the second stage', () => {
    const world = new World();
    const root = world.table();
    const guest = world.table();
    const entries = mapPage(world, guest, IOVA, 0x80_0000n | BARE, { table: BARE });
    const pages = entries.map((entry) => {
      const page = entry & ~0xfffn;
      return mapPage(world, root, page, page | SS_RW, SECOND)[3]!;
    });
    const last = mapPage(world, root, 0x80_0000n, HPA | SS_RW, SECOND)[3]!;
    pasidEntry(world, context(world).entry, 3n, { first: guest, second: root, flags: SSADE });
    world.start();
    expect(world.ask(IOVA)).toBe(HPA);
    expect(bitsOf(world, entries, A | D)).toEqual([A, A, A, A]);
    expect(bitsOf(world, pages, SS_A | SS_D)).toEqual([1, 2, 3, 4].map(() => SS_A | SS_D));
    expect(world.get(last) & (SS_A | SS_D)).toBe(SS_A);
    expect(world.ask(IOVA, { access: WRITE })).toBe(HPA);
    expect(world.get(last) & SS_D).toBe(SS_D);
    expect(world.get(entries[3]!) & D).toBe(D);
  });
});

test('tables in client memory are walked, and their bits set, in place', () => {
  const world = new World();
  const client = new LocalMemory();
  const at = client.alloc(0x4000);
  const [run] = client.resolve(at, 0x4000n, true)!;
  const [range] = world.memory.window(run!.backing, run!.offset, run!.length)!;
  const table = (n: bigint): bigint => range!.hpa + n * 0x1000n;
  const shifts = [39n, 30n, 21n, 12n];
  shifts.forEach((shift, level) => {
    const value = level === 3 ? HPA | BARE : table(BigInt(level) + 1n) | BARE;
    world.put(table(BigInt(level)) + ((IOVA >> shift) & 511n) * 8n, value);
  });
  pasidEntry(world, context(world).entry, 1n, { first: table(0n) });
  world.start();
  expect(world.ask(IOVA + 1n, { access: WRITE })).toBe(HPA + 1n);
  const leaf = new Uint8Array(8);
  client.read(at + 0x3000n + ((IOVA >> 12n) & 511n) * 8n, leaf);
  expect(leaf[0]! & 0x60).toBe(0x60);
  // The client changes its own entry: nobody sees that, except in checking mode.
  leaf[1] = leaf[1]! ^ 0x10;
  client.write(at + 0x3000n + ((IOVA >> 12n) & 511n) * 8n, leaf);
  expect(world.ask(IOVA)).toBe(HPA);
  expect(world.stale).toEqual([]);
  world.unit.checking = true;
  expect(world.ask(IOVA)).toBe(HPA);
  expect(world.ask(IOVA)).toBe(HPA);
  expect(world.stale.map(({ cached, current, missing }) => [cached, current, missing])).toEqual([
    [HPA, HPA ^ 0x1000n, 'PASID-based IOTLB invalidate, DID 5 PASID 3'],
  ]);
});
