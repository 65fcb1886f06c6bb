/** Page requests: the entry in the queue, who may make one, a full queue, interrupts (section 7.4). */
import { describe, expect, test } from 'vitest';
import { NO_PASID, type PageRequestMessage } from '../../../src/bus/dma.js';
import { FS_LEAF, SECOND, SS_RW, context, mapPage, pasidEntry } from './structures.js';
import { SOURCE, World } from './world.js';

const message: PageRequestMessage = {
  sourceId: SOURCE,
  pasid: 3,
  address: 0xffff_8000_1234_5000n,
  access: 1,
  group: 7,
  last: true,
};

function started(flags?: bigint): { world: World; queue: bigint } {
  const world = new World();
  const queue = world.table(13);
  for (const pasid of [3, 0xfffff, 0]) {
    pasidEntry(world, context(world, { pasid, ...(flags === undefined ? {} : { flags }) }).entry, 4n);
  }
  world.unit.write64(0xd0, queue | 1n);
  world.start();
  return { world, queue };
}

test.each([
  ['a read', {}, [0x3_0100_0101n, 0xffff_8000_1234_503dn]],
  ['a write, not the last', { access: 2, last: false, group: 511 }, [0x3_0100_0101n, 0xffff_8000_1234_5ffan]],
  ['privileged execution', { access: 1 | 4 | 8 }, [0x30_0003_0100_0101n, 0xffff_8000_1234_503dn]],
  ['without PASID', { pasid: NO_PASID }, [0x0100_0001n, 0xffff_8000_1234_503dn]],
  ['the largest PASID', { pasid: 0xfffff }, [0xf_ffff_0100_0101n, 0xffff_8000_1234_503dn]],
  ['a stop marker', { access: 0, group: 0 }, [0x3_0100_0101n, 0xffff_8000_1234_5004n]],
] as const)('%s', (_, change, [q0, q1]) => {
  const { world, queue } = started();
  world.unit.pageRequest({ ...message, ...change });
  expect([0n, 8n, 16n, 24n].map((at) => world.get(queue + at))).toEqual([q0, q1, 0n, 0n]);
  expect([world.unit.read32(0xc8), world.unit.read32(0xdc)]).toEqual([32, 1]);
  expect(world.device.told).toEqual([]);
});

describe('who may not', () => {
  test.each([
    ['PRE clear', 0x47, 4n | 8n | (7n << 9n), {}],
    ['PASIDE clear', 0x45, 4n | 16n | (7n << 9n), {}],
    ['a PASID that the directory has not', 0x46, 4n | 8n | 16n, { pasid: 1 << 13 }],
    ['a device without context', 0x41, undefined, { sourceId: 0x101 }],
  ] as const)('%s', (_, reason, flags, change) => {
    const { world } = started(flags);
    const asked = { ...message, ...change };
    world.unit.pageRequest(asked);
    expect(world.unit.read32(0xc8)).toBe(0);
    const fault = world.faults();
    expect(fault.map((record) => [record.reason, record.type, record.source])).toEqual([
      [reason, 1, asked.sourceId],
    ]);
    expect(world.device.told).toEqual(
      asked.sourceId === SOURCE ? [`response pasid ${asked.pasid} group 7 code 1`] : [],
    );
  });

  test.each([
    ['a PASID that it has not been given', 0x59, 4],
    ['a PASID without a table', 0x51, 64],
    ['the PASID that stands for none', 0x48, 0],
  ])('%s', (_, reason, pasid) => {
    const { world } = started();
    world.unit.pageRequest({ ...message, pasid });
    expect([world.unit.read32(0xc8), world.unit.read32(0xdc)]).toEqual([0, 0]);
    expect(world.faults().map((record) => [record.reason, record.pasid])).toEqual([[reason, pasid]]);
    expect(world.device.told).toEqual([`response pasid ${pasid} group 7 code 1`]);
  });

  test('anybody, in legacy mode', () => {
    const { world } = started();
    world.start(0);
    world.unit.pageRequest(message);
    expect(world.faults().map((record) => record.reason)).toEqual([0x32]);
  });
});

