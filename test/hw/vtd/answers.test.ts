/**
 * All that an answer says, whichever way it was found: by a walk, in the IOTLB, by what the last requests used, by a look
 * that leaves nothing behind; and what is not translated at all.
 */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { dice } from '../../dice.js';
import {
  ALL,
  BASE,
  D,
  QUESTION,
  SMEP,
  TRANSLATED,
  build,
  granted,
  hpaOf,
  itself,
  look,
  refused,
  said,
  type Mapped,
} from './answers.js';
import { iotlbInvalidate, QueueWorld } from './queue-world.js';
import { ALL_FLAGS, context, FIRST_FLAGS, FS_LEAF, mapPage, pasidEntry, SECOND } from './structures.js';
import { ECAP, EXEC, PRIV, READ, SOURCE, World, WRITE } from './world.js';

function expected({ row, size, hpa }: Mapped, offset: bigint, access: number, at: number): unknown {
  const permitted = (access & PRIV) === 0 ? row.user : row.priv;
  const isGranted = at === QUESTION ? permitted !== 0 : (access & ALL & ~permitted) === 0;
  if (isGranted) return granted(hpa + offset, size, permitted);
  return refused(at === QUESTION);
}

test('an answer says the same, however it is found; a write leaves its dirty bit', () => {
  const next = dice(21);
  const world = new QueueWorld();
  const mapped = build(world);
  world.start();
  let hits = 0;
  for (let step = 0; step < 4000; step += 1) {
    const one = mapped[next(mapped.length)]!;
    const { pasid, size } = one;
    if (next(40) === 0) {
      world.submit(iotlbInvalidate(1n));
      for (const { row, at } of mapped) if ((row.leaf & D) === 0n) world.put(at, world.get(at) & ~D);
    }
    // Twice and more in a row: what the last request used is what the next one asks for.
    for (let turns = 1 + next(3); turns > 0; turns -= 1) {
      const offset = (BigInt(next(1 << 18)) << 12n) | BigInt(next(4096));
      const within = offset & ((1n << BigInt(size)) - 1n);
      const access = [READ, WRITE, READ | WRITE, READ | EXEC, ALL][next(5)]! | (next(3) === 0 ? PRIV : 0);
      const at = next(4) === 0 ? QUESTION : 0;
      const { loads } = world.memory;
      const answer = said(world, BASE + within, { pasid, access, at });
      if (world.memory.loads === loads) hits += 1;
      const what = [step, one.row.what, size, access, at];
      expect([...what, answer]).toEqual([...what, expected(one, within, access, at)]);
      const isWritten =
        (access & WRITE) !== 0 && at === 0 && (answer as { permitted: number }).permitted !== 0;
      if (isWritten && one.row.kind === 1n) expect([...what, world.get(one.at) & D]).toEqual([...what, D]);
      world.faults();
    }
  }
  expect(hits).toBeGreaterThan(3000);
  expect(world.stale).toEqual([]);
});

describe('a look that leaves nothing behind', () => {
  test('finds what is there now, whatever was asked for, and neither caches nor sets nor records it', () => {
    const world = new World();
    const mapped = build(world);
    expect(look(world, BASE)).toEqual(granted(BASE, 12, ALL));
    world.start();
    for (const { row, pasid, size, hpa, at } of mapped) {
      const before = world.get(at);
      for (const [access, permitted] of [
        [READ, row.user],
        [WRITE, row.user],
        [READ | PRIV, row.priv],
      ] as const) {
        // Without SRE there are no privileged requests: nothing is there for them.
        const isThere = row.what !== 'SRE clear' || permitted !== 0;
        const found = look(world, BASE + 0x123n, { pasid, access });
        if (isThere) expect([row.what, found]).toEqual([row.what, granted(hpa + 0x123n, size, permitted)]);
        else expect([row.what, found]).toEqual([row.what, null]);
      }
      expect(look(world, BASE + (1n << 30n), { pasid })).toBeNull();
      expect(world.get(at)).toBe(before);
    }
    expect(look(world, BASE, { pasid: 4000 })).toBeNull();
    expect(world.unit.statistics).toMatchObject({ iotlbEntries: 0, pagingEntries: 0, pasidEntries: 0 });
    expect(world.faults()).toEqual([]);
  });

  test('passes by what is cached', () => {
    const world = new World();
    const [one] = build(world);
    world.start();
    const { pasid, hpa, at } = one!;
    expect(world.ask(BASE, { pasid })).toBe(hpa);
    world.put(at, world.get(at) + 0x1000n);
    expect(look(world, BASE, { pasid })).toEqual(granted(hpa + 0x1000n, 12, ALL));
    expect(world.ask(BASE, { pasid })).toBe(hpa);
  });

  test('knows whose requests are privileged without saying so', () => {
    for (const ridPriv of [0n, 1n << 20n]) {
      const world = new World();
      const first = world.table();
      mapPage(world, first, BASE, (5n << 30n) | FS_LEAF);
      const place = context(world, { pasid: 0 });
      world.put(place.context + 8n, ridPriv);
      pasidEntry(world, place.entry, 1n, { first, firstFlags: FIRST_FLAGS | SMEP });
      pasidEntry(world, context(world).entry, 1n, { first, firstFlags: FIRST_FLAGS | SMEP });
      world.start();
      const permitted = ridPriv === 0n ? ALL : READ | WRITE;
      expect(look(world, BASE, { pasid: NO_PASID })).toEqual(granted(5n << 30n, 12, permitted));
      expect(look(world, BASE)).toEqual(granted(5n << 30n, 12, ALL));
    }
  });
});

