/** VFIO's calls that bind a guest's page table through a container (R31 to R37). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createMachine, type Machine } from '../../src/machine/machine.js';
import type { Topology } from '../../src/machine/topology.js';
import { rules } from '../../src/vfio/nesting/rules.js';
import type { Infer, Struct } from '../../src/wire/struct.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as n from '../../src/wire/uapi/vfio-nesting.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { errnoOf, ruleOf } from '../refusal.js';

const PAGE = 4096n;
const GUEST = 0x10_0000n;
const IOVA = 0x7f00_0000_0000n;
const { IOASIS_DMA_DONE: DONE, IOASIS_DMA_FAULTED: FAULTED } = d;

let machine: Machine;
let container: number;
let group: number;
let device: number;
let memory: bigint;

const store = (bytes: Uint8Array): bigint => machine.memory.store(bytes);
const encode = <T>(struct: Struct<T>, values: Partial<T>): Uint8Array => {
  const bytes = new Uint8Array(struct.size);
  struct.encode(struct.create(values), bytes);
  return bytes;
};
beforeEach(() => start({ '0000:00:01.0': {}, '0000:00:02.0': {} }));

function start(devices: NonNullable<Topology['devices']>): void {
  machine = createMachine({ topology: { vfioNesting: true, devices } });
  const { client } = machine;
  container = client.open('/dev/vfio/vfio');
  group = client.open('/dev/vfio/0');
  client.ioctl(group, v.VFIO_GROUP_SET_CONTAINER, store(new Uint8Array(new Int32Array([container]).buffer)));
  client.ioctl(container, v.VFIO_SET_IOMMU, BigInt(n.VFIO_TYPE1_NESTING_IOMMU));
  openDevice('0000:00:01.0');
  memory = machine.memory.alloc(16 * 4096);
  const map = { argsz: 32, flags: 3, vaddr: memory, iova: GUEST, size: 16n * PAGE };
  client.ioctl(container, v.VFIO_IOMMU_MAP_DMA, store(encode(v.vfio_iommu_type1_dma_map, map)));
  // Pages 0 to 3 are the guest's table; IOVA leads to page 8.
  for (let level = 0n; level < 4n; level += 1n) {
    const next = level === 3n ? GUEST + 8n * PAGE : GUEST + (level + 1n) * PAGE;
    setEntry(level, next | 7n);
  }
}
afterEach(() => {
  machine.client.exit();
  const left = machine.leaks();
  expect(left).toEqual(Object.fromEntries(Object.keys(left).map((kind) => [kind, 0])));
});

function openDevice(name: string): void {
  const at = store(new TextEncoder().encode(`${name}\0`));
  device = machine.client.ioctl(group, v.VFIO_GROUP_GET_DEVICE_FD, at);
  enableBusMaster();
}

function enableBusMaster(): void {
  const config = BigInt(v.VFIO_PCI_CONFIG_REGION_INDEX) << 40n;
  machine.client.pwrite(device, Uint8Array.of(6, 0), config + 4n);
}

function setEntry(level: bigint, entry: bigint): void {
  const index = (IOVA >> (39n - 9n * level)) & 511n;
  machine.memory.write(
    memory + level * PAGE + index * 8n,
    new Uint8Array(new BigUint64Array([entry]).buffer),
  );
}

const request = (flags: number, min: number, max: number): number =>
  machine.client.ioctl(
    container,
    n.VFIO_IOMMU_PASID_REQUEST,
    store(encode(n.vfio_iommu_type1_pasid_request, { argsz: 16, flags, min, max })),
  );

/** A call with a payload behind argsz and flags. */
function withPayload(cmd: number, flags: number, payload: Uint8Array, argsz = 8 + payload.length): number {
  const bytes = new Uint8Array(8 + payload.length);
  bytes.set(encode(n.vfio_iommu_type1_bind, { argsz, flags }));
  bytes.set(payload, 8);
  return machine.client.ioctl(container, cmd, store(bytes));
}

type BindData = Infer<typeof n.iommu_gpasid_bind_data>;
const table = (pasid: number, values: Partial<BindData> = {}): Partial<BindData> => ({
  argsz: 72,
  version: 1,
  format: n.IOMMU_PASID_FORMAT_INTEL_VTD,
  addr_width: 48,
  flags: 1n,
  gpgd: GUEST,
  hpasid: BigInt(pasid),
  gpasid: BigInt(pasid),
  ...values,
});
const bind = (values: Partial<BindData>, flags: number = n.VFIO_IOMMU_BIND_GUEST_PGTBL): number =>
  withPayload(n.VFIO_IOMMU_BIND, flags, encode(n.iommu_gpasid_bind_data, values));
const unbind = (pasid: number): number => bind(table(pasid), n.VFIO_IOMMU_UNBIND_GUEST_PGTBL);

