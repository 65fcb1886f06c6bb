/** How a unit is started and stopped, what its queue does when something goes wrong, and how large its tables are. */
import { describe, expect, test } from 'vitest';
import { Bug } from '../../../../src/base/errno.js';
import { Bench } from './bench.js';
import { CAP, CM, ECAP, ECAP_DT, ECAP_FSTS, ECAP_SC, ECAP_SSADS, FS5LP } from './fake.js';

const GCMD = 0x18;
const QIE = 0x0400_0000n;
const SRTP = 0x4000_0000n;
const TE = 0x8000_0000n;
const ESRTPS = 1n << 63n;

describe('a unit that is started', () => {
  test('has its queue first, then its root table, then its interrupts, and translates last', () => {
    const { hardware } = new Bench();
    const offsets = hardware.writes.map(([offset]) => offset);
    const commands = hardware.writes.filter(([offset]) => offset === GCMD).map(([, value]) => value);
    expect(commands).toEqual([QIE, QIE | SRTP, QIE | TE]);
    const order = [0x88, 0x90, GCMD, 0x20, 0xe4, 0xe8, 0xec, 0xe0, 0xc0, 0xc8, 0xd0, 0x3c, 0x40, 0x44, 0x38];
    expect(
      order.map((offset) => offsets.indexOf(offset)).every((at, n, all) => n === 0 || at > all[n - 1]!),
    ).toBe(true);
    expect(offsets.at(-1)).toBe(GCMD);
  });

  test('has 256 wide descriptors, 2,048 page requests, and says where messages go', () => {
    const { hardware } = new Bench();
    // DW and QS = 1; size 4: 16 pages.
    expect(hardware.read64(0x90) & 0xfffn).toBe(0x801n);
    expect(hardware.read64(0xd0) & 0xfffn).toBe(4n);
    expect(hardware.read64(0xd0) & 0xffffn & ~0xfffn).toBe(0n);
    expect([0x38, 0x3c, 0x40, 0x44].map((at) => hardware.read32(at))).toEqual([0, 0x31, 0xfee00000, 0]);
    expect([0xe0, 0xe4, 0xe8, 0xec].map((at) => hardware.read32(at))).toEqual([0, 0x32, 0xfee00000, 0]);
    // Scalable mode.
    expect(hardware.read64(0x20) & 0xfffn).toBe(0x400n);
  });

  test('forgets everything that it had cached, unless setting the root table does that', () => {
    const seen = [CAP, CAP | ESRTPS].map((cap) => new Bench({ cap }).hardware.waits);
    expect(seen).toEqual([3, 0]);
  });

  test('has told the faults that were there before', () => {
    const bench = new Bench();
    expect(bench.log).toEqual([]);
  });

  test('and stopped has nothing left', () => {
    const bench = new Bench();
    const device = bench.device(1);
    const domain = bench.unit.allocPaging(device, 0, null);
    device.group.attach(domain, { domain });
    device.group.attachPasid(domain, device, 1000, { domain });
    device.group.detachPasid(1000);
    device.group.detach();
    domain.free();
    bench.unit.remove(device);
    expect(device.group.devices).toEqual([]);
    bench.unit.destroy();
    expect(bench.memory.tables.liveBlocks).toBe(0);
    expect(bench.hardware.read32(0x1c) & 0x8400_0000).toBe(0);
  });

  test('that does not do what it is told is no unit', () => {
    const bench = new Bench();
    bench.hardware.write32 = () => {};
    expect(() => bench.unit.destroy()).not.toThrow();
    bench.hardware.registers.clear();
    const { CAP_AT, ECAP_AT } = { CAP_AT: 0x08, ECAP_AT: 0x10 };
    bench.hardware.registers.set(CAP_AT, Number(CAP & 0xffff_ffffn)).set(CAP_AT + 4, Number(CAP >> 32n));
    bench.hardware.registers.set(ECAP_AT, Number(ECAP & 0xffff_ffffn)).set(ECAP_AT + 4, Number(ECAP >> 32n));
    const { hardware: mmio, memory, events } = bench;
    expect(() => new (bench.unit.constructor as any)({ name: 'dmar1', mmio, memory, events })).toThrow(Bug);
  });
});

