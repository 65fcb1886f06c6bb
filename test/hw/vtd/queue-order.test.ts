/** In which order an invalidation queue is served, how large it may be, and where it and what it writes may lie (section 6.5.2). */
import { describe, expect, test } from 'vitest';
import { FakeBacking } from '../../mem/fake-backing.js';
import { QueueWorld, iotlbInvalidate, pasidCacheInvalidate } from './queue-world.js';
import { FakeEndpoint, SOURCE } from './world.js';

const IQE = 0x10;
const ITE = 0x40;
const WAIT = 5n;
const WRITES_STATUS = 0x20n;
const FENCE = 0x40n;
const DW = 0x800n;
/** In 2^7 pages, 16 bytes each. */
const MOST_DESCRIPTORS = 1 << 15;

/** Of one page, in the device's own cache. */
const deviceTlb = (page: bigint): [bigint, bigint] => [3n | (BigInt(SOURCE) << 32n), page << 12n];
const dropped = (page: number): string => `drop pasid -1 0x${(page * 4096).toString(16)} 2^12`;

function started(): QueueWorld {
  const world = new QueueWorld();
  world.start();
  return world;
}

/** Has the device do something more whenever it is told to drop a translation. */
function whenTold({ device }: QueueWorld, then: (count: number) => void): void {
  let count = 0;
  device.invalidateDeviceTlb = (...args) => {
    count += 1;
    const isAnswered = FakeEndpoint.prototype.invalidateDeviceTlb.apply(device, args);
    then(count);
    return isAnswered;
  };
}

describe('a device that moves the tail while it is told', () => {
  test('is told of the rest after that, once, and in order', () => {
    const world = started();
    whenTold(world, (count) => {
      if (count > 3) return;
      world.submit(...deviceTlb(BigInt(count * 2)));
      world.submit(...deviceTlb(BigInt(count * 2 + 1)));
      expect(world.device.told).toHaveLength(count);
    });
    world.submit(...deviceTlb(1n));
    expect(world.device.told).toEqual([1, 2, 3, 4, 5, 6, 7].map(dropped));
    expect(world.head).toBe(world.tail);
  });

  test('and does so for ever is served as much as the largest queue holds, and the rest when the tail moves again', () => {
    const world = started();
    for (let at = 0; at < 4096; at += 32) world.enqueue(...deviceTlb(0n));
    const { descriptors } = world.unit.statistics;
    const moveTail = (): void => world.unit.write32(0x88, (world.head + 64) & 0xfff);
    world.device.invalidateDeviceTlb = () => {
      moveTail();
      return true;
    };
    moveTail();
    expect(descriptors[3]).toBe(MOST_DESCRIPTORS);
    world.device.invalidateDeviceTlb = () => true;
    moveTail();
    expect(descriptors[3]).toBe(MOST_DESCRIPTORS + 2);
  });

  test('and switches the queue off is told no more', () => {
    const world = started();
    whenTold(world, () => world.unit.write32(0x18, 0x8000_0000));
    world.enqueue(...deviceTlb(1n));
    world.enqueue(...deviceTlb(2n));
    world.submit(...deviceTlb(3n));
    expect(world.device.told).toEqual([dropped(1)]);
    expect(world.head).toBe(0);
  });

  test.each([true, false])('and begins the queue anew finds it empty (answers: %s)', (answers) => {
    const world = started();
    world.device.invalidateDeviceTlb = (...args) => {
      FakeEndpoint.prototype.invalidateDeviceTlb.apply(world.device, args);
      world.unit.write32(0x18, 0x8000_0000);
      world.unit.write64(0x88, 0n);
      world.unit.write32(0x18, 0x8400_0000);
      return answers;
    };
    world.enqueue(...deviceTlb(1n));
    world.enqueue(...deviceTlb(2n));
    world.submit(...deviceTlb(3n));
    expect(world.device.told).toEqual([dropped(1)]);
    expect([world.head, world.status & IQE]).toEqual([0, 0]);
    // Who did not answer before has nothing to do with what is waited for now.
    const { descriptors } = world.unit.statistics;
    const waits = descriptors[5]!;
    world.tail = 0;
    world.submit(WAIT | FENCE);
    expect([world.status, descriptors[5]! - waits]).toEqual([0, 1]);
  });
});

function fillWithFences(world: QueueWorld, queue: bigint, size: number): void {
  const words = new BigUint64Array(size / 8);
  for (let at = 0; at < words.length; at += world.step / 8) words[at] = WAIT | FENCE;
  world.memory.write(queue, new Uint8Array(words.buffer));
}