type Invalidate = Infer<typeof n.iommu_cache_invalidate_info>;
const invalidate = (values: Partial<Invalidate>): number =>
  withPayload(
    n.VFIO_IOMMU_CACHE_INVALIDATE,
    0,
    encode(n.iommu_cache_invalidate_info, {
      argsz: 56,
      version: 1,
      cache: n.IOMMU_CACHE_INV_TYPE_IOTLB,
      granularity: n.IOMMU_INV_GRANU_ADDR,
      addr: IOVA,
      granule_size: PAGE,
      nb_granules: 1n,
      ...values,
    }),
  );

function fill(pasid: number): number {
  const values = {
    size: d.ioasis_dma.size,
    op: d.IOASIS_DMA_OP_FILL,
    flags: d.IOASIS_DMA_PASID,
    pasid,
    iova: IOVA,
    length: 8n,
    value: 5n,
  };
  const at = store(encode(d.ioasis_dma, values));
  machine.client.ioctl(device, d.IOASIS_DMA, at);
  return d.ioasis_dma.decode(machine.memory.load(at, d.ioasis_dma.size)).out_state;
}

const byteOf = (page: bigint): number => machine.memory.load(memory + page * PAGE, 1)[0]!;

describe('a guest table that is bound', () => {
  test('R31: translates under its PASID, and no more after unbind', () => {
    const pasid = request(n.VFIO_IOMMU_PASID_ALLOC, 5, 9);
    expect(pasid).toBe(5);
    expect(fill(pasid)).toBe(FAULTED);
    bind(table(pasid));
    expect(fill(pasid)).toBe(DONE);
    expect(byteOf(8n)).toBe(5);
    expect(fill(6)).toBe(FAULTED);
    unbind(pasid);
    expect(fill(pasid)).toBe(FAULTED);
    expect(request(n.VFIO_IOMMU_PASID_FREE, 0, 100)).toBe(0);
  });

  test('changes when it is invalidated, by address, by PASID, or all of it', () => {
    const pasid = request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    bind(table(pasid));
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
      expect(fill(pasid)).toBe(DONE);
      setEntry(3n, (GUEST + page * PAGE) | 7n);
      fill(pasid);
      expect(byteOf(page)).toBe(0);
      expect(invalidate(granule)).toBe(0);
      fill(pasid);
      expect(byteOf(page)).toBe(5);
      page += 1n;
    }
  });

  test('serves every device of a group', () => {
    start({ '0000:00:01.0': { group: 'pair' }, '0000:00:02.0': { group: 'pair' } });
    const pasid = request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    bind(table(pasid));
    expect(fill(pasid)).toBe(DONE);
    openDevice('0000:00:02.0');
    expect(fill(pasid)).toBe(DONE);
    setEntry(3n, (GUEST + 9n * PAGE) | 7n);
    invalidate({ granularity: n.IOMMU_INV_GRANU_DOMAIN });
    fill(pasid);
    expect(byteOf(9n)).toBe(5);
    unbind(pasid);
    expect(fill(pasid)).toBe(FAULTED);
  });

  test('ends with the container, whoever is closed first', () => {
    bind(table(request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100)));
    machine.client.close(container);
    machine.client.close(group);
    expect(fill(1)).toBe(DONE);
  });
});

describe('a payload', () => {
  test('R33, R34, R37: of v5.7 is told from one of v5.10 by itself', () => {
    const pasid = request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    const old = encode(n.iommu_gpasid_bind_data_v57, {
      version: 1,
      format: 1,
      flags: 1n,
      gpgd: GUEST,
      hpasid: BigInt(pasid),
      gpasid: BigInt(pasid),
      addr_width: 48,
    });
    withPayload(n.VFIO_IOMMU_BIND, n.VFIO_IOMMU_BIND_GUEST_PGTBL, old);
    expect(fill(pasid)).toBe(DONE);
    const info = { version: 1, cache: 1, granularity: n.IOMMU_INV_GRANU_DOMAIN };
    const bytes = encode(n.iommu_cache_invalidate_info_v57, info).subarray(0, 8);
    expect(withPayload(n.VFIO_IOMMU_CACHE_INVALIDATE, 0, bytes)).toBe(0);
  });

  test('R33: longer than what is known is accepted, shorter is not', () => {
    const pasid = request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    const longer = new Uint8Array(200).fill(0xee);
    longer.set(encode(n.iommu_gpasid_bind_data, table(pasid, { argsz: 200 })));
    const { VFIO_IOMMU_BIND: BIND, VFIO_IOMMU_BIND_GUEST_PGTBL: FLAG } = n;
    expect(withPayload(BIND, FLAG, longer)).toBe(0);
    unbind(pasid);
    expect(errnoOf(() => withPayload(BIND, FLAG, longer.subarray(0, 71)))).toBe('EINVAL');
    expect(errnoOf(() => bind(table(pasid, { argsz: 71 })))).toBe('EINVAL');
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
    const pasid = request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    expect(errnoOf(() => bind(table(pasid, values)))).toBe(expected);
    expect(fill(pasid)).toBe(FAULTED);
    expect(bind(table(pasid))).toBe(0);
    expect(errnoOf(() => bind(table(pasid)))).toBe('EBUSY');
    expect(errnoOf(() => request(n.VFIO_IOMMU_PASID_FREE, pasid, pasid))).toBe('EBUSY');
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
    bind(table(request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100)));
    expect(errnoOf(() => invalidate(values))).toBe('EINVAL');
  });
});