describe('the queue', () => {
  test('goes around, with no more than 16 at once', () => {
    const bench = new Bench();
    const device = bench.device(1);
    const before = bench.hardware.waits;
    for (let n = 0; n < 1000; n += 1) bench.unit.commands.pasidIotlb(2, n, 0, n << 12, 0, true);
    bench.unit.queue.sync();
    expect(bench.hardware.waits - before).toBe(Math.ceil(1000 / 16));
    const pasids = bench.hardware.take().map(({ qw0 }) => Number(qw0 >> 32n));
    expect(pasids).toEqual(Array.from({ length: 1000 }, (_, n) => n));
    bench.unit.queue.sync();
    expect(bench.hardware.waits - before).toBe(Math.ceil(1000 / 16));
    bench.unit.remove(device);
  });

  test('passes over a descriptor that the unit does not understand, and says so as Linux does', () => {
    const bench = new Bench();
    bench.hardware.badType = 8;
    bench.unit.commands.pasidCache(2, 1);
    bench.unit.commands.deviceTlb(0x100, 1, 0, 0, 0);
    bench.unit.commands.iotlbOf(2);
    bench.unit.queue.sync();
    expect(bench.hardware.take().map(({ type }) => type)).toEqual([7, 2]);
    expect(bench.log).toEqual([
      'DMAR: VT-d detected Invalidation Queue Error: Reason 0',
      'DMAR: QI HEAD: PASID-based Device-TLB Invalidation qw0 = 0x101000008, qw1 = 0x0',
      'DMAR: QI PRIOR: PASID-cache Invalidation qw0 = 0x100020017, qw1 = 0x0',
      'DMAR: Invalidation Queue Error (IQE) cleared',
    ]);
    expect(bench.hardware.read32(0x34)).toBe(0);
  });

  test('asks once more when a device has not answered', () => {
    const bench = new Bench();
    bench.hardware.timeOutType = 8;
    bench.unit.commands.pasidCache(2, 1);
    bench.unit.commands.deviceTlb(0x100, 1, 0, 0x5000, 0);
    bench.unit.queue.sync();
    expect(bench.hardware.take().map(({ type, qw1 }) => [type, qw1])).toEqual([
      [7, 0n],
      [7, 0n],
      [8, 0x5000n],
    ]);
    expect(bench.log[0]).toBe('DMAR: VT-d detected Invalidation Time-out Error: SID 0');
    expect(bench.log.at(-1)).toBe('DMAR: Invalidation Time-out Error (ITE) cleared');
    // The queue is whole again.
    bench.unit.commands.iotlbOf(2);
    bench.unit.queue.sync();
    expect(bench.hardware.take().length).toBe(1);
  });

  test('that stands still without a word is a bug', () => {
    const bench = new Bench();
    const { write32 } = bench.hardware;
    bench.hardware.write32 = (offset, value) => {
      if (offset !== 0x88) write32.call(bench.hardware, offset, value);
    };
    bench.unit.commands.iotlbOf(2);
    expect(() => bench.unit.queue.sync()).toThrow(Bug);
  });

  test('invalidates device caches in blocks of every size', () => {
    const bench = new Bench();
    for (let order = 0; order <= 52; order += 1) {
      bench.unit.commands.deviceTlb(0x100, 0, 0, 0, order);
      bench.unit.commands.deviceTlb(0x100, 1, 0, 0, order);
      bench.unit.queue.sync();
      const [rid, pasid] = bench.hardware.take();
      // The lowest 0 among bits 12 and up says the size; S is set unless it is one page.
      const ones = order === 0 ? 0n : ((1n << BigInt(order - 1)) - 1n) << 12n;
      expect([rid!.qw1, pasid!.qw1]).toEqual([
        ones | (order === 0 ? 0n : 1n),
        ones | (order === 0 ? 0n : 0x800n),
      ]);
    }
  });

  test('drains reads and writes where the unit can', () => {
    const bench = new Bench({ cap: CAP | (1n << 54n) | (1n << 55n) });
    bench.unit.commands.iotlbOf(9);
    bench.unit.queue.sync();
    expect(bench.hardware.take()[0]!.qw0).toBe((9n << 16n) | 0x22n | 0x40n | 0x80n);
  });

  test('says only whole domains where the unit has no page-selective invalidation', () => {
    const bench = new Bench({ cap: CAP & ~(1n << 39n) });
    bench.unit.commands.iotlb(9, 0, 0x1000, 0, true);
    bench.unit.queue.sync();
    expect(bench.hardware.take()[0]).toMatchObject({ qw0: (9n << 16n) | 0x22n, qw1: 0n });
  });
});

