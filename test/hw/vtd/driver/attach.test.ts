/** The bytes of context and PASID entries after each operation, and the invalidations that go with them. */
import { beforeEach, describe, expect, test } from 'vitest';
import { Bench, emptySpace, s1Data } from './bench.js';
import { CM, CAP, ECAP, ECAP_FSTS, ECAP_SMPWCS, FS5LP } from './fake.js';
import type { VtdDevice } from '../../../../src/hw/vtd/driver/device.js';
import type { PagingDomain } from '../../../../src/hw/unit.js';
import type { VtdNested } from '../../../../src/hw/vtd/driver/nested.js';
import type { SecondStage } from '../../../../src/hw/vtd/driver/second-stage.js';

const RID = 0x0310;
const READ_WRITE = 3;

/** PASID-selective PASID-cache, PASID-selective PASID-IOTLB, domain-selective IOTLB; device TLBs: everything. */
const pasidCache = (did: bigint, pasid: bigint): [number, bigint, bigint] => [
  7,
  (pasid << 32n) | (did << 16n) | 0x17n,
  0n,
];
const pasidIotlb = (did: bigint, pasid: bigint): [number, bigint, bigint] => [
  6,
  (pasid << 32n) | (did << 16n) | 0x26n,
  0n,
];
const iotlb = (did: bigint): [number, bigint, bigint] => [2, (did << 16n) | 0x22n, 0n];
const deviceTlb = (rid: bigint): [number, bigint, bigint] => [3, (rid << 32n) | 3n, 0x7fff_ffff_ffff_f001n];
const pasidDeviceTlb = (rid: bigint, pasid: bigint): [number, bigint, bigint] => [
  8,
  (pasid << 32n) | (rid << 16n) | 8n,
  0x7fff_ffff_ffff_f800n,
];

let bench: Bench;
let device: VtdDevice;
beforeEach(() => {
  bench = new Bench();
  device = bench.device(RID);
});

const taken = (): unknown[] => bench.hardware.take().map(({ type, qw0, qw1 }) => [type, qw0, qw1]);
const did = (pasid: number): bigint => bench.entry(RID, pasid)[1]! & 0xffffn;

describe('a probed device', () => {
  test('has a context entry with DTE, PASIDE, PRE, a directory for 2^20 PASIDs, and RID_PASID 0', () => {
    const [first, ...rest] = bench.context(RID);
    // P, DTE, PASIDE, PRE; PDTS 7: 2^14 directory entries.
    expect(first! & 0xfffn).toBe(0x1n | 0x4n | 0x8n | 0x10n | (7n << 9n));
    expect(rest).toEqual([0n, 0n, 0n]);
    expect(bench.entry(RID, 0)).toEqual([]);
    expect(bench.hardware.take()).toEqual([]);
  });

  test.each([
    [{ ats: false }, 0x1n | 0x8n | (7n << 9n)],
    [{ pri: false }, 0x1n | 0x4n | 0x8n | (7n << 9n)],
    // The smallest directory is a page: 512 entries.
    [{ pasidBits: 0 }, 0x1n | 0x4n | 0x10n | (2n << 9n)],
    [{ pasidBits: 15 }, 0x1n | 0x4n | 0x8n | 0x10n | (2n << 9n)],
    [{ pasidBits: 16 }, 0x1n | 0x4n | 0x8n | 0x10n | (3n << 9n)],
  ])('with %o has a context entry that says so', (config, flags) => {
    bench.device(0x1ff, config);
    expect(bench.context(0x1ff)[0]! & 0xfffn).toBe(flags);
  });

  test('that is removed leaves nothing', () => {
    const before = bench.memory.tables.liveBlocks;
    const other = bench.device(0x0311);
    bench.unit.remove(other);
    expect(bench.context(0x0311)).toEqual([0n, 0n, 0n, 0n]);
    expect(bench.memory.tables.liveBlocks).toBe(before);
    // Device-selective context cache, then the device's own.
    expect(taken()).toEqual([[1, (0x0311n << 32n) | 0x31n, 0n], deviceTlb(0x0311n)]);
  });
});

