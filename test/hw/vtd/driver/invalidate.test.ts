/** What is invalidated when translations change: counted, and word for word. */
import { beforeEach, describe, expect, test } from 'vitest';
import { Bench, emptySpace, invalidations, s1Data } from './bench.js';
import { CAP, CM, type Descriptor } from './fake.js';
import { dice } from '../../../dice.js';
import type { VtdDevice } from '../../../../src/hw/vtd/driver/device.js';
import type { NestedDomain, PagingDomain } from '../../../../src/hw/unit.js';
import {
  iommu_hwpt_vtd_s1_invalidate,
  type IommuHwptVtdS1Invalidate,
} from '../../../../src/wire/uapi/iommufd.gen.js';
import { ioasis_hwpt_invalidate_range } from '../../../../src/wire/uapi/ioasis.js';

const RW = 3;
const VTD_S1 = 0;
const RANGE = 0x10a50000;
const MAX = (1n << 64n) - 1n;

let bench: Bench;
let a: VtdDevice;
let b: VtdDevice;
beforeEach(() => {
  bench = new Bench();
  a = bench.device(0x0100);
  b = bench.device(0x0208);
});

const taken = (): string[] =>
  bench.hardware.take().map(({ type, qw0, qw1 }) => `${type} ${qw0.toString(16)} ${qw1.toString(16)}`);

