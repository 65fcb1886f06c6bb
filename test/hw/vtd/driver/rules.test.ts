/** Each rule of the VT-d driver, broken alone, and the other side of its boundary; and in which order they are asked. */
import { describe, expect, test } from 'vitest';
import { Errno } from '../../../../src/base/errno.js';
import { rules } from '../../../../src/hw/vtd/driver/rules.js';
import { ioasis_hwpt_invalidate_range } from '../../../../src/wire/uapi/ioasis.js';
import { iommu_hwpt_vtd_s1_invalidate } from '../../../../src/wire/uapi/iommufd.gen.js';
import { Bench, invalidations, s1Data } from './bench.js';
import { CAP, ECAP, ECAP_FSTS, ECAP_NEST, ECAP_SRS, ECAP_SSTS } from './fake.js';
import { cases } from './rules.cases.js';

function errorOf(act: () => unknown): Errno {
  try {
    act();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(Errno);
    return thrown as Errno;
  }
  throw new Error('nothing was refused');
}

test('every rule has its case', () => {
  expect(Object.keys(cases)).toEqual(Object.keys(rules));
});

describe.each(Object.entries(cases))('%s', (id, { errno, refused, accepted }) => {
  test('is refused, with its reason', () => {
    const error = errorOf(refused);
    expect(error).toMatchObject({ rule: id, code: errno });
    expect(error.reason).not.toMatch(/[{}]|undefined|null|NaN|\[object/);
  });

  test('is not refused on the other side', () => {
    accepted();
  });
});

describe('asked in Linux’ order', () => {
  test.each([
    ['data before anything', 'vtd_paging_data', 16, s1Data(), ECAP & ~ECAP_SSTS],
    ['unknown flags before capabilities', 'vtd_paging_flags', 16 | 1, null, ECAP & ~ECAP_NEST],
    ['nesting before the stage itself', 'vtd_paging_no_nesting', 1, null, ECAP & ~ECAP_NEST & ~ECAP_SSTS],
  ])('%s', (_what, rule, flags, data, ecap) => {
    const bench = new Bench({ ecap });
    expect(errorOf(() => bench.unit.allocPaging(bench.device(1), flags, data)).rule).toBe(rule);
  });

  test('a nested table is made of anything, and looked at when it is attached', () => {
    const bench = new Bench({ ecap: ECAP & ~ECAP_SRS });
    const device = bench.device(1, { pri: false });
    const nested = bench.nested(device, bench.parent(device), { addr_width: 57, flags: 1n });
    const attach = (): void => device.group.attach(nested, { domain: nested });
    nested.iopfHandler = () => {};
    // Page requests before the width, the width before SRE.
    expect(errorOf(attach).rule).toBe('vtd_no_page_requests');
    nested.iopfHandler = null;
    expect(errorOf(attach).rule).toBe('vtd_nested_no_five_levels');
  });

  test('without an id left, a nested table has none before it waits in vain; another waits in vain first', () => {
    const bench = new Bench({ cap: CAP & ~7n });
    const device = bench.device(1, { pri: false });
    for (let pasid = 1; pasid <= 14; pasid += 1) {
      const domain = bench.unit.allocPaging(device, 0, null);
      device.group.attachPasid(domain, device, pasid, { domain });
    }
    const nested = bench.nested(device, bench.parent(device));
    const paging = bench.unit.allocPaging(device, 0, null);
    nested.iopfHandler = () => {};
    paging.iopfHandler = () => {};
    expect(errorOf(() => device.group.attach(nested, { domain: nested })).rule).toBe('vtd_no_domain_id');
    expect(errorOf(() => device.group.attach(paging, { domain: paging })).rule).toBe('vtd_no_page_requests');
    expect(errorOf(() => device.group.attachPasid(paging, device, 20, { domain: paging })).rule).toBe(
      'vtd_no_domain_id',
    );
  });

  test('entries before a bad one are done and counted', () => {
    const bench = new Bench();
    const device = bench.device(1);
    const nested = bench.nested(device, bench.parent(device));
    device.group.attach(nested, { domain: nested });
    bench.hardware.take();
    const pages = invalidations(0, iommu_hwpt_vtd_s1_invalidate, [
      { addr: 0x1000n, npages: 1n },
      { addr: 0x2000n, npages: 1n },
      { addr: 0x3001n, npages: 1n },
      { addr: 0x4000n, npages: 1n },
    ]);
    expect(errorOf(() => nested.invalidate!(pages)).rule).toBe('vtd_invalidate_alignment');
    expect(pages.done).toBe(2);
    const ranges = invalidations(0x10a50000, ioasis_hwpt_invalidate_range, [{ last: 1n }, { start: 1n }]);
    expect(errorOf(() => nested.invalidate!(ranges)).rule).toBe('ioasis_invalidate_order');
    expect(ranges.done).toBe(1);
    expect(bench.hardware.take().filter(({ type }) => type === 6).length).toBe(3);
    for (const type of [1, 0xdeadbeef, 0x10a50001]) {
      const unknown = invalidations(type, iommu_hwpt_vtd_s1_invalidate, [{}]);
      expect(() => nested.invalidate!(unknown)).toThrow(Errno);
      expect(unknown.done).toBe(0);
    }
    expect(bench.hardware.take()).toEqual([]);
  });
});

describe('when an attachment is refused, what was there stays', () => {
  test.each(['requester id', 'PASID'])('at the %s', (where) => {
    const bench = new Bench();
    const device = bench.device(0x100);
    const pasid = where === 'PASID' ? 4 : 0;
    const old = bench.unit.allocPaging(device, 0, null);
    const bad = bench.nested(device, bench.parent(device), { addr_width: 40 });
    const replace = (domain: typeof old | typeof bad): void =>
      pasid === 0
        ? device.group.replace(domain, { domain })
        : device.group.replacePasid(domain, device, pasid, { domain });
    if (pasid === 0) device.group.attach(old, { domain: old });
    else device.group.attachPasid(old, device, pasid, { domain: old });
    const entry = bench.entry(0x100, pasid);
    bench.hardware.take();
    expect(errorOf(() => replace(bad)).rule).toBe('vtd_nested_width');
    expect(bench.entry(0x100, pasid)).toEqual(entry);
    expect(bench.hardware.take()).toEqual([]);
    expect(bench.unit.domainIds.used).toBe(1);
  });

  test('in a group the devices before it go back', () => {
    const bench = new Bench();
    const first = bench.device(0x100);
    const second = bench.device(0x101, { group: first.group, pri: false });
    const old = bench.unit.allocPaging(first, 0, null);
    const waiting = bench.unit.allocPaging(first, 0, null);
    waiting.iopfHandler = () => {};
    first.group.attach(old, { domain: old });
    const entries = [bench.entry(0x100, 0), bench.entry(0x101, 0)];
    expect(errorOf(() => first.group.replace(waiting, { domain: waiting })).rule).toBe(
      'vtd_no_page_requests',
    );
    expect([bench.entry(0x100, 0), bench.entry(0x101, 0)]).toEqual(entries);
    expect(first.faultParam).toBeNull();
    expect(second.ridDomain).toBe(old);
  });

  test('the last id of a unit can replace itself', () => {
    const bench = new Bench({ cap: CAP & ~7n });
    const device = bench.device(1);
    for (let pasid = 1; pasid <= 13; pasid += 1) {
      const domain = bench.unit.allocPaging(device, 0, null);
      device.group.attachPasid(domain, device, pasid, { domain });
    }
    const one = bench.unit.allocPaging(device, 0, null);
    const two = bench.unit.allocPaging(device, 0, null);
    device.group.attach(one, { domain: one });
    expect(bench.unit.domainIds.free).toBe(0);
    device.group.replace(two, { domain: two });
    expect(bench.entry(1, 0)[1]! & 0xffffn).toBe(15n);
  });
});

test('a nesting parent takes nothing that cannot be written, and Linux says why', () => {
  const bench = new Bench();
  const device = bench.device(1);
  const parent = bench.parent(device);
  expect(parent.map(0n, 0n, 0x1000n, 1)).toBe('EINVAL');
  expect(bench.log).toEqual([
    'DMAR: Read-only mapping is disallowed on the domain which serves as the parent in a nested configuration, due to HW errata (ERRATA_772415_SPR17)',
  ]);
  expect(parent.map(0n, 0n, 0x1000n, 2)).toBe('ok');
  expect(bench.unit.allocPaging(device, 2, null).map(0n, 0n, 0x1000n, 1)).toBe('ok');
  expect(bench.unit.allocPaging(device, 0, null).map(0n, 0n, 0x1000n, 1)).toBe('ok');
});

test('what is said of the unit is what the registers say, with the erratum that Linux always names', () => {
  const bench = new Bench();
  const device = bench.device(1);
  for (const type of [0, 1]) {
    const info = bench.unit.hwInfo(device, type);
    const view = new DataView(info.data.buffer);
    expect([info.type, info.data.length, view.getUint32(0, true), view.getUint32(4, true)]).toEqual([
      1, 24, 1, 0,
    ]);
    expect([view.getBigUint64(8, true), view.getBigUint64(16, true)]).toEqual([CAP, ECAP]);
  }
});

/** PGTT of what a unit with these capabilities makes by default. */
function defaultStage(ecap: bigint): bigint {
  const bench = new Bench({ ecap });
  const device = bench.device(1);
  const domain = bench.unit.allocPaging(device, 0, null);
  device.group.attach(domain, { domain });
  return (bench.entry(1, 0)[0]! >> 6n) & 7n;
}

test('a unit with one stage alone uses that one', () => {
  expect([ECAP & ~ECAP_SSTS, ECAP & ~ECAP_FSTS, ECAP].map(defaultStage)).toEqual([1n, 2n, 1n]);
});