describe('a first stage', () => {
  let domain: PagingDomain;
  beforeEach(() => {
    domain = bench.unit.allocPaging(device, 0, null);
  });

  test('at the requester id is a first-stage entry with the root, a domain id and PWSNP', () => {
    device.group.attach(domain, { domain });
    const [q0, q1, q2, ...rest] = bench.entry(RID, 0);
    // P, AW 2 (48 bits), PGTT 1.
    expect(q0).toBe(0x1n | (2n << 2n) | (1n << 6n));
    // The first domain id is 2; PWSNP is bit 23.
    expect(q1).toBe(2n | (1n << 23n));
    expect(q2! & 0xfffn).toBe(0n);
    domain.map(0x1000n, 0x10000n, 0x1000n, READ_WRITE);
    // The root is the table that is there now: its first entry leads on (P, RW, US, A).
    expect(bench.word(q2!) & 0xfffn).toBe(0x27n);
    expect(rest).toEqual([0n, 0n, 0n, 0n, 0n]);
    expect(taken()).toEqual([]);
  });

  test('that is detached leaves no entry, and is invalidated everywhere', () => {
    device.group.attach(domain, { domain });
    device.group.detach();
    expect(bench.entry(RID, 0)).toEqual([0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]);
    expect(taken()).toEqual([pasidCache(2n, 0n), pasidIotlb(2n, 0n), deviceTlb(0x310n)]);
    expect(bench.unit.domainIds.used).toBe(0);
  });

  test('is not present while it is invalidated', () => {
    device.group.attach(domain, { domain });
    const present: boolean[] = [];
    bench.hardware.onDescriptor = () => present.push((bench.entry(RID, 0)[0]! & 1n) !== 0n);
    device.group.detach();
    expect(present).toEqual([false, false, false]);
  });

  test('at a PASID is the same beside it, and is invalidated by that PASID', () => {
    device.group.attachPasid(domain, device, 77, { domain });
    expect(bench.entry(RID, 77)[0]).toBe(0x1n | (2n << 2n) | (1n << 6n));
    expect(bench.entry(RID, 78)[0]).toBe(0n);
    expect(bench.entry(RID, 0)[0]).toBeUndefined();
    device.group.detachPasid(77);
    expect(bench.entry(RID, 77)[0]).toBe(0n);
    expect(taken()).toEqual([pasidCache(2n, 77n), pasidIotlb(2n, 77n), pasidDeviceTlb(0x310n, 77n)]);
  });

  test('at several places has one domain id, given back with the last', () => {
    const other = bench.unit.allocPaging(device, 0, null);
    device.group.attach(domain, { domain });
    device.group.attachPasid(other, device, 1, { domain: other });
    device.group.attachPasid(domain, device, 2, { domain });
    expect([did(0), did(1), did(2)]).toEqual([2n, 3n, 2n]);
    device.group.detach();
    expect(bench.unit.domainIds.used).toBe(2);
    device.group.detachPasid(2);
    expect(bench.unit.domainIds.used).toBe(1);
    device.group.attachPasid(domain, device, 5, { domain });
    expect(did(5)).toBe(2n);
  });

  test('that replaces another blocks in between, and then no invalidation of the new one is owed', () => {
    const other = bench.unit.allocPaging(device, 0, null);
    device.group.attachPasid(domain, device, 9, { domain });
    device.group.replacePasid(other, device, 9, { domain: other });
    expect(did(9)).toBe(3n);
    expect(taken()).toEqual([pasidCache(2n, 9n), pasidIotlb(2n, 9n), pasidDeviceTlb(0x310n, 9n)]);
    expect(bench.unit.domainIds.used).toBe(1);
  });
});

describe('a second stage', () => {
  test('has a second-stage entry with its root and width', () => {
    const domain = bench.parent(device);
    device.group.attach(domain, { domain });
    const [q0, q1, ...rest] = bench.entry(RID, 0);
    expect(q0! & 0xfffn).toBe(0x1n | (2n << 2n) | (2n << 6n));
    expect(q1).toBe(2n | (1n << 23n));
    expect(rest).toEqual([0n, 0n, 0n, 0n, 0n, 0n]);
    domain.map(0n, 0x10000n, 0x1000n, READ_WRITE);
    // R and W, as Linux writes tables.
    expect(bench.word(q0! & ~0xfffn) & 0xfffn).toBe(3n);
    device.group.detach();
    expect(taken()).toEqual([pasidCache(2n, 0n), iotlb(2n), deviceTlb(0x310n)]);
  });

  test('is what a unit without a first stage has', () => {
    bench = new Bench({ ecap: ECAP & ~ECAP_FSTS });
    device = bench.device(RID);
    const domain = bench.unit.allocPaging(device, 0, null);
    device.group.attach(domain, { domain });
    expect((bench.entry(RID, 0)[0]! >> 6n) & 7n).toBe(2n);
  });
});

