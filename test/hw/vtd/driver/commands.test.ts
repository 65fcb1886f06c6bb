/** Each command of the driver as the descriptor that section 6.5.2 has for it, field by field. */
import { beforeEach, describe, expect, test } from 'vitest';
import { Bench } from './bench.js';
import { CAP } from './fake.js';
import type { Commands } from '../../../../src/hw/vtd/driver/commands.js';

const DWD = 1n << 54n;
const DRD = 1n << 55n;
const PSI = 1n << 39n;
const MAMV = 0x3fn << 48n;
/** All pages: 2^52 of them. */
const ALL = 52;

type DescriptorOf = (command: (commands: Commands) => void) => string;

/** For a unit: the only descriptor of a command, as `qw0 qw1`. */
function speaker(cap = CAP): DescriptorOf {
  const { unit, hardware } = new Bench({ cap });
  return (command) => {
    command(unit.commands);
    unit.queue.sync();
    const taken = hardware.take();
    expect(taken).toHaveLength(1);
    return hex(taken[0]!.qw0, taken[0]!.qw1);
  };
}

let descriptorOf: DescriptorOf;
beforeEach(() => {
  descriptorOf = speaker();
});

const hex = (qw0: bigint, qw1 = 0n): string => `${qw0.toString(16)} ${qw1.toString(16)}`;

/** Every bit of a field alone, none and all of them. */
const valuesOf = (bits: number): number[] => [
  0,
  ...Array.from({ length: bits }, (_, bit) => 2 ** bit),
  2 ** bits - 1,
];

/** Type, G from bit 4, DID from bit 16, and what stands in the high half. */
const word = (type: bigint, g: bigint, did = 0, high = 0): bigint =>
  type | (g << 4n) | (BigInt(did) << 16n) | (BigInt(high) << 32n);

describe('whose caches', () => {
  test('all contexts, all PASIDs, all translations', () => {
    expect(descriptorOf((c) => c.contexts())).toBe(hex(word(1n, 1n)));
    expect(descriptorOf((c) => c.pasidCaches())).toBe(hex(word(7n, 3n)));
    expect(descriptorOf((c) => c.iotlbs())).toBe(hex(word(2n, 1n)));
  });

  test('the context of one requester id', () => {
    for (const source of valuesOf(16)) {
      expect(descriptorOf((c) => c.contextOf(source))).toBe(hex(word(1n, 3n, 0, source)));
    }
  });

  test('the entries and translations of one domain id', () => {
    for (const did of valuesOf(16)) {
      expect(descriptorOf((c) => c.pasidCache(did, 0))).toBe(hex(word(7n, 1n, did)));
      expect(descriptorOf((c) => c.iotlbOf(did))).toBe(hex(word(2n, 2n, did)));
      expect(descriptorOf((c) => c.iotlb(did, 0, 0, 0, false))).toBe(hex(word(2n, 3n, did)));
      expect(descriptorOf((c) => c.pasidIotlb(did, 0, 0, 0, ALL, false))).toBe(hex(word(6n, 2n, did)));
      expect(descriptorOf((c) => c.pasidIotlb(did, 0, 0, 0, 0, false))).toBe(hex(word(6n, 3n, did)));
    }
  });

  test('those of one PASID', () => {
    for (const pasid of valuesOf(20)) {
      expect(descriptorOf((c) => c.pasidCache(0, pasid))).toBe(hex(word(7n, 1n, 0, pasid)));
      expect(descriptorOf((c) => c.pasidIotlb(0, pasid, 0, 0, ALL, false))).toBe(hex(word(6n, 2n, 0, pasid)));
      expect(descriptorOf((c) => c.pasidIotlb(0, pasid, 0, 0, 0, false))).toBe(hex(word(6n, 3n, 0, pasid)));
    }
  });

  test('those of a device, by requester id alone and with a PASID', () => {
    for (const source of valuesOf(16)) {
      expect(descriptorOf((c) => c.deviceTlb(source, 0, 0, 0, 0))).toBe(hex(word(3n, 0n, 0, source)));
      expect(descriptorOf((c) => c.deviceTlb(source, 1, 0, 0, 0))).toBe(hex(word(8n, 0n, source, 1)));
    }
    for (const pasid of valuesOf(20).slice(1)) {
      expect(descriptorOf((c) => c.deviceTlb(0, pasid, 0, 0, 0))).toBe(hex(word(8n, 0n, 0, pasid)));
    }
  });
});