describe('what is not translated', () => {
  const WINDOW = 0xfee0_0000n;

  test.each([
    [READ, refused(false), 1],
    [WRITE, itself(WINDOW + 0x1234n, WRITE), 0],
    [WRITE | PRIV, itself(WINDOW + 0x1234n, WRITE), 0],
    [READ | WRITE, refused(false), 1],
    [READ | EXEC, refused(false), 1],
  ])('an interrupt is a write without PASID: access %i', (access, answer, records) => {
    for (const ttm of [0, 1]) {
      const world = new World();
      world.start(ttm);
      for (let turn = 0; turn < 2; turn += 1) {
        expect(said(world, WINDOW + 0x1234n, { pasid: NO_PASID, access })).toEqual(answer);
        const faults = world.faults().map(({ reason }) => reason);
        expect(faults).toEqual(records === 0 ? [] : [ttm === 0 ? 0x0e : 0x87]);
        const question = { pasid: NO_PASID, access, at: QUESTION };
        expect(said(world, WINDOW + 0x1234n, question)).toEqual(refused(true));
        expect(world.request.reason).toBe(ttm === 0 ? 0x0e : 0x87);
        expect(world.faults()).toEqual([]);
      }
    }
  });

  test('the window is 1 MiB below 4 GiB, and nothing else: with a bit of its address changed it is memory', () => {
    const world = new World();
    const root = world.table();
    pasidEntry(world, context(world, { pasid: 0 }).entry, 2n, { second: root });
    const beside = [
      ...Array.from({ length: 28 }, (_, bit) => WINDOW ^ (1n << BigInt(20 + bit))),
      WINDOW - 0x1000n,
    ];
    for (const [index, iova] of beside.entries()) mapPage(world, root, iova, hpaOf(index) | 3n, SECOND);
    world.start();
    for (let turn = 0; turn < 3; turn += 1) {
      for (const [index, iova] of beside.entries()) {
        const answer = said(world, iova, { pasid: NO_PASID, access: WRITE });
        expect(answer).toEqual(granted(hpaOf(index), 12, ALL));
      }
      for (const iova of [WINDOW, WINDOW + 0xf_ffffn])
        expect(said(world, iova, { pasid: NO_PASID, access: WRITE })).toEqual(itself(iova, WRITE));
    }
  });

  test('before TE is set nothing is', () => {
    const world = new World();
    for (const iova of [0n, BASE + 5n, WINDOW + 8n, (1n << 64n) - 1n])
      expect(said(world, iova, { access: READ })).toEqual(itself(iova, ALL));
  });

  test('what a device has translated is its own answer, up to the last address that the platform has', () => {
    const world = new World();
    pasidEntry(world, context(world, { pasid: 0 }).entry, 1n, { first: world.table() });
    world.start();
    for (let bit = 12n; bit < 64n; bit += 1n) {
      const iova = (1n << bit) | 0x123n;
      for (const access of [READ, WRITE]) {
        const answer = said(world, iova, { pasid: NO_PASID, access, at: TRANSLATED });
        expect([bit, answer]).toEqual([bit, bit < 48n ? itself(iova, ALL) : refused(false)]);
        expect(world.faults().map(({ reason }) => reason)).toEqual(bit < 48n ? [] : [0x83]);
      }
    }
  });

  test.each([
    [0n, 0, [0x0d, 0x0d]],
    [1n, 0, [0, 0]],
    [2n, 0, [0x0d, 0x0d]],
    [0n, 2, []],
    [2n, 2, []],
  ])('a legacy context of TT %i, with FPD %i: who may ask for translations', (tt, fpd, reasons) => {
    const world = new World();
    const contexts = world.table();
    const root = world.table();
    mapPage(world, root, BASE, (5n << 30n) | 3n, SECOND);
    world.put(world.root + 16n, contexts | 1n);
    world.put(contexts, root | 1n | (tt << 2n) | BigInt(fpd));
    world.put(contexts + 8n, 2n | (5n << 8n));
    world.start(0);
    for (let turn = 0; turn < 2; turn += 1) {
      const answers = [QUESTION, TRANSLATED].map((at) => said(world, BASE, { pasid: NO_PASID, at }));
      const isAllowed = tt === 1n;
      if (isAllowed) expect(answers).toEqual([granted(5n << 30n, 12, ALL), itself(BASE, ALL)]);
      else expect(answers).toEqual([refused(false), refused(false)]);
      expect(world.faults().map(({ reason }) => reason)).toEqual(reasons.filter((reason) => reason !== 0));
      if (!isAllowed) continue;
      expect(said(world, 1n << 48n, { pasid: NO_PASID, at: TRANSLATED })).toEqual(refused(false));
      expect(world.faults().map(({ reason }) => reason)).toEqual([0x04]);
    }
  });

  test('nothing is while TE is off, also on a unit without scalable mode, which keeps its caches', () => {
    const world = new World({ ecap: ECAP & ~(1n << 43n) });
    const contexts = world.table();
    const root = world.table();
    mapPage(world, root, BASE, hpaOf(0) | 3n, SECOND);
    world.put(world.root + 16n, contexts | 1n);
    world.put(contexts, root | 1n);
    world.put(contexts + 8n, 2n | (5n << 8n));
    world.start(0);
    for (let turn = 0; turn < 3; turn += 1) {
      for (let again = 0; again < 2; again += 1) expect(world.ask(BASE, { pasid: NO_PASID })).toBe(hpaOf(0));
      world.unit.write32(0x18, 0);
      expect(world.ask(BASE, { pasid: NO_PASID })).toBe(BASE);
      world.unit.write32(0x18, 0x8000_0000);
    }
  });

  test('a translated request with PASID is none, and nothing is said of it', () => {
    const world = new World();
    world.start();
    const none = { permitted: 0, recoverable: false, hasReason: false };
    expect(said(world, BASE, { at: TRANSLATED })).toEqual(none);
    expect(world.request.reason).toBe(0);
    expect(world.faults()).toEqual([]);
  });

  test('FPD silences what a scalable context forbids as well', () => {
    for (const fpd of [0n, 2n]) {
      const world = new World();
      const place = context(world, { pasid: 0, flags: (ALL_FLAGS & ~20n) | fpd });
      pasidEntry(world, place.entry, 4n);
      world.start();
      for (let turn = 0; turn < 2; turn += 1) {
        for (const at of [QUESTION, TRANSLATED])
          expect(said(world, BASE, { pasid: NO_PASID, at })).toEqual(refused(false));
        expect(world.faults()).toHaveLength(fpd === 0n ? 2 : 0);
        expect(said(world, BASE, { pasid: NO_PASID })).toEqual(itself(BASE, ALL));
      }
    }
  });
});