describe('what is cached of an address is forgotten when its page is asked for (Table 27)', () => {
  const [here, there] = [0x12_3456_7000n, 0x12_3456_8000n];
  const pages = [0x9_8765_4000n, 0x9_8765_5000n] as const;
  const GUEST = 0x5_0000_0000n;

  /** Two pages, and a first stage that is its own guest-physical memory. */
  function mapped(pgtt: bigint): { world: World; ask: (iova: bigint) => bigint | null } {
    const { world } = started();
    const [first, second] = [world.table(), world.table()];
    const isNested = pgtt === 3n;
    for (const [index, iova] of [here, there].entries()) {
      const page = pages[index]!;
      if (pgtt === 2n) mapPage(world, second, iova, page | SS_RW, SECOND);
      else mapPage(world, first, iova, (isNested ? GUEST + BigInt(index) * 0x1000n : page) | FS_LEAF);
      if (isNested) mapPage(world, second, GUEST + BigInt(index) * 0x1000n, page | SS_RW, SECOND);
    }
    if (isNested) mapPage(world, second, 0n, SS_RW, { ...SECOND, size: 30 });
    pasidEntry(world, context(world).entry, pgtt, {
      first: pgtt === 2n ? 0n : first,
      second: pgtt === 1n ? 0n : second,
    });
    return { world, ask: (iova) => world.ask(iova) };
  }

  test.each([
    ['first stage', 1n, 1],
    ['second stage', 2n, 1],
    ['nested: of the whole domain', 3n, 0],
  ])('%s', (_, pgtt, left) => {
    const { world, ask } = mapped(pgtt);
    expect([ask(here), ask(there)]).toEqual([...pages]);
    expect(world.unit.statistics.iotlbEntries).toBe(2);
    world.unit.pageRequest({ ...message, address: here });
    expect(world.unit.statistics.iotlbEntries).toBe(left);
    // What could not be queued has changed nothing.
    expect([ask(here), ask(there)]).toEqual([...pages]);
    world.unit.write64(0xd0, 0x40_0000_0000n);
    world.unit.pageRequest({ ...message, address: here });
    expect(world.unit.statistics.iotlbEntries).toBe(2);
  });
});

test('a full queue: every entry but one is used, then software is told and the device answered', () => {
  const { world } = started();
  for (let i = 0; i < 255; i += 1) world.unit.pageRequest(message);
  expect([world.unit.read32(0xdc), world.unit.read32(0xc8)]).toEqual([1, 255 * 32]);
  world.unit.pageRequest({ ...message, last: false });
  expect([world.unit.read32(0xdc), world.device.told]).toEqual([3, []]);
  world.unit.pageRequest(message);
  expect(world.device.told).toEqual(['response pasid 3 group 7 code 0']);
  // There is room again, but the overflow has to be seen first.
  world.unit.write64(0xc0, 64n);
  world.unit.pageRequest(message);
  expect(world.unit.read32(0xc8)).toBe(255 * 32);
  world.unit.write32(0xdc, 2);
  world.unit.pageRequest(message);
  world.unit.pageRequest(message);
  expect([world.unit.read32(0xdc), world.unit.read32(0xc8)]).toEqual([1, 32]);
  expect(world.unit.statistics.pageRequestsOverflowed).toBe(3);
});

test('a queue that is nowhere is full', () => {
  const { world } = started();
  world.unit.write64(0xd0, 0x40_0000_0000n);
  world.unit.pageRequest(message);
  expect([world.unit.read32(0xdc), world.unit.read32(0xc8)]).toEqual([2, 0]);
  expect(world.device.told).toEqual(['response pasid 3 group 7 code 0']);
});

test('one interrupt until software has cleared what is pending', () => {
  const { world } = started();
  world.unit.write32(0xe4, 0x42);
  world.unit.write32(0xe8, 0xfee0_0000);
  world.unit.pageRequest(message);
  expect(world.unit.read32(0xe0)).toBe(0xc000_0000);
  world.unit.write32(0xe0, 0);
  world.unit.pageRequest(message);
  expect(world.messages).toEqual([[0xfee0_0000, 0x42]]);
  world.unit.write32(0xdc, 1);
  world.unit.pageRequest(message);
  expect(world.messages).toHaveLength(2);
});
