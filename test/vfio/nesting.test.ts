/** VFIO's calls that bind a guest's page table through a container (R31 to R37). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createMachine } from '../../src/machine/machine.js';
import { rules } from '../../src/vfio/nesting/rules.js';
import type { Infer } from '../../src/wire/struct.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as n from '../../src/wire/uapi/vfio-nesting.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { errnoOf, ruleOf } from '../refusal.js';
import {
  encode,
  GUEST,
  IOVA,
  NestingScene,
  PAGE,
  table,
  type BindData,
  type Invalidate,
} from './nesting-scene.js';

const { IOASIS_DMA_DONE: DONE, IOASIS_DMA_FAULTED: FAULTED } = d;

let s: NestingScene;
beforeEach(() => {
  s = new NestingScene();
});
afterEach(() => {
  const left = s.end();
  expect(left).toEqual(Object.fromEntries(Object.keys(left).map((kind) => [kind, 0])));
});

describe('a guest table that is bound', () => {
  test('R31: translates under its PASID, and no more after unbind', () => {
    const pasid = s.request(n.VFIO_IOMMU_PASID_ALLOC, 5, 9);
    expect(pasid).toBe(5);
    expect(s.fill(pasid)).toBe(FAULTED);
    s.bind(table(pasid));
    expect(s.fill(pasid)).toBe(DONE);
    expect(s.byteOf(8n)).toBe(5);
    expect(s.fill(6)).toBe(FAULTED);
    s.unbind(pasid);
    expect(s.fill(pasid)).toBe(FAULTED);
    expect(s.request(n.VFIO_IOMMU_PASID_FREE, 0, 100)).toBe(0);
  });

  test('changes when it is invalidated, by address, by PASID, or all of it', () => {
    const pasid = s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    s.bind(table(pasid));
    const granules: Partial<Invalidate>[] = [
      { granu_flags: n.IOMMU_INV_ADDR_FLAGS_PASID, pasid: BigInt(pasid) },
      {
        granularity: n.IOMMU_INV_GRANU_PASID,
        granu_flags: n.IOMMU_INV_ADDR_FLAGS_PASID,
        pasid: BigInt(pasid),
      },
      { granularity: n.IOMMU_INV_GRANU_DOMAIN },
    ];
    let page = 9n;
    for (const granule of granules) {
      expect(s.fill(pasid)).toBe(DONE);
      s.setEntry(3n, (GUEST + page * PAGE) | 7n);
      s.fill(pasid);
      expect(s.byteOf(page)).toBe(0);
      expect(s.invalidate(granule)).toBe(0);
      s.fill(pasid);
      expect(s.byteOf(page)).toBe(5);
      page += 1n;
    }
  });

  test('serves every device of a group', () => {
    s.end();
    const group = 'pair';
    s = new NestingScene('0000:00:01.0', {
      devices: { '0000:00:01.0': { group }, '0000:00:02.0': { group } },
    });
    const pasid = s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    s.bind(table(pasid));
    expect(s.fill(pasid)).toBe(DONE);
    const other = s.open('0000:00:02.0');
    expect(s.dma(pasid, IOVA, 0, other).out_state).toBe(DONE);
    s.setEntry(3n, (GUEST + 9n * PAGE) | 7n);
    s.invalidate({ granularity: n.IOMMU_INV_GRANU_DOMAIN });
    s.dma(pasid, IOVA, 0, other);
    expect(s.byteOf(9n)).toBe(5);
    s.unbind(pasid);
    expect(s.dma(pasid, IOVA, 0, other).out_state).toBe(FAULTED);
  });

  test('ends with the container, whoever is closed first', () => {
    s.bind(table(s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100)));
    s.machine.client.close(s.container);
    s.machine.client.close(s.group);
    expect(s.fill(1)).toBe(DONE);
  });
});

describe('a payload', () => {
  test('R33, R34, R37: of v5.7 is told from one of v5.10 by itself', () => {
    const pasid = s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    const old = encode(n.iommu_gpasid_bind_data_v57, {
      version: 1,
      format: 1,
      flags: 1n,
      gpgd: GUEST,
      hpasid: BigInt(pasid),
      gpasid: BigInt(pasid),
      addr_width: 48,
    });
    s.withPayload(n.VFIO_IOMMU_BIND, n.VFIO_IOMMU_BIND_GUEST_PGTBL, old);
    expect(s.fill(pasid)).toBe(DONE);
    const info = { version: 1, cache: 1, granularity: n.IOMMU_INV_GRANU_DOMAIN };
    const bytes = encode(n.iommu_cache_invalidate_info_v57, info).subarray(0, 8);
    expect(s.withPayload(n.VFIO_IOMMU_CACHE_INVALIDATE, 0, bytes)).toBe(0);
  });

  test('R33: longer than what is known is accepted, shorter is not', () => {
    const pasid = s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    const longer = new Uint8Array(200).fill(0xee);
    longer.set(encode(n.iommu_gpasid_bind_data, table(pasid, { argsz: 200 })));
    const { VFIO_IOMMU_BIND: BIND, VFIO_IOMMU_BIND_GUEST_PGTBL: FLAG } = n;
    expect(s.withPayload(BIND, FLAG, longer)).toBe(0);
    s.unbind(pasid);
    expect(errnoOf(() => s.withPayload(BIND, FLAG, longer.subarray(0, 71)))).toBe('EINVAL');
    expect(errnoOf(() => s.bind(table(pasid, { argsz: 71 })))).toBe('EINVAL');
  });

  test.each<[string, Partial<BindData>, string]>([
    ['R34: a version that is too new', { version: 2 }, 'EINVAL'],
    ['an unknown format', { format: 2 }, 'EINVAL'],
    ['unknown flags', { flags: 2n }, 'EINVAL'],
    ['padding', { padding: 1n }, 'EINVAL'],
    ['vendor flags that hardware has not', { vtd_flags: 4n }, 'EINVAL'],
    ['a PASID of nobody', { hpasid: 99n, gpasid: 99n }, 'EINVAL'],
    ['another PASID in the guest', { gpasid: 7n }, 'EINVAL'],
    ['a width that no table has', { addr_width: 39 }, 'EINVAL'],
  ])('%s is refused, and nothing is bound', (_, values, expected) => {
    const pasid = s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    expect(errnoOf(() => s.bind(table(pasid, values)))).toBe(expected);
    expect(s.fill(pasid)).toBe(FAULTED);
    expect(s.bind(table(pasid))).toBe(0);
    expect(errnoOf(() => s.bind(table(pasid)))).toBe('EBUSY');
    expect(errnoOf(() => s.request(n.VFIO_IOMMU_PASID_FREE, pasid, pasid))).toBe('EBUSY');
  });

  test.each<[string, Partial<Invalidate>]>([
    ['a version that is too new', { version: 2 }],
    ['no cache', { cache: 0 }],
    ['a cache that there is not', { cache: 8 }],
    ['a granularity that there is not', { granularity: 3 }],
    ['padding', { padding: 1 }],
    ['addresses of the PASID cache', { cache: 4 }],
    ['the whole device TLB', { cache: 2, granularity: 0 }],
    ['unknown flags', { granu_flags: 8 }],
    ['architectural ids', { granu_flags: 2 }],
    ['a PASID of nobody', { granu_flags: 1, pasid: 77n }],
    ['granules that are no pages', { granule_size: 4097n }],
    ['granules beyond the end', { addr: (1n << 64n) - PAGE, nb_granules: 2n }],
  ])('of an invalidation: %s is refused', (_, values) => {
    s.bind(table(s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100)));
    expect(errnoOf(() => s.invalidate(values))).toBe('EINVAL');
  });
});

describe('R32: what is not implemented is not defined', () => {
  test.each([0, 3, 4])('flags %i of a bind', (flags) => {
    const pasid = s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    expect(errnoOf(() => s.bind(table(pasid), flags))).toBe('EINVAL');
  });

  test.each([
    [0, 1, 2],
    [3, 1, 2],
    [1, 2, 1],
    [1, 0, 0x8000_0000],
  ])('flags %i of a request for %i to %i', (flags, min, max) => {
    expect(errnoOf(() => s.request(flags, min, max))).toBe('EINVAL');
  });
});

test('R35, R36: the chain of GET_INFO says what can be bound, and by which payloads', () => {
  const bytes = new Uint8Array(512);
  bytes.set(encode(v.vfio_iommu_type1_info, { argsz: 512 }));
  const at = s.store(bytes);
  s.machine.client.ioctl(s.container, v.VFIO_IOMMU_GET_INFO, at);
  const answer = s.machine.memory.load(at, 512);
  let offset = v.vfio_iommu_type1_info.decode(answer).cap_offset;
  let found: Infer<typeof n.vfio_iommu_type1_info_cap_nesting> | null = null;
  while (offset !== 0) {
    const { id, next } = v.vfio_info_cap_header.decode(answer, offset);
    if (id === n.VFIO_IOMMU_TYPE1_INFO_CAP_NESTING) {
      found = n.vfio_iommu_type1_info_cap_nesting.decode(answer, offset);
    }
    offset = next;
  }
  expect(found).toMatchObject({
    version: 1,
    format: 1,
    features: 7,
    pasid_bits: 20,
    versions: 2,
    layouts: 3,
  });
  expect(found!.cap_reg).not.toBe(0n);
});

const bindRaw = (payload: Uint8Array, flags: number = n.VFIO_IOMMU_BIND_GUEST_PGTBL): number =>
  s.withPayload(n.VFIO_IOMMU_BIND, flags, payload);
const fresh = (): number => s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
const bound = (): number => {
  const pasid = fresh();
  s.bind(table(pasid));
  return pasid;
};
const bindWith = (values: Partial<BindData>) => (): number => s.bind(table(fresh(), values));
const invalidateWith = (values: Partial<Invalidate>) => (): number => {
  bound();
  return s.invalidate(values);
};

const broken: Readonly<Record<string, () => unknown>> = {
  nesting_unreadable: () => s.machine.client.ioctl(s.container, n.VFIO_IOMMU_BIND, 0n),
  nesting_size: () => s.withPayload(n.VFIO_IOMMU_BIND, 1, new Uint8Array(72), 7),
  nesting_pasid_size: () =>
    s.machine.client.ioctl(s.container, n.VFIO_IOMMU_PASID_REQUEST, s.store(new Uint8Array(16))),
  nesting_groups: () => {
    const other = s.machine.client.open('/dev/vfio/1');
    const fd = s.store(new Uint8Array(new Int32Array([s.container]).buffer));
    s.machine.client.ioctl(other, v.VFIO_GROUP_SET_CONTAINER, fd);
  },
  nesting_pasid_flags: () => s.request(3, 1, 2),
  nesting_pasid_range: () => s.request(n.VFIO_IOMMU_PASID_ALLOC, 2, 1),
  nesting_pasid_none: () => s.request(n.VFIO_IOMMU_PASID_ALLOC, 1 << 20, 1 << 21),
  nesting_pasid_quota: () => {
    for (let count = 0; count < 1001; count++) s.request(n.VFIO_IOMMU_PASID_ALLOC, 1, 5000);
  },
  nesting_pasid_bound: () => {
    const pasid = bound();
    s.request(n.VFIO_IOMMU_PASID_FREE, pasid, pasid);
  },
  nesting_bind_flags: () => s.bind(table(fresh()), 3),
  nesting_bind_version: bindWith({ version: 2 }),
  nesting_bind_payload: () => bindRaw(new Uint8Array(3)),
  nesting_bind_format: bindWith({ format: 2 }),
  nesting_bind_payload_flags: bindWith({ flags: 2n }),
  nesting_bind_padding: bindWith({ padding: 1n }),
  nesting_bind_old_padding: () =>
    bindRaw(encode(n.iommu_gpasid_bind_data_v57, { version: 1, format: 1, padding_low: 1 })),
  nesting_bind_vtd_flags: bindWith({ vtd_flags: 4n }),
  nesting_bind_pasid: bindWith({ hpasid: 99n, gpasid: 99n }),
  nesting_bind_twice: () => s.bind(table(bound())),
  nesting_bind_guest_pasid: bindWith({ gpasid: 7n }),
  nesting_unbind_pasid: () => s.unbind(fresh()),
  nesting_cache_flags: () => s.withPayload(n.VFIO_IOMMU_CACHE_INVALIDATE, 1, new Uint8Array(56)),
  nesting_cache_version: invalidateWith({ version: 2 }),
  nesting_cache_payload: () => s.withPayload(n.VFIO_IOMMU_CACHE_INVALIDATE, 0, new Uint8Array(3)),
  nesting_cache_types: invalidateWith({ cache: 8 }),
  nesting_cache_granularity: invalidateWith({ granularity: 3 }),
  nesting_cache_padding: invalidateWith({ padding: 1 }),
  nesting_cache_pair: invalidateWith({ cache: n.IOMMU_CACHE_INV_TYPE_PASID }),
  nesting_cache_granu_flags: invalidateWith({ granu_flags: 8 }),
  nesting_cache_archid: invalidateWith({ granu_flags: n.IOMMU_INV_ADDR_FLAGS_ARCHID }),
  nesting_cache_pasid: invalidateWith({ granu_flags: n.IOMMU_INV_ADDR_FLAGS_PASID, pasid: 77n }),
  nesting_cache_granule: invalidateWith({ granule_size: 4097n }),
};

/** A container whose unit cannot nest is refused its domain first. */
const unreachable = ['nesting_bind_unit'];

test('every rule has its case', () => {
  expect([...Object.keys(broken), ...unreachable].toSorted()).toEqual(Object.keys(rules).toSorted());
});

test.each(Object.entries(broken))('%s', (id, act) => {
  expect(ruleOf(act)).toBe(id);
});

test('without the option of the topology there is none of it', () => {
  const plain = createMachine({ topology: {} });
  const fd = plain.client.open('/dev/vfio/vfio');
  const nesting = BigInt(n.VFIO_TYPE1_NESTING_IOMMU);
  expect(plain.client.ioctl(fd, v.VFIO_CHECK_EXTENSION, nesting)).toBe(0);
  expect(s.machine.client.ioctl(s.container, v.VFIO_CHECK_EXTENSION, nesting)).toBe(1);
  const other = plain.client.open('/dev/vfio/0');
  const number = plain.memory.store(new Uint8Array(new Int32Array([fd]).buffer));
  plain.client.ioctl(other, v.VFIO_GROUP_SET_CONTAINER, number);
  const set = (): number => plain.client.ioctl(fd, v.VFIO_SET_IOMMU, BigInt(n.VFIO_TYPE1_NESTING_IOMMU));
  expect(errnoOf(set)).toBe('ENODEV');
});