describe('a nested table', () => {
  test('has the root of the guest and that of its parent, and a domain id of its own', () => {
    const parent = bench.parent(device);
    const nested = bench.nested(device, parent, { flags: 7n, pgtbl_addr: 0x5_4321_0000n });
    device.group.attachPasid(nested, device, 3, { domain: nested });
    const [q0, q1, q2, ...rest] = bench.entry(RID, 3);
    expect(q0! & 0xfffn).toBe(0x1n | (2n << 2n) | (3n << 6n));
    expect(q1).toBe(2n | (1n << 23n));
    // SRE 0, WPE 4, EAFE 7.
    expect(q2).toBe(0x5_4321_0000n | 0x1n | 0x10n | 0x80n);
    expect(rest).toEqual([0n, 0n, 0n, 0n, 0n]);
    parent.map(0n, 0x10000n, 0x1000n, READ_WRITE);
    expect(bench.word(q0! & ~0xfffn) & 3n).toBe(3n);
    device.group.detachPasid(3);
    expect(taken()).toEqual([pasidCache(2n, 3n), iotlb(2n), pasidDeviceTlb(0x310n, 3n)]);
    const { nested: kept } = parent as SecondStage;
    expect([kept.size, kept.has(nested as VtdNested)]).toEqual([1, true]);
    nested.free();
    expect(kept.size).toBe(0);
  });

  test.each([
    // SRE, EAFE and WPE of the guest; WPE has a meaning beside SRE alone.
    [0n, 0n],
    [1n, 0x1n],
    [2n, 0x80n],
    [3n, 0x81n],
    [4n, 0n],
    [5n, 0x11n],
    [6n, 0x80n],
    [7n, 0x91n],
  ])(
    'of flags %i, and of 48 and 57 bits, has an entry that says so, and no bit of its root elsewhere',
    (flags, bits) => {
      bench = new Bench({ cap: CAP | FS5LP });
      device = bench.device(RID);
      const parent = bench.parent(device);
      for (const [pasid, addr_width, fspm] of [
        [0, 48, 0n],
        [1, 57, 4n],
      ] as const) {
        const nested = bench.nested(device, parent, { flags, addr_width, pgtbl_addr: 0xf_8765_4fffn });
        if (pasid === 0) device.group.attach(nested, { domain: nested });
        else device.group.attachPasid(nested, device, pasid, { domain: nested });
        expect(bench.entry(RID, pasid)[2]).toBe(0xf_8765_4000n | bits | fspm);
      }
    },
  );
});

test('a table at addresses of a process goes with the stage that it stands on', () => {
  const space = emptySpace();
  const table = bench.unit.allocUserTable(space, s1Data());
  expect([bench.memory.providers.live, space.onInvalidate]).toEqual([1, expect.any(Function)]);
  table.free();
  expect([bench.memory.providers.live, space.onInvalidate]).toEqual([0, null]);
});

test('the table of an owner asks for walks that snoop only where the unit has them', () => {
  const snooped = [{}, { ecap: ECAP & ~ECAP_SMPWCS }].map((options) => {
    bench = new Bench(options);
    device = bench.device(RID);
    const domain = bench.unit.allocProvided({ name: 'x', translate: () => false, onInvalidate: null });
    device.group.attach(domain, { domain });
    return bench.entry(RID, 0)[1]! & (1n << 23n);
  });
  expect(snooped).toEqual([1n << 23n, 0n]);
});

test('a unit that caches what is not there is told of each new entry', () => {
  bench = new Bench({ cap: CAP | CM });
  device = bench.device(RID);
  expect(taken()).toEqual([[1, (0x310n << 32n) | 0x31n, 0n], iotlb(0n)]);
  const domain = bench.unit.allocPaging(device, 0, null);
  device.group.attachPasid(domain, device, 4, { domain });
  expect(taken()).toEqual([pasidCache(2n, 4n), pasidIotlb(2n, 4n)]);
});
