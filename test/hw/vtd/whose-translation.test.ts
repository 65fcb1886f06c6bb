/**
 * Whose translation it is, and where it is looked for: one that is found at once, by a space in use just before, is that
 * of its requester, its PASID, its domain and its address alone; and whatever has been found once is found there again.
 */
import { describe, expect, test } from 'vitest';
import { Iotlb, frontOf, hashOf, tagHigh, tagLow } from '../../../src/hw/vtd/iotlb.js';
import { Epoch } from '../../../src/mem/epoch.js';
import { ALL, BASE, QUESTION, asked, build, hpaOf } from './answers.js';
import { iotlbInvalidate, QueueWorld } from './queue-world.js';
import { context, FS_LEAF, mapPage, pasidEntry } from './structures.js';
import { PASID, PRIV, READ, SOURCE, World, WRITE } from './world.js';

test('a hit by a space that was in use just before needs no context', () => {
  const world = new World();
  const mapped = build(world).filter(({ row }) => row.what === 'all' || row.what === 'second stage');
  world.start();
  for (const { pasid, size } of mapped) {
    for (const within of [0n, 0xfffn, (1n << BigInt(size)) - 1n, 0x12_3456n & ((1n << BigInt(size)) - 1n)]) {
      for (const access of [READ, WRITE, ALL]) {
        world.ask(BASE + within, { pasid, access });
        const hit = asked(() => expect(world.ask(BASE + within, { pasid, access })).not.toBeNull());
        expect([pasid, size, within, access, hit]).toEqual([pasid, size, within, access, 0]);
      }
    }
    // Who is privileged, or wants to know more, is another matter.
    for (const other of [{ access: READ | PRIV }, { at: QUESTION }])
      expect(asked(() => world.ask(BASE, { pasid, ...other }))).toBe(1);
  }
});

