/** Sample records, as the host makes them. */
import type { TraceRecord } from '../../src/host/trace.js';
import type { Struct } from '../../src/wire/struct.js';
import * as uapi from '../../src/wire/uapi/iommufd.gen.js';
import * as test from '../../src/wire/uapi/iommufd_test.gen.js';

export function record(fields: Partial<TraceRecord>): TraceRecord {
  return {
    pid: 17,
    tid: 18,
    call: 'ioctl',
    fd: 4,
    file: '/dev/iommu',
    cmd: 0,
    arg: 0x7ffe00001000n,
    count: 0,
    before: null,
    after: null,
    result: 0,
    errno: 0,
    rule: '',
    reason: '',
    time: 12.5,
    ...fields,
  };
}

export function bytesOf<T>(struct: Struct<T>, values: Partial<T>): Uint8Array {
  const bytes = new Uint8Array(struct.size);
  struct.encode(struct.create(values), bytes);
  return bytes;
}

/** An ioctl with `before`, and `after` where the call answered. */
export function ioctl<T>(
  cmd: number,
  struct: Struct<T>,
  before: Partial<T>,
  after: Partial<T> | null,
  more: Partial<TraceRecord> = {},
): TraceRecord {
  return record({
    cmd,
    before: bytesOf(struct, before),
    after: after === null ? null : bytesOf(struct, { ...before, ...after }),
    ...more,
  });
}

const map = {
  size: 40,
  flags: uapi.IOMMU_IOAS_MAP_FIXED_IOVA | uapi.IOMMU_IOAS_MAP_WRITEABLE | uapi.IOMMU_IOAS_MAP_READABLE,
  ioas_id: 1,
  user_va: 0x7f0000001000n,
  length: 0x2000n,
  iova: 0x1000n,
};

export const alloc = ioctl(uapi.IOMMU_IOAS_ALLOC, uapi.iommu_ioas_alloc, { size: 12 }, { out_ioas_id: 3 });
export const fixedMap = ioctl(uapi.IOMMU_IOAS_MAP, uapi.iommu_ioas_map, map, {});
export const placedMap = ioctl(
  uapi.IOMMU_IOAS_MAP,
  uapi.iommu_ioas_map,
  { ...map, flags: uapi.IOMMU_IOAS_MAP_READABLE, iova: 0n },
  { iova: 0x1000000n },
);
export const refusedMap = ioctl(uapi.IOMMU_IOAS_MAP, uapi.iommu_ioas_map, map, null, {
  result: -1,
  errno: 17,
  rule: 'map_overlaps',
  reason: 'iova 0x1000..0x2fff meets the area 0x2000..0x2fff',
});
export const mockDomain = ioctl(
  test.IOMMU_TEST_CMD,
  test.iommu_test_cmd_mock_domain,
  { size: test.iommu_test_cmd_mock_domain.size, op: test.IOMMU_TEST_OP_MOCK_DOMAIN, id: 1 },
  { out_stdev_id: 2, out_hwpt_id: 4, out_idev_id: 3 },
);
export const unknownIoctl = record({ cmd: 0x3bff, errno: 25, result: -1, arg: 0n });
export const opened = record({ call: 'open', fd: -1, cmd: 0o2000002, result: 0 });
export const closed = record({ call: 'close' });
export const faultRead = record({
  call: 'read',
  file: '[iommufd-pgfault]',
  count: 4096,
  result: 40,
  after: bytesOf(uapi.iommu_hwpt_pgfault, {
    flags: uapi.IOMMU_PGFAULT_FLAGS_LAST_PAGE,
    dev_id: 2,
    grpid: 7,
    perm: uapi.IOMMU_PGFAULT_PERM_READ | uapi.IOMMU_PGFAULT_PERM_WRITE,
    addr: 0xdead000n,
    cookie: 1,
  }),
});
export const faultAnswer = record({
  call: 'write',
  file: '[iommufd-pgfault]',
  count: 8,
  result: 8,
  before: bytesOf(uapi.iommu_hwpt_page_response, { cookie: 1, code: uapi.IOMMUFD_PAGE_RESP_INVALID }),
});
export const eventRead = record({
  call: 'read',
  file: '[iommufd-viommu-event]',
  count: 64,
  result: 3,
  after: new Uint8Array([1, 2, 255]),
});
export const mapped = record({ call: 'mmap', count: 65536, arg: 0x1000n, result: 0x7f0000000000 });

export const all: Readonly<Record<string, TraceRecord>> = {
  alloc,
  fixedMap,
  placedMap,
  refusedMap,
  mockDomain,
  unknownIoctl,
  opened,
  closed,
  faultRead,
  faultAnswer,
  eventRead,
  mapped,
};
