/** The invalidation queue itself: descriptors that are wrong, waits, device TLBs, responses (sections 6.5.2, 11.4.9). */
import { describe, expect, test } from 'vitest';
import {
  QueueWorld,
  contextInvalidate,
  iotlbInvalidate,
  pasidCacheInvalidate,
  pasidIotlbInvalidate,
} from './queue-world.js';
import { ECAP, SOURCE, lo32 } from './world.js';

const IQE = 0x10;
const ITE = 0x40;
/** ECAP.DIT: device-TLB invalidations name a physical function; PDS: a wait may drain page requests. */
const DIT = 1n << 41n;
const PDS = 1n << 42n;

interface Layout {
  readonly name: string;
  readonly type: bigint;
  readonly valid: bigint;
  readonly allowed: readonly bigint[];
  readonly ecap?: bigint;
}

/** Everything that a descriptor of each type can carry, for 256-bit mode: a walk over the other bits must stop the queue. */
const layouts: readonly Layout[] = [
  {
    name: 'context cache',
    type: 1n,
    valid: contextInvalidate(1n, { did: 0n, source: 0 }),
    allowed: [0x3_ffff_ffff_003fn, 0n],
  },
  { name: 'IOTLB', type: 2n, valid: iotlbInvalidate(1n, 0n), allowed: [0xffff_00ffn, ~0xf80n] },
  {
    name: 'device TLB',
    type: 3n,
    valid: 3n | (BigInt(SOURCE) << 32n),
    allowed: [0xffff_001f_000fn, ~0xffen],
  },
  { name: 'interrupt entry cache', type: 4n, valid: 4n, allowed: [0xffff_f800_001fn, 0n] },
  { name: 'wait', type: 5n, valid: 5n | 0x40n, allowed: [0xffff_ffff_0000_007fn, ~3n] },
  {
    name: 'wait of a unit that drains page requests',
    type: 5n,
    valid: 5n | 0x40n,
    allowed: [0xffff_ffff_0000_00ffn, ~3n],
    ecap: ECAP | PDS,
  },
  {
    name: 'PASID IOTLB',
    type: 6n,
    valid: pasidIotlbInvalidate(2n, { did: 0n, pasid: 0 }),
    allowed: [0xf_ffff_ffff_003fn, ~0xf80n],
  },
  {
    name: 'PASID cache',
    type: 7n,
    valid: pasidCacheInvalidate(3n, { did: 0n, pasid: 0 }),
    allowed: [0xf_ffff_ffff_003fn, 0n],
  },
  {
    name: 'PASID device TLB',
    type: 8n,
    valid: 8n | (BigInt(SOURCE) << 16n),
    allowed: [0xf_ffff_ffff_01ffn, ~0x7fen],
  },
  { name: 'page group response', type: 9n, valid: 9n, allowed: [0xf_ffff_ffff_f01fn, 0xffcn] },
  {
    name: 'device TLB of a function that has others beside it',
    type: 3n,
    valid: 3n | (BigInt(SOURCE) << 32n),
    allowed: [0xfff0_ffff_001f_f00fn, ~0xffen],
    ecap: ECAP | DIT,
  },
  {
    name: 'PASID device TLB of a function that has others beside it',
    type: 8n,
    valid: 8n | (BigInt(SOURCE) << 16n),
    allowed: [~0n, ~0x7fen],
    ecap: ECAP | DIT,
  },
];

/** 128-bit descriptors are those of legacy mode. */
function started(is256 = true, ecap = ECAP): QueueWorld {
  const world = new QueueWorld({ ecap }, is256);
  world.start(is256 ? 1 : 0);
  return world;
}

/** Type, bits 3:0 and 11:9 of the first word. */
const isType = (word: number, bit: bigint): boolean => word === 0 && (bit < 4n || (bit >= 9n && bit < 12n));

describe.each(layouts)('$name', ({ type, valid, allowed, ecap = ECAP }) => {
  /** Whether bit `bit` of 64-bit word `word` may be set. */
  const isAllowed = (word: number, bit: bigint): boolean =>
    ((BigInt.asUintN(64, allowed[word] ?? 0n) >> bit) & 1n) === 1n;

  test('is done, and the head moves on', () => {
    for (const is256 of type > 5n ? [true] : [true, false]) {
      const world = started(is256, ecap);
      world.submit(valid);
      expect(world.status & IQE).toBe(0);
      expect(world.head).toBe(is256 ? 32 : 16);
      expect(world.unit.statistics.descriptors[Number(type)]).toBe(1);
    }
  });

  test('every bit that is not reserved may be set', () => {
    const world = started(true, ecap);
    for (let word = 0; word < 4; word += 1) {
      for (let bit = 0n; bit < 64n; bit += 1n) {
        if (isType(word, bit) || !isAllowed(word, bit)) continue;
        const words = [valid, 0n, 0n, 0n];
        words[word] = words[word]! | (1n << bit);
        // A wait that writes its status needs somewhere to write to.
        if (type === 5n && word === 0 && bit === 5n) words[1] = world.table();
        world.submit(...words);
        expect([word, bit, world.status & IQE, world.head]).toEqual([word, bit, 0, world.tail]);
      }
    }
  });

  test('every reserved bit stops the queue there', () => {
    const world = started(true, ecap);
    for (let word = 0; word < 4; word += 1) {
      for (let bit = 0n; bit < 64n; bit += 1n) {
        if (isType(word, bit) || isAllowed(word, bit)) continue;
        const head = world.head;
        const words = [valid, 0n, 0n, 0n];
        words[word] = words[word]! | (1n << bit);
        world.submit(...words);
        expect([word, bit, world.status & IQE, world.unit.read32(0xb0) & 0xf]).toEqual([word, bit, IQE, 4]);
        expect(world.head).toBe(head);
        // As Linux does: put something harmless there, clear the error.
        world.put(world.queue + BigInt(head), 5n | 0x40n);
        for (let more = 8n; more < 32n; more += 8n) world.put(world.queue + BigInt(head) + more, 0n);
        world.unit.write32(0x34, IQE);
        expect(world.status & IQE).toBe(0);
        expect(world.head).toBe(world.tail);
      }
    }
  });
});

