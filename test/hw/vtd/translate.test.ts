/** Which bytes a request reaches through each kind of translation, cached and not. */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import type { AddressSpaceProvider, ProvidedPage } from '../../../src/mem/providers.js';
import { RunList } from '../../../src/mem/runs.js';
import { FakeBacking } from '../../mem/fake-backing.js';
import { ALL_FLAGS, FS_LEAF, SECOND, SS_RW, context, mapPage, pasidEntry } from './structures.js';
import { EXEC, PASID, READ, SOURCE, World, WRITE } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;

/**
 * Gives a PASID an address space whose owner finds every address where it is (or as `answer` says), and permits what it is
 * asked for; returns what that was.
 */
function owned(world: World, pasid: number, answer: Partial<ProvidedPage> = {}): number[] {
  const asked: number[] = [];
  const owner: AddressSpaceProvider = {
    name: `owner ${pasid}`,
    onInvalidate: null,
    translate: (hpaHi, lo, permitted, page) => {
      asked.push(permitted);
      Object.assign(page, { hpaHi, hpaLo: lo & ~0xfff, sizeLg2: 12, permitted, ...answer });
      return true;
    },
  };
  const first = BigInt(world.memory.providers.add(owner)) << 12n;
  pasidEntry(world, context(world, { pasid }).entry, 1n, { first });
  return asked;
}