describe('whose translation it is', () => {
  test('a requester or a PASID that differs in a bit is another one, whoever asked last', () => {
    const world = new World();
    const own = { source: SOURCE, pasid: PASID };
    const who = [
      own,
      ...Array.from({ length: 16 }, (_, bit) => ({ ...own, source: SOURCE ^ (1 << bit) })),
      ...Array.from({ length: 20 }, (_, bit) => ({ ...own, pasid: PASID ^ (1 << bit) })),
    ];
    for (const [index, one] of who.entries()) {
      const first = world.table();
      mapPage(world, first, BASE, hpaOf(index) | FS_LEAF);
      pasidEntry(world, context(world, one).entry, 1n, { first, did: BigInt(index + 1) });
    }
    world.start();
    for (const [index, one] of who.entries()) {
      for (let turn = 0; turn < 3; turn += 1) {
        for (let again = 0; again < 2; again += 1) expect(world.ask(BASE, own)).toBe(hpaOf(0));
        for (let again = 0; again < 2; again += 1)
          expect([one, world.ask(BASE, one)]).toEqual([one, hpaOf(index)]);
      }
    }
  });

  test('a large page does not answer for that of another domain or PASID, wherever it was found last', () => {
    const world = new World();
    const own = { did: 5, pasid: PASID };
    const others = [
      ...Array.from({ length: 16 }, (_, bit) => ({ did: own.did ^ (1 << bit), pasid: 0x2040 + bit })),
      ...Array.from({ length: 20 }, (_, bit) => ({ did: own.did, pasid: PASID ^ (1 << bit) })),
    ];
    for (const [index, { did, pasid }] of [own, ...others].entries()) {
      const first = world.table();
      mapPage(world, first, BASE, hpaOf(index) | FS_LEAF, { size: index === 0 ? 30 : 21 });
      pasidEntry(world, context(world, { pasid }).entry, 1n, { first, did: BigInt(did) });
    }
    world.start();
    const frame = Number(BASE >> 12n);
    const slotOf = ({ did, pasid }: typeof own): number =>
      frontOf(frame, hashOf(tagHigh(pasid), tagLow(did, 1, pasid)));
    for (const [index, other] of others.entries()) {
      // The other's first page is looked for where this page of the first one is found.
      const within = BigInt(slotOf(other) ^ slotOf(own)) << 12n;
      for (let turn = 0; turn < 3; turn += 1) {
        expect([other, world.ask(BASE, { pasid: other.pasid })]).toEqual([other, hpaOf(index + 1)]);
        expect([other, world.ask(BASE + within, own)]).toEqual([other, hpaOf(0) + within]);
      }
    }
  });

  test('nor for an address that differs in a bit', () => {
    const world = new QueueWorld();
    const first = world.table();
    const others = Array.from({ length: 35 }, (_, bit) => BASE ^ (1n << BigInt(12 + bit)));
    // Bits 47 to 63 are the same in every address.
    others.push(BASE - (1n << 47n));
    for (const [index, iova] of [BASE, ...others].entries())
      mapPage(world, first, iova, hpaOf(index) | FS_LEAF);
    pasidEntry(world, context(world).entry, 1n, { first });
    world.start();
    for (const [index, iova] of others.entries()) {
      world.submit(iotlbInvalidate(1n));
      for (let turn = 0; turn < 3; turn += 1) {
        for (let again = 0; again < 2; again += 1) {
          expect([iova, world.ask(BASE + 7n)]).toEqual([iova, hpaOf(0) + 7n]);
          expect([iova, world.ask(iova + 7n)]).toEqual([iova, hpaOf(index + 1) + 7n]);
        }
      }
    }
  });

  test('what is in the first place of all is found like any other', () => {
    const { did, pasid, access } = { did: 5, pasid: PASID, access: READ | PRIV };
    const world = new World();
    const first = world.table();
    // Of so many pages that follow one another each has another set.
    let frame = Number(BASE >> 12n);
    const iotlb = new Iotlb(new Epoch());
    while (iotlb.insert(frame, tagHigh(pasid), tagLow(did, 1, pasid), 12) !== 0) {
      iotlb.flushAll();
      frame += 1;
    }
    const iova = BigInt(frame) << 12n;
    mapPage(world, first, iova, hpaOf(0) | FS_LEAF);
    pasidEntry(world, context(world).entry, 1n, { first, did: BigInt(did) });
    world.start();
    expect(world.ask(iova, { access })).toBe(hpaOf(0));
    const { loads } = world.memory;
    expect(world.ask(iova, { access })).toBe(hpaOf(0));
    expect(world.memory.loads).toBe(loads);
  });

  test('a walk goes on from the last table that is known, also that of a translation request', () => {
    for (const at of [0, QUESTION]) {
      const world = new World();
      const first = world.table();
      for (const page of [0n, 1n]) mapPage(world, first, BASE + (page << 12n), hpaOf(Number(page)) | FS_LEAF);
      pasidEntry(world, context(world).entry, 1n, { first });
      world.start();
      expect(world.ask(BASE, { at })).toBe(hpaOf(0));
      const { loads } = world.memory;
      expect(world.ask(BASE + 0x1000n, { at })).toBe(hpaOf(1));
      expect(world.memory.loads).toBe(loads + 1);
    }
  });
});

test('one PASID after the other, wherever its row is, has the answer of its own', () => {
  const world = new World();
  const first = world.table();
  mapPage(world, first, BASE, hpaOf(0) | FS_LEAF);
  const place = context(world, { pasid: 0 });
  const table = world.get(place.directory) & ~0xfffn;
  for (let pasid = 0n; pasid < 64n; pasid += 1n) pasidEntry(world, table + pasid * 64n, 1n, { first });
  const count = 1 << 14;
  for (let entry = 1n; entry < BigInt(count >> 6); entry += 1n)
    world.put(place.directory + entry * 8n, table | 1n);
  world.start();
  const rowsUsed = new Set<number>();
  asked(
    () => {
      // PASID 0 is that of requests without one.
      for (let pasid = 1; pasid < count; pasid += 1) {
        for (let again = 0; again < 2; again += 1)
          if (world.ask(BASE, { pasid }) !== hpaOf(0)) expect([pasid, world.request.reason]).toEqual([]);
      }
    },
    (row) => rowsUsed.add(row),
  );
  // Of all rows that there are, the first too.
  expect(rowsUsed.has(0)).toBe(true);
});