describe('what stops the queue', () => {
  test.each([
    ['type 0', [0n], 3],
    ['type 10', [10n], 3],
    ['type 1 with a bit of its upper half', [contextInvalidate(1n) | (1n << 9n)], 3],
    ['context granularity 0', [contextInvalidate(0n)], 4],
    ['IOTLB granularity 0', [iotlbInvalidate(0n)], 4],
    ['PASID IOTLB granularity 1', [pasidIotlbInvalidate(1n)], 4],
    ['PASID cache granularity 2', [pasidCacheInvalidate(2n)], 4],
    ['AM above MAMV', [iotlbInvalidate(3n), 19n], 4],
    ['a status write to nowhere', [5n | 0x20n, 0x40_0000_0000n], 2],
  ] as const)('%s', (_, words, code) => {
    const world = started();
    world.submit(...words);
    expect(world.status & IQE).toBe(IQE);
    expect(world.unit.read32(0xb0) & 0xf).toBe(code);
    expect(world.head).toBe(0);
    // Nothing is done meanwhile.
    world.submit(iotlbInvalidate(1n));
    expect(world.unit.statistics.descriptors[2]).toBe(0);
  });

  test('a tail that is not on a descriptor', () => {
    const world = started();
    world.unit.write32(0x88, 16);
    expect([world.status & IQE, world.unit.read32(0xb0) & 0xf]).toEqual([IQE, 6]);
  });

  test('a tail beyond the queue', () => {
    const world = started();
    world.unit.write32(0x88, 0x1000);
    expect([world.status & IQE, world.unit.read32(0xb0) & 0xf]).toEqual([IQE, 1]);
  });

  test('a queue that is nowhere', () => {
    const world = started();
    world.unit.write64(0x90, 0x40_0000_0000n | 0x800n);
    world.unit.write32(0x88, 32);
    expect([world.status & IQE, world.unit.read32(0xb0) & 0xf]).toEqual([IQE, 2]);
  });
});

test('it wraps around', () => {
  const world = started();
  for (let i = 0; i < 300; i += 1) {
    world.submit(iotlbInvalidate(1n));
    expect(world.head).toBe(world.tail);
  }
  expect(world.unit.statistics.descriptors[2]).toBe(300);
});

test('nothing is done before QIE, and the head is 0 after it', () => {
  const world = new QueueWorld();
  world.submit(iotlbInvalidate(1n));
  expect(world.unit.statistics.descriptors[2]).toBe(0);
  world.start();
  world.submit(iotlbInvalidate(1n));
  expect(world.unit.statistics.descriptors[2]).toBe(2);
  world.unit.write32(0x18, 0x8000_0000);
  expect(world.unit.read32(0x1c) & 0x0400_0000).toBe(0);
  expect(world.head).toBe(0);
});

describe('wait', () => {
  test('writes its status word and no other', () => {
    const world = started();
    const status = world.table();
    world.submit(5n | 0x20n | (0x1234_5678n << 32n), status + 4n);
    expect(world.get(status)).toBe(0x1234_5678_0000_0000n);
    world.submit(5n | 0x20n | (0x9abc_def0n << 32n), status);
    expect(world.get(status)).toBe(0x1234_5678_9abc_def0n);
  });

  test('interrupts only if it says so', () => {
    const world = started();
    for (const flags of [0x20n, 0x40n, 0x60n]) {
      world.submit(5n | flags, world.table());
      expect([world.status & IQE, world.head, world.unit.read32(0x9c)]).toEqual([0, world.tail, 0]);
    }
  });

  test('interrupts once until IWC is cleared; a mask holds it back', () => {
    const world = started();
    world.unit.write32(0xa4, 0x77);
    world.unit.write32(0xa8, 0xfee0_1000);
    world.unit.write32(0xac, 0);
    world.submit(5n | 0x10n);
    expect(world.unit.read32(0x9c)).toBe(1);
    expect(world.unit.read32(0xa0)).toBe(0xc000_0000);
    world.unit.write32(0xa0, 0);
    expect(world.messages).toEqual([[0xfee0_1000, 0x77]]);
    world.submit(5n | 0x10n);
    expect(world.messages).toHaveLength(1);
    world.unit.write32(0x9c, 1);
    expect(world.unit.read32(0x9c)).toBe(0);
    world.submit(5n | 0x10n);
    expect(world.messages).toHaveLength(2);
  });
});

