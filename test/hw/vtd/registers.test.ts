/** The register table, bit by bit (section 11.4), and fault records and interrupts as software sees them. */
import { describe, expect, test } from 'vitest';
import { NO_PASID } from '../../../src/bus/dma.js';
import { CAP, ECAP, World } from './world.js';

/** Offset, width, writable bits, bits cleared by writing 1; the rest is read-only. As the specification lists them. */
const table: Record<
  number,
  { name: string; width: 32 | 64; writable?: bigint; clear?: bigint; reset?: bigint }
> = {
  0x00: { name: 'VER', width: 32, reset: 0x60n },
  0x08: { name: 'CAP', width: 64, reset: CAP },
  0x10: { name: 'ECAP', width: 64, reset: ECAP },
  0x18: { name: 'GCMD', width: 32 },
  0x1c: { name: 'GSTS', width: 32 },
  0x20: { name: 'RTADDR', width: 64, writable: 0xffff_ffff_ffff_fc00n },
  0x34: { name: 'FSTS', width: 32, clear: 0x71n },
  0x38: { name: 'FECTL', width: 32, writable: 0x8000_0000n, reset: 0x8000_0000n },
  0x3c: { name: 'FEDATA', width: 32, writable: 0xffff_ffffn },
  0x40: { name: 'FEADDR', width: 32, writable: 0xffff_fffcn },
  0x44: { name: 'FEUADDR', width: 32, writable: 0xffff_ffffn },
  0x80: { name: 'IQH', width: 64 },
  0x88: { name: 'IQT', width: 64, writable: 0x7fff0n },
  0x90: { name: 'IQA', width: 64, writable: 0xffff_ffff_ffff_f807n },
  0x9c: { name: 'ICS', width: 32, clear: 1n },
  0xa0: { name: 'IECTL', width: 32, writable: 0x8000_0000n, reset: 0x8000_0000n },
  0xa4: { name: 'IEDATA', width: 32, writable: 0xffff_ffffn },
  0xa8: { name: 'IEADDR', width: 32, writable: 0xffff_fffcn },
  0xac: { name: 'IEUADDR', width: 32, writable: 0xffff_ffffn },
  0xb0: { name: 'IQERCD', width: 64 },
  0xc0: { name: 'PQH', width: 64, writable: 0x7ffe0n },
  0xc8: { name: 'PQT', width: 64, writable: 0x7ffe0n },
  0xd0: { name: 'PQA', width: 64, writable: 0xffff_ffff_ffff_f007n },
  0xdc: { name: 'PRS', width: 32, clear: 3n },
  0xe0: { name: 'PECTL', width: 32, writable: 0x8000_0000n, reset: 0x8000_0000n },
  0xe4: { name: 'PEDATA', width: 32, writable: 0xffff_ffffn },
  0xe8: { name: 'PEADDR', width: 32, writable: 0xffff_fffcn },
  0xec: { name: 'PEUADDR', width: 32, writable: 0xffff_ffffn },
};

describe.each(Object.entries(table).map(([at, row]) => ({ offset: Number(at), ...row })))(
  '$name',
  ({ offset, width, writable = 0n, reset = 0n }) => {
    const read = (world: World): bigint =>
      width === 64 ? world.unit.read64(offset) : BigInt(world.unit.read32(offset));

    test('is what it should be after a reset', () => {
      expect(read(new World())).toBe(reset);
    });

    test('takes what is writable, bit by bit, and nothing else', () => {
      const world = new World();
      for (let bit = 0n; bit < BigInt(width); bit += 1n) {
        // GCMD acts; what it shows is another test's.
        if (offset === 0x18) continue;
        const value = 1n << bit;
        if (width === 64) world.unit.write64(offset, value);
        else world.unit.write32(offset, Number(value));
        expect([bit, read(world)]).toEqual([bit, (reset & ~writable) | (value & writable)]);
      }
    });

    test('is the same in two halves', () => {
      if (width === 32 || writable === 0n) return;
      const world = new World();
      world.unit.write32(offset, 0xffff_ffff);
      world.unit.write32(offset + 4, 0xffff_ffff);
      expect(world.unit.read64(offset)).toBe(writable);
      expect(world.unit.read32(offset + 4)).toBe(Number(writable >> 32n));
    });
  },
);

test('what is not in the table reads 0 and takes nothing', () => {
  const world = new World();
  const known = new Set<number>();
  for (const [at, { width }] of Object.entries(table)) {
    known.add(Number(at));
    if (width === 64) known.add(Number(at) + 4);
  }
  for (let offset = 0; offset < 0x1008; offset += 4) {
    if (known.has(offset)) continue;
    world.unit.write32(offset, 0xffff_ffff);
    expect([offset, world.unit.read32(offset)]).toEqual([offset, 0]);
  }
});