describe('R32: what is not implemented is not defined', () => {
  test.each([0, 3, 4])('flags %i of a bind', (flags) => {
    const pasid = request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
    expect(errnoOf(() => bind(table(pasid), flags))).toBe('EINVAL');
  });

  test.each([
    [0, 1, 2],
    [3, 1, 2],
    [1, 2, 1],
    [1, 0, 0x8000_0000],
  ])('flags %i of a request for %i to %i', (flags, min, max) => {
    expect(errnoOf(() => request(flags, min, max))).toBe('EINVAL');
  });
});

test('R35, R36: the chain of GET_INFO says what can be bound, and by which payloads', () => {
  const bytes = new Uint8Array(512);
  bytes.set(encode(v.vfio_iommu_type1_info, { argsz: 512 }));
  const at = store(bytes);
  machine.client.ioctl(container, v.VFIO_IOMMU_GET_INFO, at);
  const answer = machine.memory.load(at, 512);
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
  withPayload(n.VFIO_IOMMU_BIND, flags, payload);
const fresh = (): number => request(n.VFIO_IOMMU_PASID_ALLOC, 1, 100);
const bound = (): number => {
  const pasid = fresh();
  bind(table(pasid));
  return pasid;
};
const bindWith = (values: Partial<BindData>) => (): number => bind(table(fresh(), values));
const invalidateWith = (values: Partial<Invalidate>) => (): number => {
  bound();
  return invalidate(values);
};

const broken: Readonly<Record<string, () => unknown>> = {
  nesting_unreadable: () => machine.client.ioctl(container, n.VFIO_IOMMU_BIND, 0n),
  nesting_size: () => withPayload(n.VFIO_IOMMU_BIND, 1, new Uint8Array(72), 7),
  nesting_pasid_size: () =>
    machine.client.ioctl(container, n.VFIO_IOMMU_PASID_REQUEST, store(new Uint8Array(16))),
  nesting_groups: () => {
    const other = machine.client.open('/dev/vfio/1');
    const fd = store(new Uint8Array(new Int32Array([container]).buffer));
    machine.client.ioctl(other, v.VFIO_GROUP_SET_CONTAINER, fd);
  },
  nesting_pasid_flags: () => request(3, 1, 2),
  nesting_pasid_range: () => request(n.VFIO_IOMMU_PASID_ALLOC, 2, 1),
  nesting_pasid_none: () => request(n.VFIO_IOMMU_PASID_ALLOC, 1 << 20, 1 << 21),
  nesting_pasid_quota: () => {
    for (let count = 0; count < 1001; count++) request(n.VFIO_IOMMU_PASID_ALLOC, 1, 5000);
  },
  nesting_pasid_bound: () => {
    const pasid = bound();
    request(n.VFIO_IOMMU_PASID_FREE, pasid, pasid);
  },
  nesting_bind_flags: () => bind(table(fresh()), 3),
  nesting_bind_version: bindWith({ version: 2 }),
  nesting_bind_payload: () => bindRaw(new Uint8Array(3)),
  nesting_bind_format: bindWith({ format: 2 }),
  nesting_bind_payload_flags: bindWith({ flags: 2n }),
  nesting_bind_padding: bindWith({ padding: 1n }),
  nesting_bind_old_padding: () =>
    bindRaw(encode(n.iommu_gpasid_bind_data_v57, { version: 1, format: 1, padding_low: 1 })),
  nesting_bind_vtd_flags: bindWith({ vtd_flags: 4n }),
  nesting_bind_pasid: bindWith({ hpasid: 99n, gpasid: 99n }),
  nesting_bind_twice: () => bind(table(bound())),
  nesting_bind_guest_pasid: bindWith({ gpasid: 7n }),
  nesting_unbind_pasid: () => unbind(fresh()),
  nesting_cache_flags: () => withPayload(n.VFIO_IOMMU_CACHE_INVALIDATE, 1, new Uint8Array(56)),
  nesting_cache_version: invalidateWith({ version: 2 }),
  nesting_cache_payload: () => withPayload(n.VFIO_IOMMU_CACHE_INVALIDATE, 0, new Uint8Array(3)),
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
  expect(machine.client.ioctl(container, v.VFIO_CHECK_EXTENSION, nesting)).toBe(1);
  const other = plain.client.open('/dev/vfio/0');
  const number = plain.memory.store(new Uint8Array(new Int32Array([fd]).buffer));
  plain.client.ioctl(other, v.VFIO_GROUP_SET_CONTAINER, number);
  const set = (): number => plain.client.ioctl(fd, v.VFIO_SET_IOMMU, BigInt(n.VFIO_TYPE1_NESTING_IOMMU));
  expect(errnoOf(set)).toBe('ENODEV');
});