describe('device TLB', () => {
  test.each([
    ['one page', 0x1234_5000n, '0x12345000 2^12'],
    ['two pages', 0x1234_4000n | 1n, '0x12344000 2^13'],
    ['2 MiB', 0x1220_0000n | 0xf_f000n | 1n, '0x12200000 2^21'],
    ['everything', 0x7fff_ffff_ffff_f001n, '0x0 2^64'],
    ['everything, with no 0 at all', 0xffff_ffff_ffff_f001n, '0x0 2^64'],
  ])('%s', (_, q1, expected) => {
    const world = started();
    world.submit(3n | (BigInt(SOURCE) << 32n), q1);
    expect(world.device.told).toEqual([`drop pasid -1 ${expected}`]);
    const withPasid = started();
    // S is bit 11 there.
    withPasid.submit(8n | (BigInt(SOURCE) << 16n) | (9n << 32n), (q1 & ~1n) | ((q1 & 1n) << 11n));
    expect(withPasid.device.told).toEqual([`drop pasid 9 ${expected}`]);
  });

  test('of every size', () => {
    for (let size = 13n; size <= 63n; size += 1n) {
      const world = started();
      const base = (0xa5a5_5a5a_a5a5_5a5an >> size) << size;
      const ones = ((1n << (size - 1n)) - 1n) & ~0xfffn;
      const expected = `0x${base.toString(16)} 2^${size}`;
      world.submit(3n | (BigInt(SOURCE) << 32n), base | ones | 1n);
      world.submit(8n | (BigInt(SOURCE) << 16n) | (9n << 32n), base | ones | (1n << 11n));
      expect(world.device.told).toEqual([`drop pasid -1 ${expected}`, `drop pasid 9 ${expected}`]);
    }
  });

  test('a device 0 that is not there does not answer either', () => {
    const world = started();
    world.submit(3n, 0n);
    world.submit(5n | 0x20n | (1n << 32n), world.table());
    expect(world.status & ITE).toBe(ITE);
  });

  test('of every PASID, whatever the descriptor names', () => {
    const world = started();
    world.submit(8n | (BigInt(SOURCE) << 16n) | (9n << 32n), 0x1234_5000n | 1n);
    expect(world.device.told).toEqual(['drop pasid -2 0x12345000 2^12']);
  });

  test('a device that does not answer: the next wait fails, and says who', () => {
    const world = started();
    const status = world.table();
    world.device.answers = false;
    world.submit(3n | (BigInt(SOURCE) << 32n), 0n);
    expect(world.status & ITE).toBe(0);
    world.enqueue(5n | 0x20n | (1n << 32n), status);
    world.submit(5n | 0x20n | (2n << 32n), status + 8n);
    expect(world.status & ITE).toBe(ITE);
    expect(world.unit.read32(0xb4) & 0xffff).toBe(SOURCE);
    // It is passed, the one behind it is not.
    expect([world.get(status), world.get(status + 8n), world.head]).toEqual([0n, 0n, 64]);
    world.unit.write32(0x34, ITE);
    expect([world.get(status), world.get(status + 8n), world.head]).toEqual([0n, 2n, 96]);
  });

  test('one that is not there does not answer either', () => {
    const world = started();
    world.enqueue(3n | (0x999n << 32n), 0n);
    world.submit(5n | 0x40n);
    expect([world.status & ITE, world.unit.read32(0xb4) & 0xffff]).toEqual([ITE, 0x999]);
  });
});

test('page group response', () => {
  const world = started();
  world.submit(9n | 0x10n | (1n << 12n) | (BigInt(SOURCE) << 16n) | (7n << 32n), 4n | (5n << 3n));
  world.submit(9n | (BigInt(SOURCE) << 16n), 4n | (511n << 3n));
  expect(world.device.told).toEqual([
    'response pasid 7 group 5 code 1',
    'response pasid -1 group 511 code 0',
  ]);
});

test('errors raise the fault event, once until all are cleared', () => {
  const world = started();
  world.unit.write32(0x3c, 0x55);
  world.unit.write32(0x40, 0xfee0_2000);
  world.unit.write32(0x38, 0);
  world.submit(0n);
  world.ask(0n);
  expect(world.messages).toEqual([[0xfee0_2000, 0x55]]);
  world.faults();
  world.put(world.queue, 5n | 0x40n);
  world.unit.write32(0x34, IQE);
  expect(world.status).toBe(0);
  world.ask(0n);
  expect(world.messages).toHaveLength(2);
  expect(lo32(BigInt(world.status)) & 2).toBe(2);
});