test('while every hit is checked, every hit is', () => {
  const world = new World();
  build(world);
  world.start();
  for (let turn = 0; turn < 3; turn += 1) world.ask(BASE, { pasid: 1 });
  expect(world.unit.statistics.silentWalks).toBe(0);
  world.unit.checking = true;
  for (let turn = 1; turn <= 3; turn += 1) {
    world.ask(BASE, { pasid: 1 });
    expect(world.unit.statistics.silentWalks).toBe(turn);
  }
  world.unit.checking = false;
  for (let turn = 0; turn < 3; turn += 1) world.ask(BASE, { pasid: 1 });
  expect(world.unit.statistics.silentWalks).toBe(3);
});

test('a device that is privileged without saying so gets what that is, on what others have cached too', () => {
  const world = new World();
  const first = world.table();
  mapPage(world, first, BASE, (5n << 30n) | FS_LEAF);
  for (const [source, ridPriv] of [
    [SOURCE, 1n << 20n],
    [SOURCE + 1, 0n],
  ] as const) {
    const place = context(world, { source, pasid: 0 });
    world.put(place.context + 8n, ridPriv);
    pasidEntry(world, place.entry, 1n, { first, firstFlags: FIRST_FLAGS | SMEP });
  }
  world.start();
  for (let turn = 0; turn < 3; turn += 1) {
    for (let again = 0; again < 2; again += 1) {
      const ask = { pasid: NO_PASID, access: READ | EXEC };
      expect(said(world, BASE, { ...ask, source: SOURCE })).toEqual(refused(false));
      expect(said(world, BASE, { ...ask, source: SOURCE + 1 })).toEqual(granted(5n << 30n, 12, ALL));
      const data = { pasid: NO_PASID, access: READ | WRITE };
      expect(said(world, BASE, { ...data, source: SOURCE })).toEqual(granted(5n << 30n, 12, READ | WRITE));
    }
  }
});