/** AW, FSPM, and how many bits the aperture has. */
function shape(flags: number, sagaw: bigint, mgaw: bigint, more = 0n, ecap = ECAP): unknown[] {
  const cap = (CAP & ~(0x1fn << 8n) & ~(0x3fn << 16n)) | (sagaw << 8n) | ((mgaw - 1n) << 16n) | more;
  const bench = new Bench({ cap, ecap });
  const device = bench.device(1);
  const domain = bench.unit.allocPaging(device, flags, null);
  device.group.attach(domain, { domain });
  const [q0, , q2] = bench.entry(1, 0);
  return [(q0! >> 2n) & 7n, (q2! >> 2n) & 3n, domain.apertureLast.toString(2).length];
}

function sizes(cap: bigint, flags: number): bigint {
  const bench = new Bench({ cap });
  return bench.unit.allocPaging(bench.device(1), flags, null).pgsizeBitmap;
}

describe('the geometry of tables follows the registers', () => {
  // The lower half of what is canonical.
  test.each([
    [4n, 39n, 0n, [2n, 0n, 38]],
    [4n, 48n, 0n, [2n, 0n, 47]],
    [4n, 57n, 0n, [2n, 0n, 47]],
    [12n, 57n, FS5LP, [3n, 1n, 56]],
    [12n, 49n, FS5LP, [3n, 1n, 48]],
    [12n, 48n, FS5LP, [3n, 0n, 47]],
  ])('of a first stage: SAGAW %i, MGAW %i', (sagaw, mgaw, more, expected) => {
    expect(shape(0, sagaw, mgaw, more)).toEqual(expected);
  });

  const secondOnly = ECAP & ~ECAP_FSTS;
  test.each([
    [2n, 31n, [1n, 0n, 31]],
    [2n, 39n, [1n, 0n, 39]],
    [2n, 57n, [1n, 0n, 39]],
    [4n, 39n, [2n, 0n, 39]],
    [4n, 40n, [2n, 0n, 40]],
    [6n, 39n, [2n, 0n, 39]],
    [4n, 48n, [2n, 0n, 48]],
    [8n, 48n, [3n, 0n, 48]],
    [8n, 49n, [3n, 0n, 49]],
    [8n, 57n, [3n, 0n, 57]],
  ])('of a second stage: SAGAW %i, MGAW %i', (sagaw, mgaw, expected) => {
    expect(shape(0, sagaw, mgaw, 0n, secondOnly)).toEqual(expected);
  });

  test('and their pages', () => {
    expect(sizes(CAP, 0)).toBe(0x4020_1000n);
    expect(sizes(CAP & ~(1n << 56n), 0)).toBe(0x20_1000n);
    expect(sizes(CAP, 1)).toBe(0x4020_1000n);
    expect(sizes(CAP & ~(1n << 34n), 1)).toBe(0x4000_1000n);
    expect(sizes(CAP & ~(3n << 34n), 1)).toBe(0x1000n);
  });
});

test.each([
  ['CACHE_COHERENCY', 0n, true],
  ['ENFORCE_CACHE_COHERENCY', ECAP_SC, false],
  ['DIRTY_TRACKING', ECAP_SSADS, false],
  ['PCI_ATS_SUPPORTED', ECAP_DT, false],
] as const)('%s is what the registers say', (cap, without, then) => {
  expect(new Bench().device(1).capable(cap)).toBe(true);
  expect(new Bench({ ecap: ECAP & ~without }).device(1).capable(cap)).toBe(then);
});

test.each([
  [20, 1 << 20],
  [0, 0],
  [1, 2],
])('a device with %i bits of PASID has %i', (pasidBits, most) => {
  expect(new Bench().device(1, { pasidBits }).maxPasids).toBe(most);
  // PSS 3: four bits.
  const narrow = new Bench({ ecap: (ECAP & ~(31n << 35n)) | (3n << 35n) });
  expect(narrow.device(1, { pasidBits }).maxPasids).toBe(Math.min(most, 16));
});

test('what is reserved is what was given, and the window of interrupts', () => {
  const given = { type: 'direct', start: 0n, last: 0xffffn } as const;
  expect(new Bench().device(1, { resvRegions: [given] }).resvRegions).toEqual([
    given,
    { type: 'msi', start: 0xfee0_0000n, last: 0xfeef_ffffn },
  ]);
});

test('a unit that caches what is not there is told of devices too', () => {
  const bench = new Bench({ cap: CAP | CM });
  bench.device(0x1ff);
  expect(bench.hardware.take().map(({ type }) => type)).toEqual([1, 2]);
});