describe('translation', () => {
  test('before TE is set every address is its own answer', () => {
    const world = new World();
    expect(world.ask(0x1234n)).toBe(0x1234n);
  });

  test('first stage, second stage and pass-through', () => {
    const world = new World();
    const first = world.table();
    mapPage(world, first, IOVA, HPA | FS_LEAF);
    pasidEntry(world, context(world).entry, 1n, { first });
    const second = world.table();
    mapPage(world, second, IOVA, (HPA + 0x1000n) | SS_RW, SECOND);
    pasidEntry(world, context(world, { pasid: 4 }).entry, 2n, { second, did: 6n });
    pasidEntry(world, context(world, { pasid: 0 }).entry, 4n);
    world.start();
    for (let turn = 0; turn < 2; turn += 1) {
      expect(world.ask(IOVA + 5n)).toBe(HPA + 5n);
      expect(world.ask(IOVA + 5n, { pasid: 4, access: WRITE })).toBe(HPA + 0x1005n);
      expect(world.ask(IOVA + 5n, { pasid: NO_PASID })).toBe(IOVA + 5n);
    }
    expect(world.faults()).toEqual([]);
  });

  test('nested: each first-stage table and the result go through the second stage', () => {
    const world = new World();
    const second = world.table();
    const GPA = 0x40_0000n;
    // Guest pages 0x400000.. lie at tables of their own; the guest writes guest-physical addresses.
    const tables = [0, 1, 2, 3].map(() => world.table());
    tables.forEach((hpa, i) => mapPage(world, second, GPA + BigInt(i) * 0x1000n, hpa | SS_RW, SECOND));
    mapPage(world, second, 0x80_0000n, HPA | SS_RW, SECOND);
    const shifts = [39n, 30n, 21n, 12n];
    shifts.forEach((shift, i) => {
      const next = i === 3 ? 0x80_0000n | FS_LEAF : (GPA + BigInt(i + 1) * 0x1000n) | FS_LEAF;
      world.put(tables[i]! + ((IOVA >> shift) & 511n) * 8n, next);
    });
    pasidEntry(world, context(world).entry, 3n, { first: GPA, second });
    world.start();
    world.memory.loads = 0;
    expect(world.ask(IOVA + 8n)).toBe(HPA + 8n);
    expect(world.memory.loads).toBeLessThanOrEqual(4 * 5 + 4 + 14);
    world.memory.loads = 0;
    expect(world.ask(IOVA + 8n)).toBe(HPA + 8n);
    expect(world.memory.loads).toBe(0);
    expect(world.faults()).toEqual([]);
  });

  test('legacy mode: second stage and pass-through by the context entry alone', () => {
    const world = new World();
    const contexts = world.table();
    world.put(world.root + 16n, contexts | 1n);
    const second = world.table();
    mapPage(world, second, IOVA, HPA | SS_RW, SECOND);
    world.put(contexts, second | 1n);
    world.put(contexts + 8n, 2n | (5n << 8n));
    world.put(contexts + 16n, 9n);
    world.put(contexts + 24n, 2n | (5n << 8n));
    world.start(0);
    for (let turn = 0; turn < 2; turn += 1) {
      expect(world.ask(IOVA + 7n, { pasid: NO_PASID })).toBe(HPA + 7n);
      expect(world.ask(IOVA + 7n, { source: 0x101, pasid: NO_PASID })).toBe(IOVA + 7n);
    }
    expect(world.ask(IOVA, { pasid: PASID })).toBe(null);
    expect(world.faults().map((fault) => fault.reason)).toEqual([0x31]);
  });

  test('permissions: what a walk grants is what a hit grants', () => {
    const world = new World();
    const second = world.table();
    mapPage(world, second, IOVA, HPA | 1n, SECOND);
    pasidEntry(world, context(world).entry, 2n, { second });
    world.start();
    expect(world.ask(IOVA, { access: READ })).toBe(HPA);
    expect(world.ask(IOVA, { access: WRITE })).toBe(null);
    expect(world.ask(IOVA, { access: READ })).toBe(HPA);
    expect(world.faults().map((fault) => [fault.reason, fault.type, fault.address])).toEqual([
      [0x85, 0, IOVA],
    ]);
  });

  test('a large page beside the interrupt window does not answer for it', () => {
    const world = new World();
    const second = world.table();
    const block = 0xfee0_0000n;
    const tables = [world.table(), world.table()] as const;
    world.put(second + ((block >> 39n) & 511n) * 8n, tables[0] | SS_RW);
    world.put(tables[0] + ((block >> 30n) & 511n) * 8n, tables[1] | SS_RW);
    world.put(tables[1] + ((block >> 21n) & 511n) * 8n, 0x4000_0000n | SS_RW | 0x80n);
    pasidEntry(world, context(world, { pasid: 0 }).entry, 2n, { second });
    pasidEntry(world, context(world).entry, 2n, { second });
    world.start();
    for (let turn = 0; turn < 3; turn += 1) {
      expect(world.ask(block + 0x10_0000n, { pasid: NO_PASID, access: WRITE })).toBe(0x4010_0000n);
      expect(world.ask(block + 0x1000n, { pasid: NO_PASID, access: WRITE })).toBe(block + 0x1000n);
      expect(world.ask(block + 0x1000n, { pasid: NO_PASID, access: READ })).toBe(null);
      expect(world.ask(block + 0x1000n)).toBe(0x4000_1000n);
    }
  });

  test.each([
    ['30', 30, 0xc000_0000n],
    ['21', 21, 0xfee0_0000n],
  ])('a page of 2^%s bytes with the window in it is cut at both its ends', (_, size, block) => {
    const world = new World();
    const second = world.table();
    mapPage(world, second, block, 0x4000_0000n | SS_RW, { ...SECOND, size });
    pasidEntry(world, context(world, { pasid: 0 }).entry, 2n, { second });
    world.start();
    const { request } = world;
    const ask = (from: number, length: number, access: number): [boolean, number] => {
      const runs = new RunList();
      Object.assign(request, {
        sourceId: SOURCE,
        pasid: NO_PASID,
        access,
        addressType: 0,
        hi: 0,
        lo: from | 0,
      });
      return [world.unit.translateRuns(request, length, runs), runs.bytes];
    };
    const behind = 0xfef0_0000;
    for (let turn = 0; turn < 3; turn += 1) {
      expect(ask(behind, 0x8000, READ)).toEqual([true, 0x8000]);
      expect(world.ask(BigInt(behind), { pasid: NO_PASID })).toBe(0x4000_0000n + BigInt(behind) - block);
      expect(request.sizeLg2).toBe(12);
      expect(ask(0xfeef_f000, 0x8000, READ)).toEqual([false, 0]);
      if (size === 21) continue;
      expect(ask(0xfedf_8000, 0x10000, READ)).toEqual([false, 0x8000]);
      expect(ask(0xfedf_8000, 0x8000, READ)).toEqual([true, 0x8000]);
    }
    expect(new Set(world.faults().map((fault) => fault.reason))).toEqual(new Set([0x87]));
  });

  test.each([
    ['pass-through', 7, (w: World, entry: bigint) => pasidEntry(w, entry, 4n)],
    [
      'a second stage that may be read',
      READ | EXEC,
      (w: World, entry: bigint) => {
        const second = w.table();
        mapPage(w, second, IOVA, IOVA | 1n, SECOND);
        pasidEntry(w, entry, 2n, { second });
      },
    ],
    [
      'a second stage that may be written',
      WRITE,
      (w: World, entry: bigint) => {
        const second = w.table();
        mapPage(w, second, IOVA, IOVA | 2n, SECOND);
        pasidEntry(w, entry, 2n, { second });
      },
    ],
    [
      'a first stage without execution',
      READ | WRITE,
      (w: World, entry: bigint) => {
        const first = w.table();
        mapPage(w, first, IOVA, IOVA | FS_LEAF | (1n << 63n));
        pasidEntry(w, entry, 1n, { first });
      },
    ],
  ])('a translation request is told what %s permits, cached or not', (_, permitted, build) => {
    const world = new World();
    build(world, context(world).entry);
    world.start();
    for (let turn = 0; turn < 3; turn += 1) {
      world.ask(IOVA, { at: 1, access: READ | WRITE | EXEC });
      expect(world.request.permitted).toBe(permitted);
    }
  });

  test.each([
    [1n, 3],
    [2n, 4],
    [3n, 5],
  ])(
    'a legacy context of AW %i has tables of %i levels, and its translations have its domain',
    (aw, levels) => {
      const world = new World();
      const contexts = world.table();
      world.put(world.root + 16n, contexts | 1n);
      const dids = [1n, 0x8000n, 0xffffn];
      for (const [index, did] of dids.entries()) {
        const root = world.table();
        const page = HPA + (BigInt(index) << 12n);
        mapPage(world, root, 0x3_4567_8000n, page | SS_RW, { ...SECOND, levels });
        world.put(contexts + BigInt(index) * 16n, root | 1n);
        world.put(contexts + BigInt(index) * 16n + 8n, aw | (did << 8n));
      }
      world.start(0);
      for (let turn = 0; turn < 2; turn += 1) {
        for (const index of dids.keys()) {
          const hpa = world.ask(0x3_4567_8000n, { source: SOURCE + index, pasid: NO_PASID });
          expect(hpa).toBe(HPA + (BigInt(index) << 12n));
        }
      }
      expect([...world.unit.cachedTranslations()].map(({ did }) => BigInt(did)).toSorted()).toEqual(dids);
    },
  );

  test('tables may lie across a multiple of 4 GiB', () => {
    const world = new World();
    const [across] = world.memory.window(new FakeBacking(1), 0xffff_f000n, 0x2000n)!;
    expect(across!.hpa & 0xffff_ffffn).toBe(0xffff_f000n);
    const entries = [0x1f, 0x8000].map((pasid) => context(world, { pasid }));
    // The directory, of which the second page begins behind the border, and both PASID tables as they are.
    world.put(entries[0]!.context, across!.hpa | ALL_FLAGS | 1n);
    for (const { directory } of entries) {
      const at = across!.hpa + (directory & 0x1fffn);
      world.put(at, world.get(directory));
    }
    for (const [index, { entry }] of entries.entries()) {
      const first = world.table();
      mapPage(world, first, IOVA, (HPA + (BigInt(index) << 12n)) | FS_LEAF);
      pasidEntry(world, entry, 1n, { first });
    }
    world.start();
    expect([0x1f, 0x8000].map((pasid) => world.ask(IOVA, { pasid }))).toEqual([HPA, HPA + 0x1000n]);
  });

  test('each PASID asks its own owner', () => {
    const world = new World();
    for (const pasid of [PASID, 4, 5]) {
      owned(world, pasid, { hpaHi: pasid });
    }
    world.start();
    for (let turn = 0; turn < 2; turn += 1) {
      for (const pasid of [PASID, 4, 5]) {
        expect(world.ask(IOVA, { pasid })).toBe((BigInt(pasid) << 32n) | (IOVA & 0xffff_ffffn));
      }
    }
  });

  test('FPD of what is cached silences faults as FPD of what is read', () => {
    const world = new World();
    const devices = [SOURCE, SOURCE + 1, SOURCE + 2];
    for (const [index, source] of devices.entries()) {
      const first = world.table();
      mapPage(world, first, IOVA, HPA | FS_LEAF);
      const space = context(world, { source, flags: ALL_FLAGS | (index === 1 ? 2n : 0n) });
      pasidEntry(world, space.entry, 1n, { first, did: BigInt(index + 1), flags: index === 2 ? 2n : 0n });
    }
    world.start();
    for (let turn = 0; turn < 3; turn += 1) {
      for (const source of devices) {
        expect(world.ask(IOVA, { source })).toBe(HPA);
        expect(world.ask(IOVA + 0x1000n, { source })).toBe(null);
      }
      expect(world.faults().map(({ source }) => source)).toEqual([SOURCE]);
    }
  });

  test('pass-through caches nothing', () => {
    const world = new World();
    pasidEntry(world, context(world).entry, 4n);
    world.start();
    expect(world.ask(IOVA)).toBe(IOVA);
    expect(world.unit.statistics.iotlbEntries).toBe(0);
  });

  test('what a context entry says of a device is remembered for that device', () => {
    const world = new World();
    const devices = [
      { source: SOURCE, flags: ALL_FLAGS, q1: 1n << 20n },
      { source: SOURCE + 1, flags: ALL_FLAGS & ~4n, q1: 0n },
    ];
    const first = world.table();
    mapPage(world, first, IOVA, HPA | (FS_LEAF & ~4n));
    for (const { source, flags, q1 } of devices) {
      const space = context(world, { source, flags, pasid: 0 });
      world.put(space.context + 8n, q1);
      pasidEntry(world, space.entry, 1n, { first });
    }
    world.start();
    for (let turn = 0; turn < 4; turn += 1) {
      // DTE says who may ask for translations, RID_PRIV whose requests are privileged.
      expect(world.ask(IOVA, { source: SOURCE, pasid: NO_PASID })).toBe(HPA);
      expect(world.ask(IOVA, { source: SOURCE + 1, pasid: NO_PASID })).toBe(null);
      expect(world.ask(IOVA, { source: SOURCE, pasid: NO_PASID, at: 1 })).toBe(HPA);
      expect(world.ask(IOVA, { source: SOURCE + 1, pasid: NO_PASID, at: 1 })).toBe(null);
    }
    expect(new Set(world.faults().map(({ source }) => source))).toEqual(new Set([SOURCE + 1]));
  });

  test('an owner is asked for what the device wants to do', () => {
    const world = new World();
    const asked = owned(world, PASID);
    world.start();
    for (const access of [READ, WRITE, READ | WRITE, EXEC])
      world.ask(IOVA + BigInt(access << 12), { access });
    // Of a translation request, so that the answer says whether it may be written too.
    for (const access of [WRITE, READ | WRITE]) world.ask(IOVA, { access, at: 1 });
    expect(asked).toEqual([READ, WRITE, READ | WRITE, EXEC, WRITE, READ]);
  });

  test.each([
    [16, 16],
    [21, 21],
    [17, 16],
    [40, 30],
  ])('an owner that answers for 2^%i bytes is asked once for 2^%i', (sizeLg2, known) => {
    const world = new World();
    const asked = owned(world, PASID, { sizeLg2 });
    world.start();
    const base = 0x12_4000_0000n;
    const size = 1n << BigInt(known);
    for (const at of [0x5000n, 0n, size - 1n, size - 0x1000n]) expect(world.ask(base + at)).toBe(base + at);
    expect(asked).toHaveLength(1);
    expect(world.ask(base + size)).toBe(base + size);
    expect(asked).toHaveLength(2);
  });

  test('switched off and on again, a unit answers as its tables say, whoever asked last', () => {
    const world = new World();
    for (const pasid of [PASID, 4]) {
      const first = world.table();
      mapPage(world, first, IOVA, (HPA + BigInt(pasid) * 0x1000n) | FS_LEAF);
      pasidEntry(world, context(world, { pasid }).entry, 1n, { first });
    }
    world.start();
    for (let turn = 0; turn < 3; turn += 1) {
      expect(world.ask(IOVA)).toBe(HPA + 0x3000n);
      expect(world.ask(IOVA, { pasid: 4 })).toBe(HPA + 0x4000n);
      expect(world.ask(IOVA, { pasid: 4 })).toBe(HPA + 0x4000n);
      world.unit.write32(0x18, 0);
      expect(world.ask(IOVA, { pasid: 4 })).toBe(IOVA);
      world.unit.write32(0x18, 0x8000_0000);
      expect(world.ask(IOVA, { pasid: 4 })).toBe(HPA + 0x4000n);
    }
  });
});