test.each([
  ['neither', 0n, 0n],
  ['writes', DWD, 0x40n],
  ['reads', DRD, 0x80n],
  ['both', DWD | DRD, 0xc0n],
])('a unit that drains %s is told to, with every IOTLB invalidation', (_, drains, bits) => {
  descriptorOf = speaker(CAP | drains);
  expect(descriptorOf((c) => c.iotlbs())).toBe(hex(word(2n, 1n) | bits));
  expect(descriptorOf((c) => c.iotlbOf(7))).toBe(hex(word(2n, 2n, 7) | bits));
  expect(descriptorOf((c) => c.iotlb(7, 0, 0, 0, false))).toBe(hex(word(2n, 3n, 7) | bits));
  expect(descriptorOf((c) => c.iotlb(7, 0, 0, ALL, false))).toBe(hex(word(2n, 2n, 7) | bits));
  // PASID-based ones say so for themselves: these bits are reserved there.
  expect(descriptorOf((c) => c.pasidIotlb(7, 0, 0, 0, 0, false))).toBe(hex(word(6n, 3n, 7)));
});

/** An address with every bit above its block, whose halves differ. */
const addressFor = (order: number): bigint =>
  order >= ALL ? 0n : (0xa5a5_5a5a_c3c3_3c3cn >> BigInt(order + 12)) << BigInt(order + 12);
const halves = (at: bigint): [number, number] => [
  Number(BigInt.asIntN(32, at >> 32n)),
  Number(BigInt.asIntN(32, at)),
];
const orders = Array.from({ length: ALL }, (_, order) => order);

describe('which pages', () => {
  test('of a first stage: up to all of them but one bit, leaves alone or not', () => {
    for (const order of orders) {
      const at = addressFor(order);
      for (const [leafOnly, ih] of [
        [false, 0n],
        [true, 0x40n],
      ] as const) {
        const found = descriptorOf((c) => c.pasidIotlb(5, 9, ...halves(at), order, leafOnly));
        expect(found).toBe(hex(word(6n, 3n, 5, 9), at | ih | BigInt(order)));
      }
    }
  });

  test.each([0, 1, 18, 31, 51])(
    'of a second stage: up to 2^%i by address, all of the domain beyond',
    (mamv) => {
      descriptorOf = speaker((CAP & ~MAMV) | (BigInt(mamv) << 48n));
      for (const order of [...orders, ALL]) {
        const at = addressFor(order);
        for (const [leafOnly, ih] of [
          [false, 0n],
          [true, 0x40n],
        ] as const) {
          const found = descriptorOf((c) => c.iotlb(5, ...halves(at), order, leafOnly));
          const byAddress = hex(word(2n, 3n, 5), at | ih | BigInt(order));
          expect(found).toBe(order <= mamv ? byAddress : hex(word(2n, 2n, 5)));
        }
      }
    },
  );

  test('of a second stage of a unit that takes no addresses: all of the domain', () => {
    descriptorOf = speaker(CAP & ~PSI);
    expect(descriptorOf((c) => c.iotlb(5, 0, 0x1000, 0, false))).toBe(hex(word(2n, 2n, 5)));
  });

  test('of a device: the lowest address bit that is 0 says how many', () => {
    for (const order of [...orders, ALL]) {
      const at = addressFor(order);
      // S, and ones from bit 12 on up to the one that stands for half of the block, which is 0.
      const ones = order === 0 ? 0n : ((1n << BigInt(order - 1)) - 1n) << 12n;
      const alone = descriptorOf((c) => c.deviceTlb(1, 0, ...halves(at), order));
      expect(alone).toBe(hex(word(3n, 0n, 0, 1), at | ones | (order === 0 ? 0n : 1n)));
      const withPasid = descriptorOf((c) => c.deviceTlb(1, 2, ...halves(at), order));
      expect(withPasid).toBe(hex(word(8n, 0n, 1, 2), at | ones | (order === 0 ? 0n : 0x800n)));
    }
  });
});

const response = (source: number, pasid: number, group: number, code: number): string =>
  descriptorOf((c) => c.pageGroupResponse(source, pasid, group, code));

describe('a response to a page request', () => {
  test('has every field in its place', () => {
    for (const source of valuesOf(16)) expect(response(source, -1, 0, 0)).toBe(hex(word(9n, 0n, source)));
    for (const pasid of valuesOf(20)) expect(response(0, pasid, 0, 0)).toBe(hex(word(9n, 1n, 0, pasid)));
    for (const group of valuesOf(9)) {
      expect(response(0, -1, group, 0)).toBe(hex(word(9n, 0n), BigInt(group) << 3n));
    }
    for (const code of valuesOf(4)) {
      expect(response(0, -1, 0, code)).toBe(hex(word(9n, 0n) | (BigInt(code) << 12n)));
    }
  });
});
