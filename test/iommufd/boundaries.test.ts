/** Both sides of each limit: the last value that is taken beside the first that is not. */
import { expect, test } from 'vitest';
import type { ResvRegion } from '../../src/hw/unit.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../src/wire/uapi/iommufd_test.gen.js';
import { refusalOf, ruleOf } from '../refusal.js';
import { FIXED, LOW, MAX, PAGE, RW, World } from './world.js';

const COPY_LIMIT = 16n * 1024n * 1024n;

type Row = readonly [what: string, first: (w: World) => unknown, rule: string | null];

const withAccess =
  (act: (w: World, fd: number) => unknown) =>
  (w: World): unknown =>
    act(w, w.access(w.ioas()));

const invalidate =
  (values: Partial<u.IommuHwptInvalidate>) =>
  (w: World): unknown => {
    const { dev, parent } = w.guest();
    const data_type = t.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
    const right = { hwpt_id: w.nested(dev, parent), data_type, entry_len: 8, entry_num: 1, data_uptr: PAGE };
    return w.call(u.IOMMU_HWPT_INVALIDATE, { ...right, ...values });
  };

const map =
  (values: Partial<u.IommuIoasMap>) =>
  (w: World): unknown => {
    const ioas_id = w.ioas();
    w.device(ioas_id);
    const right = { flags: RW | FIXED, ioas_id, user_va: w.buffer(), length: PAGE, iova: LOW };
    return w.call(u.IOMMU_IOAS_MAP, { ...right, ...values });
  };

const bare =
  (values: Partial<u.IommuIoasMap>) =>
  (w: World): unknown =>
    w.call(u.IOMMU_IOAS_MAP, { flags: RW | FIXED, ioas_id: w.ioas(), length: 1n, ...values });

const rows: readonly Row[] = [
  ['pinning 16 MiB', withAccess((w, fd) => w.pin(fd, LOW, COPY_LIMIT)), 'access_pin_gap'],
  ['pinning a byte more', withAccess((w, fd) => w.pin(fd, LOW, COPY_LIMIT + 1n)), 'test_access_pages_length'],
  ['copying 16 MiB', withAccess((w, fd) => w.rw(fd, LOW, COPY_LIMIT, PAGE)), 'access_rw_gap'],
  ['copying a byte more', withAccess((w, fd) => w.rw(fd, LOW, COPY_LIMIT + 1n, PAGE)), 'test_rw_length'],
  ['a dma-buf of nothing', (w) => w.dmaBuf(0), 'test_dmabuf_length'],
  ['a dma-buf of 2 MiB', (w) => w.dmaBuf(512), null],
  ['a dma-buf of a page more', (w) => w.dmaBuf(513), 'test_dmabuf_length'],
  ['a vEVENTQ of one event', (w) => w.veventq(w.guest().viommu, 1), null],
  ['a vEVENTQ of 2^19 events', (w) => w.veventq(w.guest().viommu, 1 << 19), null],
  ['a vEVENTQ of one more', (w) => w.veventq(w.guest().viommu, (1 << 19) + 1), 'veventq_depth'],
  ['invalidating by entries of a page', invalidate({ entry_len: 4096 }), 'user_data_length'],
  ['invalidating by entries a byte larger', invalidate({ entry_len: 4097 }), 'invalidate_entry_len'],
  ['invalidating 2^19 entries', invalidate({ entry_num: 1 << 19 }), 'struct_unreadable'],
  ['invalidating one more', invalidate({ entry_num: (1 << 19) + 1 }), 'invalidate_entry_num'],
  ['a mapping at the first address of the aperture', map({ iova: LOW }), null],
  ['a mapping half a page before it', map({ iova: LOW - PAGE / 2n }), 'map_reserved'],
  ['a mapping up to the last address of the aperture', map({ iova: 0x8000_0000n - PAGE }), null],
  ['a mapping half a page behind it', map({ iova: 0x8000_0000n - PAGE / 2n }), 'map_reserved'],
  ['a byte at the last address but one', bare({ iova: MAX - 1n }), null],
  ['two bytes up to the very last', bare({ iova: MAX - 1n, length: 2n }), null],
  ['three bytes from there on', bare({ iova: MAX - 1n, length: 3n }), 'map_iova_wraps'],
  ['memory up to the end of addresses', bare({ user_va: MAX - 1n }), null],
  ['memory beyond the end of addresses', bare({ user_va: MAX }), 'map_address_wraps'],
  ['all of the addresses but a page', bare({ length: MAX - PAGE }), null],
  ['a byte more than that', bare({ length: MAX - PAGE + 1n }), 'map_length'],
];

test.each(rows)('%s', (_what, act, rule) => {
  const w = new World();
  expect(refusalOf(() => act(w))?.rule ?? null).toBe(rule);
  w.end();
});

test('what a device cannot translate is reserved while its requester id is attached, and moves with it', () => {
  const w = new World();
  const regions: ResvRegion[] = [
    { type: 'msi', start: LOW, last: LOW + PAGE - 1n },
    { type: 'direct-relaxable', start: LOW * 2n, last: LOW * 2n + PAGE - 1n },
  ];
  const device = Object.assign(w.unit.addDevice(t.MOCK_FLAGS_DEVICE_PASID), { resvRegions: regions });
  const bound = w.bind(device);
  const [one, two] = [w.ioas(), w.ioas()];
  const flags = u.IOMMU_HWPT_ALLOC_PASID;
  const [first, second] = [w.hwpt(bound.id, one, { flags }), w.hwpt(bound.id, two, { flags })];
  const firstHole = (ioas_id: number): bigint => {
    const allowed_iovas = w.buffer();
    w.call(u.IOMMU_IOAS_IOVA_RANGES, { ioas_id, num_iovas: 10, allowed_iovas });
    return u.iommu_iova_range.decode(w.client.memory.load(allowed_iovas, 16)).start;
  };
  w.driver((call) => bound.attach(call, 0, first));
  expect([firstHole(one), firstHole(two)]).toEqual([LOW + PAGE, LOW]);
  w.driver((call) => bound.attach(call, 5, second));
  expect([firstHole(one), firstHole(two)]).toEqual([LOW + PAGE, LOW]);
  w.driver((call) => bound.replace(call, 5, first));
  w.driver((call) => bound.replace(call, 5, second));
  expect([firstHole(one), firstHole(two)]).toEqual([LOW + PAGE, LOW]);
  w.driver((call) => bound.replace(call, 0, second));
  expect([firstHole(one), firstHole(two)]).toEqual([LOW, LOW + PAGE]);
  expect(() => w.map(two)).toThrow('map_reserved');
  w.map(two, LOW * 2n);
  bound.detach(5);
  bound.detach(0);
  expect([firstHole(one), firstHole(two)]).toEqual([LOW, LOW]);
  w.end();
});

test('a byte that is not zero, the last before a hole, is seen before the hole is', () => {
  const w = new World();
  const bytes = new Uint8Array(60);
  u.iommu_ioas_alloc.encode({ size: 100, flags: 0, out_ioas_id: 0 }, bytes);
  const at = w.buffer(1) + PAGE - 60n;
  w.client.memory.write(at, bytes);
  const alloc = (): unknown => w.client.ioctl(w.fd, u.IOMMU_IOAS_ALLOC, at);
  expect(ruleOf(alloc)).toBe('struct_tail_unreadable');
  w.client.memory.write(at + 59n, Uint8Array.of(1));
  expect(ruleOf(alloc)).toBe('struct_tail_not_zero');
  w.end();
});