/** `[type, DID, PASID]` of those of the unit, `[type, RID, PASID]` of those of devices; how many of each. */
function counted(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { type, qw0 } of bench.hardware.take()) {
    const who = type === 3 ? (qw0 >> 32n) & 0xffffn : (qw0 >> 16n) & 0xffffn;
    const pasid = type === 6 || type === 8 ? (qw0 >> 32n) & 0xfffffn : 0n;
    const key = `${type} ${who.toString(16)} ${pasid}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

describe('unmap of a first stage', () => {
  let domain: PagingDomain;
  beforeEach(() => {
    domain = bench.unit.allocPaging(a, 0, null);
    a.group.attachPasid(domain, a, 5, { domain });
    domain.map(0x1000n, 0x40000n, 0x4000n, RW);
    bench.hardware.take();
  });

  test('invalidates the block around it, in the unit first and then in the device', () => {
    domain.unmap(0x1000n, 0x1000n);
    // Page-selective, AM 0, IH (no table was freed); S = 0: one page.
    expect(taken()).toEqual(['6 500020036 1040', '8 501000008 1000']);
    domain.unmap(0x2000n, 0x2000n);
    // 0x2000..0x3fff: AM 1; the device's size is one 0 bit at 12: 8 KiB.
    expect(taken()).toEqual(['6 500020036 2041', '8 501000008 2800']);
    domain.unmap(0x4000n, 0x1000n);
    expect(taken()).toEqual(['6 500020036 4040', '8 501000008 4000']);
  });

  test('of a range that is not aligned takes the power of two around it', () => {
    domain.unmap(0x1000n, 0x4000n);
    // 0x1000..0x4fff lies in 0..0x7fff: AM 3; address bits 13:12 are ones and bit 14 is 0.
    expect(taken()).toEqual(['6 500020036 43', '8 501000008 3800']);
  });

  test('of nothing invalidates nothing', () => {
    domain.unmap(0x100000n, 0x1000n);
    expect(taken()).toEqual([]);
  });

  test('that frees a table says that more than leaves have changed', () => {
    // 512 pages that are no large page, since their memory is not aligned: a table of their own.
    domain.map(1n << 21n, 0x1000n, 1n << 21n, RW);
    domain.unmap(1n << 21n, 1n << 21n);
    // AM 9, no IH.
    expect(taken()[0]).toBe('6 500020036 200009');
    domain.map(1n << 21n, 0n, 1n << 21n, RW);
    domain.unmap(1n << 21n, 1n << 21n);
    expect(taken()[0]).toBe('6 500020036 200049');
  });

  test('is made once for each PASID, and in each device that has a cache', () => {
    const c = bench.device(0x0300, { ats: false });
    a.group.attach(domain, { domain });
    b.group.attachPasid(domain, b, 5, { domain });
    c.group.attachPasid(domain, c, 6, { domain });
    domain.unmap(0x1000n, 0x1000n);
    expect(counted()).toEqual({
      '6 2 5': 1,
      '6 2 0': 1,
      '6 2 6': 1,
      '8 100 5': 1,
      '3 100 0': 1,
      '8 208 5': 1,
    });
  });

  test('map invalidates nothing, on a unit that caches what is not there neither', () => {
    domain.map(0x10000n, 0x40000n, 0x1000n, RW);
    expect(taken()).toEqual([]);
    bench = new Bench({ cap: CAP | CM });
    const device = bench.device(1);
    const cached = bench.unit.allocPaging(device, 0, null);
    device.group.attach(cached, { domain: cached });
    bench.hardware.take();
    cached.map(0x10000n, 0x40000n, 0x1000n, RW);
    expect(taken()).toEqual([]);
  });
});

describe('unmap of a second stage', () => {
  let parent: PagingDomain;
  beforeEach(() => {
    parent = bench.parent(a);
  });

  test('is by pages up to MAMV, and by domain beyond', () => {
    a.group.attach(parent, { domain: parent });
    parent.map(0n, 0n, 1n << 32n, RW);
    parent.unmap(0n, 1n << 30n);
    // MAMV is 18: 2^18 pages of 4 KiB are 1 GiB.
    expect(bench.hardware.take()[0]).toMatchObject({ type: 2, qw0: 0x20032n });
    parent.unmap(1n << 30n, 3n << 30n);
    expect(bench.hardware.take()[0]).toMatchObject({ type: 2, qw0: 0x20022n, qw1: 0n });
  });

  test('reaches every first stage on it, and all that devices have cached of these', () => {
    const nested = bench.nested(a, parent);
    a.group.attach(parent, { domain: parent });
    a.group.attachPasid(nested, a, 7, { domain: nested });
    b.group.attach(nested, { domain: nested });
    parent.map(0x1000n, 0n, 0x1000n, RW);
    bench.hardware.take();
    parent.unmap(0x1000n, 0x1000n);
    expect(taken()).toEqual([
      // Its own place: the page; IH since only a leaf went.
      '2 20032 1040',
      '3 10000000003 1000',
      // The first stage's id: the page; its devices: everything.
      '2 30032 1040',
      '8 701000008 7ffffffffffff800',
      '3 20800000003 7ffffffffffff001',
    ]);
  });

  test('map is told to a unit that caches what is not there, first stages on it too', () => {
    bench = new Bench({ cap: CAP | CM });
    const device = bench.device(0x0100);
    const cached = bench.parent(device);
    const nested = bench.nested(device, cached);
    device.group.attach(cached, { domain: cached });
    device.group.attachPasid(nested, device, 1, { domain: nested });
    bench.hardware.take();
    cached.map(0x1000n, 0n, 0x1000n, RW);
    expect(taken()).toEqual(['2 20032 1000', '2 30032 1000']);
  });
});

describe('invalidation by a guest', () => {
  let nested: NestedDomain;
  beforeEach(() => {
    const parent = bench.parent(a);
    nested = bench.nested(a, parent);
    a.group.attachPasid(nested, a, 5, { domain: nested });
    bench.hardware.take();
  });

  const pages = (...entries: Partial<IommuHwptVtdS1Invalidate>[]): number => {
    const array = invalidations(VTD_S1, iommu_hwpt_vtd_s1_invalidate, entries);
    nested.invalidate!(array);
    return array.done;
  };

  test('of pages is one PASID-IOTLB and one device-TLB invalidation, hint and all', () => {
    expect(pages({ addr: 0x8000n, npages: 1n, flags: 1 })).toBe(1);
    expect(taken()).toEqual(['6 500020036 8040', '8 501000008 8000']);
    expect(pages({ addr: 0x8000n, npages: 8n })).toBe(1);
    expect(taken()).toEqual(['6 500020036 8003', '8 501000008 b800']);
  });

  test('of everything is said as such', () => {
    expect(pages({ addr: 0n, npages: MAX })).toBe(1);
    expect(taken()).toEqual(['6 500020026 0', '8 501000008 7ffffffffffff800']);
  });

  test.each([
    // 2^51 pages from 0: up to 2^63-1, the largest block that can be said; one more is everything.
    [0n, 1n << 51n, '6 500020036 33', '8 501000008 3ffffffffffff800'],
    [0n, (1n << 51n) + 1n, '6 500020026 0', '8 501000008 7ffffffffffff800'],
    // No pages: Linux takes the block around the page and the byte before it.
    [0x1000n, 0n, '6 500020036 1', '8 501000008 800'],
    [0n, 0n, '6 500020026 0', '8 501000008 7ffffffffffff800'],
    // The last page there is; and one over the end, which wraps.
    [MAX - 0xfffn, 1n, '6 500020036 fffffffffffff000', '8 501000008 fffffffffffff000'],
    [MAX - 0xfffn, 2n, '6 500020026 0', '8 501000008 7ffffffffffff800'],
    [0x1_0000_0000n, 1n << 20n, '6 500020036 100000014', '8 501000008 17ffff800'],
  ])('of %i, %i pages, is %s', (addr, npages, unit, device) => {
    pages({ addr, npages });
    expect(taken()).toEqual([unit, device]);
  });

  test('that is not attached anywhere invalidates nothing, and is done', () => {
    a.group.detachPasid(5);
    bench.hardware.take();
    expect(pages({ addr: 0n, npages: 1n })).toBe(1);
    expect(taken()).toEqual([]);
  });

  test('of no entries asks whether the type is known', () => {
    for (const type of [VTD_S1, RANGE]) {
      const array = invalidations(type, iommu_hwpt_vtd_s1_invalidate, []);
      nested.invalidate!(array);
      expect(array.done).toBe(0);
    }
    expect(taken()).toEqual([]);
  });

  test('that names a range in bytes finds every place by itself, and no other', () => {
    const other = bench.nested(a, bench.parent(a));
    a.group.attachPasid(nested, a, 6, { domain: nested });
    b.group.attachPasid(nested, b, 5, { domain: nested });
    a.group.attachPasid(other, a, 9, { domain: other });
    bench.hardware.take();
    const range = (start: bigint, last: bigint): number => {
      const array = invalidations(RANGE, ioasis_hwpt_invalidate_range, [{ start, last }]);
      nested.invalidate!(array);
      return array.done;
    };
    expect(range(0x8010n, 0x8fffn)).toBe(1);
    expect(taken()).toEqual([
      '6 500020036 8000',
      '6 600020036 8000',
      '6 500020036 8000',
      '8 501000008 8000',
      '8 601000008 8000',
      '8 502080008 8000',
    ]);
    a.group.detachPasid(6);
    bench.hardware.take();
    range(0n, MAX);
    expect(counted()).toEqual({ '6 2 5': 2, '8 100 5': 1, '8 208 5': 1 });
  });
});

/** The smallest aligned block that has both, as `start order`; null: none below all of them. */
function blockAround(start: bigint, last: bigint): string | null {
  for (let order = 0n; order < 52n; order += 1n) {
    const width = 12n + order;
    if (start >> width === last >> width) return `${((start >> width) << width).toString(16)} ${order}`;
  }
  return null;
}

test('the block of a range is the smallest that has its first and its last byte', () => {
  const next = dice(11);
  const nested = bench.nested(a, bench.parent(a));
  a.group.attachPasid(nested, a, 5, { domain: nested });
  bench.hardware.take();
  const check = (start: bigint, last: bigint): void => {
    nested.invalidate!(invalidations(RANGE, ioasis_hwpt_invalidate_range, [{ start, last }]));
    const [{ qw0, qw1 }] = bench.hardware.take() as [Descriptor];
    const expected = blockAround(start, last);
    // G is 3 for pages, 2 for all of the PASID.
    const found =
      (qw0 & 0x30n) === 0x30n ? `${(qw1 & ~0xfffn).toString(16)} ${qw1 & 0x3fn}` : qw1 === 0n && null;
    expect([start, last, found]).toEqual([start, last, expected]);
  };
  for (let lg2 = 0n; lg2 < 64n; lg2 += 1n) {
    const at = 1n << lg2;
    for (const [start, last] of [
      [at, at],
      [at - 1n, at],
      [at, at + (at - 1n)],
      [0n, at - 1n],
      [MAX - at, MAX],
      [MAX - (at - 1n), MAX],
    ] as const) {
      check(start, last);
    }
  }
  for (let step = 0; step < 500; step += 1) {
    const random = (BigInt(next(2 ** 31)) << 33n) | (BigInt(next(2 ** 31)) << 2n) | BigInt(next(4));
    const start = random >> BigInt(next(64));
    check(start, start | ((1n << BigInt(next(64))) - 1n));
  }
});

test('all of an address space is said from address 0 on, whatever two addresses it was said by', () => {
  // MAMV says that a unit takes any number of pages at once.
  bench = new Bench({ cap: CAP | (0x3fn << 48n) });
  const device = bench.device(0x0100);
  const space = emptySpace();
  const table = bench.unit.allocUserTable(space, s1Data());
  device.group.attachPasid(table, device, 5, { domain: table });
  bench.hardware.take();
  for (const [start, last] of [
    [0n, MAX],
    [MAX >> 1n, (MAX >> 1n) + 1n],
  ] as const) {
    space.onInvalidate!(start, last);
    expect(taken()).toEqual(['2 20032 34', '8 501000008 7ffffffffffff800']);
  }
});

test('a provider that changes its mind invalidates where its space is attached, and only while it is', () => {
  const provider = { name: 'process 17', translate: () => false, onInvalidate: null as unknown as null };
  const space: {
    name: string;
    translate(): boolean;
    onInvalidate: ((start: bigint, last: bigint) => void) | null;
  } = provider;
  const domain = bench.unit.allocProvided(space);
  expect(space.onInvalidate).toBeNull();
  a.group.attachPasid(domain, a, 3, { domain });
  b.group.attach(domain, { domain });
  const [q0, q1, q2] = bench.entry(0x0100, 3);
  // First stage, PWSNP; the root lies between 512 GiB and 1 TiB, where no memory is.
  expect(q0).toBe(0x1n | (2n << 2n) | (1n << 6n));
  expect(q1).toBe(2n | (1n << 23n));
  expect(q2! >> 39n).toBe(1n);
  space.onInvalidate!(0x1000n, 0x1fffn);
  expect(taken()).toEqual(['6 300020036 1000', '6 20036 1000', '8 301000008 1000', '3 20800000003 1000']);
  a.group.detachPasid(3);
  expect(space.onInvalidate).not.toBeNull();
  b.group.detach();
  expect(space.onInvalidate).toBeNull();
  domain.free();
  expect(bench.memory.providers.live).toBe(0);
});

test('tracking of dirty pages is switched in every entry, and what was read clean is invalidated', () => {
  const parent = bench.parent(a, 3);
  const nested = bench.nested(a, parent);
  a.group.attach(parent, { domain: parent });
  a.group.attachPasid(nested, a, 7, { domain: nested });
  parent.map(0x1000n, 0n, 0x2000n, RW);
  bench.hardware.take();
  const tracks = (pasid: number): boolean => (bench.entry(0x0100, pasid)[0]! & 0x200n) !== 0n;
  expect([tracks(0), tracks(7)]).toEqual([false, false]);
  parent.dirtyOps!.setTracking(true);
  expect([tracks(0), tracks(7)]).toEqual([true, true]);
  expect(taken()).toEqual([
    '7 20017 0',
    '2 20022 0',
    '3 10000000003 7ffffffffffff001',
    '7 700030017 0',
    '2 30022 0',
    '8 701000008 7ffffffffffff800',
  ]);
  parent.dirtyOps!.setTracking(true);
  expect(taken()).toEqual([]);

  // A device's write sets bit 9 of the leaf: here by hand, through the walk from the entry's root.
  let table = bench.entry(0x0100, 0)[0]! & ~0xfffn;
  for (let level = 3; level > 0; level -= 1) table = bench.word(table) & 0xf_ffff_ffff_f000n;
  const leaf = bench.word(table + 16n);
  bench.memory.write(table + 16n, new Uint8Array(new BigUint64Array([leaf | 0x200n]).buffer));
  const seen: bigint[] = [];
  parent.dirtyOps!.readAndClear(0n, 0x10000n, true, (at) => seen.push(at));
  expect(taken()).toEqual([]);
  parent.dirtyOps!.readAndClear(0n, 0x10000n, false, (at) => seen.push(at));
  expect(seen).toEqual([0x2000n, 0x2000n]);
  expect(bench.word(table + 16n)).toBe(leaf);
  expect(counted()).toEqual({ '2 2 0': 1, '3 100 0': 1, '2 3 0': 1, '8 100 7': 1 });
  parent.dirtyOps!.readAndClear(0n, 0x10000n, false, (at) => seen.push(at));
  expect(seen.length).toBe(2);
  expect(taken()).toEqual([]);
  parent.dirtyOps!.setTracking(false);
  expect([tracks(0), tracks(7)]).toEqual([false, false]);
});

test('forced snooping changes entries of requester ids in use, and all that come', () => {
  const first = bench.unit.allocPaging(a, 0, null);
  a.group.attach(first, { domain: first });
  a.group.attachPasid(first, a, 1, { domain: first });
  expect(first.enforceCacheCoherency!()).toBe(true);
  const snoops = (pasid: number): boolean => (bench.entry(0x0100, pasid)[1]! & (1n << 24n)) !== 0n;
  expect([snoops(0), snoops(1)]).toEqual([true, false]);
  expect(taken()).toEqual(['7 20017 0', '6 20026 0', '3 10000000003 7ffffffffffff001']);
  expect(first.enforceCacheCoherency!()).toBe(true);
  expect(taken()).toEqual([]);
  a.group.attachPasid(first, a, 2, { domain: first });
  expect(snoops(2)).toBe(true);

  const second = bench.parent(b);
  expect(second.enforceCacheCoherency!()).toBe(true);
  second.map(0x1000n, 0n, 0x1000n, RW);
  b.group.attach(second, { domain: second });
  let table = bench.entry(0x0208, 0)[0]! & ~0xfffn;
  for (let level = 3; level > 0; level -= 1) table = bench.word(table) & 0xf_ffff_ffff_f000n;
  // SNP is bit 11 of the leaf.
  expect(bench.word(table + 8n) & 0xfffn).toBe(0x803n);
});
