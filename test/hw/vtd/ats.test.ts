/** Translated requests, and requests of devices while translation is off (sections 4.2.1 and 4.2.5). */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { ALL_FLAGS, SECOND, SS_RW, context, mapPage, pasidEntry } from './structures.js';
import { SOURCE, WRITE, World } from './world.js';

const IOVA = 0x12_3456_7000n;
const HPA = 0x9_8765_4000n;
const TRANSLATION_REQUEST = 1;
const TRANSLATED = 2;
const translated = { at: TRANSLATED, pasid: NO_PASID };

function mapped(flags = ALL_FLAGS): World {
  const world = new World();
  const second = world.table();
  mapPage(world, second, IOVA, HPA | SS_RW, SECOND);
  pasidEntry(world, context(world, { flags }).entry, 2n, { second });
  return world;
}

describe('a translated request', () => {
  test('is its own answer; the context entry decides, whatever the PASID entries are', () => {
    const world = mapped();
    world.start();
    expect(world.ask(HPA, translated)).toBe(HPA);
    // RID_PASID is 0, which has no entry.
    expect(world.ask(IOVA, { pasid: NO_PASID })).toBe(null);
    expect(world.faults().map(({ reason }) => reason)).toEqual([0x59]);
    world.put(context(world).directory, 0n);
    expect(world.ask(HPA, { ...translated, access: WRITE })).toBe(HPA);
    expect(world.faults()).toEqual([]);
  });

  test('with a PASID is an error of the device, which is not recorded', () => {
    const world = mapped();
    world.start();
    expect(world.ask(HPA, { at: TRANSLATED })).toBe(null);
    expect([world.request.permitted, world.request.recoverable, world.faults()]).toEqual([0, false, []]);
  });

  test.each([
    ['no context entry', { ...translated, source: SOURCE + 1 }, HPA, 0x41],
    ['an address beyond HAW', translated, 1n << 48n, 0x83],
    ['the interrupt window', translated, 0xfee0_0000n, 0x87],
  ])('is refused: %s', (_, ask, address, reason) => {
    const world = mapped();
    world.start();
    for (let turn = 0; turn < 2; turn += 1) {
      expect(world.ask(address, ask)).toBe(null);
      expect(world.faults().map((fault) => [fault.reason, fault.at, fault.address])).toEqual([
        [reason, TRANSLATED, address & 0x1_ff_ffff_ffff_f000n],
      ]);
    }
  });

  test('is refused where DTE is clear', () => {
    const world = mapped(8n);
    world.start();
    expect(world.ask(HPA, translated)).toBe(null);
    expect(world.faults().map(({ reason }) => reason)).toEqual([0x44]);
  });
});

test('while translation is off nobody is told an answer that he could keep', () => {
  const world = mapped();
  expect(world.ask(IOVA)).toBe(IOVA);
  for (const at of [TRANSLATION_REQUEST, TRANSLATED]) {
    expect(world.ask(IOVA, { at, pasid: NO_PASID })).toBe(null);
    expect([world.request.permitted, world.request.recoverable]).toEqual([0, false]);
  }
  expect(world.faults()).toEqual([]);
});

test('to switch translation off empties every cache', () => {
  const world = mapped();
  world.start();
  expect(world.ask(IOVA)).toBe(HPA);
  expect(world.unit.statistics.iotlbEntries).toBe(1);
  world.unit.write32(0x18, 0);
  const { iotlbEntries, pagingEntries, pasidEntries } = world.unit.statistics;
  expect([iotlbEntries, pagingEntries, pasidEntries]).toEqual([0, 0, 0]);
});

test('a fault record has no address bits above the longest second stage', () => {
  for (const [sagaw, bits] of [
    [0b0010n, 39n],
    [0b0110n, 48n],
    [0b1110n, 57n],
  ] as const) {
    const world = new World({ cap: 0x6n | (sagaw << 8n) | (56n << 16n) | (0x22n << 24n) });
    world.start();
    const address = 0xffff_ffff_ffff_f000n;
    expect(world.ask(address)).toBe(null);
    expect(world.faults().map((fault) => fault.address)).toEqual([BigInt.asUintN(Number(bits), address)]);
  }
});