test('GCMD: TE and QIE are states, SRTP is done once, the rest is not there', () => {
  const { unit } = new World();
  unit.write32(0x18, 0x7bff_ffff & ~0x0400_0000);
  expect(unit.read32(0x1c)).toBe(0x4000_0000);
  unit.write32(0x18, 0x8000_0000);
  expect(unit.read32(0x1c)).toBe(0xc000_0000);
  unit.write32(0x18, 0x8400_0000);
  expect(unit.read32(0x1c)).toBe(0xc400_0000);
  unit.write32(0x18, 0);
  expect(unit.read32(0x1c)).toBe(0x4000_0000);
});

test('a new root table counts from SRTP on', () => {
  const world = new World();
  world.start();
  expect(world.ask(0n)).toBe(null);
  expect(world.request.reason).toBe(0x39);
  world.unit.write64(0x20, 0x40_0000_0000n | (1n << 10n));
  expect(world.ask(0n)).toBe(null);
  expect(world.request.reason).toBe(0x39);
  world.unit.write32(0x18, 0xc000_0000);
  expect(world.ask(0n)).toBe(null);
  expect(world.request.reason).toBe(0x38);
});

function faulty(): World {
  const world = new World();
  world.start();
  return world;
}

describe('fault records', () => {
  test('are filled in turn, and freed in any order', () => {
    const world = faulty();
    for (let index = 0; index < 8; index += 1) {
      world.ask(BigInt(index) << 12n, { pasid: index });
      expect(world.unit.read32(0x34)).toBe(2);
    }
    const read = world.unit.read64(0x228 + 16 * 5);
    expect(read >> 63n).toBe(1n);
    expect((read >> 40n) & 0xfffffn).toBe(5n);
    // The ninth finds the first still taken.
    world.ask(0x9000n);
    expect(world.unit.read32(0x34)).toBe(3);
    world.unit.write32(0x22c, 0x8000_0000);
    world.ask(0xa000n);
    expect(world.unit.read64(0x220)).toBe(0n);
    expect(world.unit.statistics.faultsLost).toBe(2);
    world.unit.write32(0x34, 1);
    expect(world.unit.read32(0x34)).toBe(2);
    world.ask(0xb000n);
    expect(world.unit.read64(0x220)).toBe(0xb000n);
    world.faults();
    expect(world.unit.read32(0x34)).toBe(0);
  });

  test('FRI is the first one that is pending', () => {
    const world = faulty();
    world.ask(0n);
    world.faults();
    world.ask(0n);
    world.ask(0n);
    expect(world.unit.read32(0x34)).toBe(0x102);
  });

  test.each([
    ['a read', 1, 3, { type: 2, bits: 1n << 31n }],
    ['a write', 2, 3, { type: 0, bits: 1n << 31n }],
    ['an atomic', 3, 3, { type: 3, bits: (1n << 31n) | (1n << 28n) }],
    ['an execution', 4, 3, { type: 2, bits: (1n << 31n) | (1n << 30n) }],
    ['privileged', 1 | 8, 3, { type: 2, bits: (1n << 31n) | (1n << 29n) }],
    ['without PASID', 1, NO_PASID, { type: 2, bits: 0n }],
  ] as const)('%s', (_, access, pasid, { type, bits }) => {
    const world = faulty();
    world.ask(0xdead_bee0_0fffn, { access, pasid });
    expect(world.unit.read64(0x228) & 0xf000_0000n).toBe(bits);
    expect(world.faults()).toEqual([
      { reason: 0x39, source: 0x100, pasid, address: 0xdead_bee0_0000n, type, at: 0 },
    ]);
  });

  test('an interrupt, pending while masked, gone when everything was cleared', () => {
    const world = faulty();
    world.unit.write32(0x40, 0xfee0_0000);
    world.unit.write32(0x44, 0x12);
    world.unit.write32(0x3c, 0x99);
    world.ask(0n);
    expect(world.unit.read32(0x38)).toBe(0xc000_0000);
    world.faults();
    expect(world.unit.read32(0x38)).toBe(0x8000_0000);
    world.ask(0n);
    world.unit.write32(0x38, 0);
    expect(world.unit.read32(0x38)).toBe(0);
    expect(world.messages).toEqual([[0x12_fee0_0000, 0x99]]);
    world.ask(0n);
    expect(world.messages).toHaveLength(1);
    world.faults();
    world.ask(0n);
    expect(world.messages).toHaveLength(2);
  });
});