describe.each([
  ['128', false, 16],
  ['256', true, 32],
])('a queue of %s bits', (_, is256, step) => {
  test.each([0, 1, 2, 3, 4, 5, 6, 7])('of 2^%i pages is done to its end, and wraps there', (qs) => {
    const world = new QueueWorld({}, is256);
    const size = 4096 << qs;
    const queue = world.table(12 + qs);
    fillWithFences(world, queue, size);
    world.unit.write64(0x90, queue | (is256 ? DW : 0n) | BigInt(qs));
    world.start(is256 ? 1 : 0);
    const { descriptors } = world.unit.statistics;
    world.unit.write32(0x88, size - step);
    expect([world.status & IQE, world.head, descriptors[5]]).toEqual([0, size - step, size / step - 1]);
    world.unit.write32(0x88, step);
    expect([world.status & IQE, world.head, descriptors[5]]).toEqual([0, step, size / step + 1]);
    if (qs === 7) return;
    world.unit.write32(0x88, size);
    expect([world.status & IQE, world.unit.read32(0xb0)]).toEqual([IQE, 1]);
  });

  test('that is made smaller behind its head stops', () => {
    const world = new QueueWorld({}, is256);
    const queue = world.table(13);
    world.unit.write64(0x90, queue | (is256 ? DW : 0n) | 1n);
    world.start(is256 ? 1 : 0);
    fillWithFences(world, queue, 0x2000);
    world.unit.write32(0x88, 0x1000);
    expect([world.status & IQE, world.head]).toEqual([0, 0x1000]);
    world.unit.write64(0x90, queue | (is256 ? DW : 0n));
    world.unit.write32(0x88, 0);
    expect([world.status & IQE, world.unit.read32(0xb0), world.head]).toEqual([IQE, 1, 0x1000]);
  });
});

test('a tail between descriptors stops the queue, wherever it lies', () => {
  for (const tail of [0x10, 0x30, 0xff0]) {
    const world = started();
    world.unit.write32(0x88, tail);
    expect([world.status & IQE, world.unit.read32(0xb0)]).toEqual([IQE, 6]);
  }
});

/** Client memory lies beyond 1 TiB of physical memory: every half of an address counts. */
class ClientQueue extends QueueWorld {
  readonly window = this.memory.window(new FakeBacking(1), 0n, 0x10_0000n)![0]!.hpa;
  override queue = this.window + 0x5_3000n;

  constructor() {
    super();
    this.moveQueue(this.queue);
    this.start();
  }
}

test('queue and status words may lie anywhere in physical memory', () => {
  const world = new ClientQueue();
  const status = world.window + 0xa_c000n;
  world.submit(WAIT | WRITES_STATUS | (0x1234_5678n << 32n), status + 0xff8n);
  expect(world.status & IQE).toBe(0);
  expect(world.get(status + 0xff8n)).toBe(0x1234_5678n);
});

test('a status write changes four bytes, whatever stands around them', () => {
  const world = started();
  const status = world.table();
  const words = [0x1111_1111n, 0x2222_2222n, 0x3333_3333n, 0x4444_4444n, 0x5555_5555n, 0x6666_6666n];
  const expectWords = (): void => {
    for (let at = 0; at < words.length; at += 2) {
      expect(world.get(status + BigInt(at * 4))).toBe(words[at]! | (words[at + 1]! << 32n));
    }
  };
  for (let at = 0; at < words.length; at += 2) {
    world.put(status + BigInt(at * 4), words[at]! | (words[at + 1]! << 32n));
  }
  for (const [index, value] of [0x8765_4321n, 0xffff_ffffn, 0n, 1n, 0x8000_0000n, 0x7fff_fffen].entries()) {
    words[index] = value;
    world.submit(WAIT | WRITES_STATUS | (value << 32n), status + BigInt(index * 4));
    expectWords();
  }
});

test('what was not answered is forgotten when the queue is switched off and on', () => {
  const world = started();
  world.device.answers = false;
  world.submit(...deviceTlb(0n));
  world.unit.write32(0x18, 0x8000_0000);
  world.tail = 0;
  world.unit.write32(0x88, 0);
  world.unit.write32(0x18, 0x8400_0000);
  world.submit(WAIT | FENCE);
  expect([world.status & ITE, world.head]).toEqual([0, 32]);
});

test('of several devices that did not answer the last one is named, and then none', () => {
  const world = started();
  for (const source of [0xffffn, 0n, 0x8001n]) world.submit(3n | (source << 32n), 0n);
  world.submit(WAIT | FENCE);
  expect([world.status & ITE, world.unit.read32(0xb4)]).toEqual([ITE, 0x8001]);
  world.unit.write32(0x34, ITE);
  world.submit(WAIT | FENCE);
  expect([world.status & ITE, world.head]).toEqual([0, world.tail]);
});

test('each type is counted as its own, when it was done', () => {
  const world = started();
  const { descriptors } = world.unit.statistics;
  world.submit(iotlbInvalidate(1n));
  world.submit(pasidCacheInvalidate(3n));
  world.submit(pasidCacheInvalidate(3n));
  world.submit(iotlbInvalidate(0n));
  expect([...descriptors]).toEqual([0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
});
