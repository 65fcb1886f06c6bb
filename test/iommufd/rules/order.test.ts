/**
 * Which refusal wins when several rules are broken at once: the checks of an ioctl in Linux' order. Each list names
 * them from the first on, with the field values that break them; every two of a list are broken together.
 */
import { describe, expect, test } from 'vitest';
import type { Struct } from '../../../src/wire/struct.js';
import * as u from '../../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../../src/wire/uapi/iommufd_test.gen.js';
import * as v from '../../../src/wire/uapi/vfio.gen.js';
import type { ClientOptions } from '../../../src/machine/local-client.js';
import { FIXED, LOW, MAX, PAGE, RW, World } from '../world.js';

type Values = Readonly<Record<string, bigint | number | readonly number[]>>;

interface Order {
  readonly options?: ClientOptions;
  /** Values that would be taken. */
  readonly setUp: (w: World) => Values;
  readonly call: (w: World, values: Values) => unknown;
  readonly checks: readonly (readonly [rule: string, values: Values])[];
}

/** An ioctl of iommufd. */
const ioctl = (
  request: Parameters<World['iommufd']['call']>[0],
  setUp: Order['setUp'],
  checks: Order['checks'],
): Order => ({ setUp, checks, call: (w, values) => w.call(request, values as object) });

/** An operation of the selftest. */
const testOp = <T>(struct: Struct<T>, op: number, setUp: Order['setUp'], checks: Order['checks']): Order => ({
  setUp,
  checks,
  call: (w, values) => w.test(struct, op, values as Partial<T>),
});

/** One of VFIO's, with its struct in memory that can be written. */
const vfio = <T>(
  request: number,
  struct: Struct<T>,
  setUp: Order['setUp'],
  checks: Order['checks'],
): Order => ({
  setUp,
  checks,
  call: (w, values) => w.client.ioctl(w.fd, request, w.put(struct, values as Partial<T>)),
});

function attached(w: World): { ioas_id: number; dev_id: number; hwpt_id: number; stdev: number } {
  const ioas_id = w.ioas();
  const { dev, hwpt, stdev } = w.device(ioas_id);
  return { ioas_id, dev_id: dev, hwpt_id: hwpt, stdev };
}

/** A value that is wrong, in a context that has an object. */
function rlimitMode(w: World): Values {
  w.ioas();
  return { option_id: u.IOMMU_OPTION_RLIMIT_MODE, op: u.IOMMU_OPTION_OP_SET, val64: 2n };
}

const mapFlags: Order['checks'] = [
  ['map_flags', { flags: 8 }],
  ['map_reserved_field', { __reserved: 1 }],
  ['map_overflow', { iova: MAX }],
  ['map_access', { flags: FIXED }],
  ['map_ioas', { ioas_id: 99 }],
  ['map_address_wraps', { user_va: MAX, length: PAGE }],
  ['map_length', { length: 0n }],
  ['map_length_alignment', { length: 2049n }],
  ['map_iova_alignment', { iova: LOW + 1n }],
  ['map_reserved', { iova: 0n }],
];

const orders: Readonly<Record<string, Order>> = {
  IOMMU_IOAS_MAP: ioctl(
    u.IOMMU_IOAS_MAP,
    (w) => {
      const { ioas_id } = attached(w);
      return { flags: RW | FIXED, ioas_id, user_va: w.buffer(), length: PAGE, iova: LOW };
    },
    mapFlags,
  ),
  IOMMU_IOAS_MAP_FILE: ioctl(
    u.IOMMU_IOAS_MAP_FILE,
    (w) => {
      const { ioas_id } = attached(w);
      const { fd } = w.client.memfd(16 * Number(PAGE));
      return { flags: RW | FIXED, ioas_id, fd, length: PAGE, iova: LOW };
    },
    [
      ['map_file_flags', { flags: 8 }],
      ['map_file_overflow', { iova: MAX }],
      ['map_file_access', { flags: FIXED }],
      ['map_file_ioas', { ioas_id: 99 }],
      ['map_file_length', { length: 0n }],
      ['map_file_wraps', { start: MAX }],
      ['map_file_fd', { fd: 99 }],
      ['map_iova_alignment', { iova: LOW + 1n }],
    ],
  ),
  IOMMU_IOAS_COPY: ioctl(
    u.IOMMU_IOAS_COPY,
    (w) => {
      const [src_ioas_id, dst_ioas_id] = [w.ioas(), w.ioas()];
      w.map(src_ioas_id);
      return { flags: RW | FIXED, src_ioas_id, dst_ioas_id, length: PAGE, src_iova: LOW, dst_iova: LOW };
    },
    [
      ['copy_flags', { flags: 8 }],
      ['copy_overflow', { dst_iova: MAX }],
      ['copy_access', { flags: FIXED }],
      ['copy_source_ioas', { src_ioas_id: 99 }],
      ['copy_length', { length: 0n }],
      ['copy_source_wraps', { src_iova: MAX - 5n }],
      ['copy_source_gap', { src_iova: LOW * 2n }],
      ['copy_target_ioas', { dst_ioas_id: 99 }],
    ],
  ),
  IOMMU_IOAS_UNMAP: ioctl(u.IOMMU_IOAS_UNMAP, (w) => ({ ioas_id: w.ioas(), iova: LOW, length: PAGE }), [
    ['unmap_ioas', { ioas_id: 99 }],
    ['unmap_overflow', { iova: MAX }],
    ['unmap_length', { length: 0n }],
    ['unmap_wraps', { iova: MAX - 5n }],
  ]),
  IOMMU_IOAS_IOVA_RANGES: ioctl(
    u.IOMMU_IOAS_IOVA_RANGES,
    (w) => ({ ioas_id: w.ioas(), num_iovas: 1, allowed_iovas: w.buffer() }),
    [
      ['iova_ranges_reserved', { __reserved: 1 }],
      ['iova_ranges_ioas', { ioas_id: 99 }],
      ['iova_ranges_unwritable', { allowed_iovas: PAGE }],
    ],
  ),
  IOMMU_IOAS_ALLOW_IOVAS: ioctl(
    u.IOMMU_IOAS_ALLOW_IOVAS,
    (w) => ({ ioas_id: w.ioas(), num_iovas: 1, allowed_iovas: w.buffer() }),
    [
      ['allow_reserved_field', { __reserved: 1 }],
      ['allow_ioas', { ioas_id: 99 }],
      ['allow_unreadable', { allowed_iovas: PAGE }],
    ],
  ),
  'IOMMU_OPTION, RLIMIT_MODE': ioctl(u.IOMMU_OPTION, rlimitMode, [
    ['option_reserved', { __reserved: 1 }],
    ['option_unknown', { option_id: 9 }],
    ['rlimit_mode_object', { object_id: 1 }],
    ['rlimit_mode_op', { op: 2 }],
    ['rlimit_mode_busy', {}],
    ['rlimit_mode_value', {}],
  ]),
  'IOMMU_OPTION, RLIMIT_MODE, of an ordinary user': {
    ...ioctl(u.IOMMU_OPTION, rlimitMode, [
      ['rlimit_mode_object', { object_id: 1 }],
      ['rlimit_mode_op', { op: 2 }],
      ['rlimit_mode_capability', {}],
      ['rlimit_mode_busy', {}],
    ]),
    options: { capabilities: [] },
  },
  'IOMMU_OPTION, HUGE_PAGES': ioctl(
    u.IOMMU_OPTION,
    (w) => {
      const { ioas_id } = attached(w);
      w.map(ioas_id);
      return { option_id: u.IOMMU_OPTION_HUGE_PAGES, op: u.IOMMU_OPTION_OP_SET, object_id: ioas_id };
    },
    [
      ['option_reserved', { __reserved: 1 }],
      ['option_unknown', { option_id: 9 }],
      ['huge_pages_ioas', { object_id: 99 }],
      ['huge_pages_op', { op: 2 }],
      ['huge_pages_value', { val64: 2n }],
      ['huge_pages_in_use', {}],
    ],
  ),
  IOMMU_VFIO_IOAS: ioctl(u.IOMMU_VFIO_IOAS, (w) => ({ ioas_id: w.ioas(), op: u.IOMMU_VFIO_IOAS_SET }), [
    ['vfio_ioas_reserved', { __reserved: 1 }],
    ['vfio_ioas_op', { op: 3 }],
    ['vfio_ioas_ioas', { ioas_id: 99 }],
  ]),
  'IOMMU_HWPT_ALLOC of an IOAS': ioctl(
    u.IOMMU_HWPT_ALLOC,
    (w) => {
      const { ioas_id, dev_id } = attached(w);
      return { dev_id, pt_id: ioas_id };
    },
    [
      ['hwpt_reserved', { __reserved: 1 }],
      ['hwpt_data', { data_len: 8 }],
      ['hwpt_device', { dev_id: 99 }],
      ['hwpt_target', { pt_id: 99 }],
      ['hwpt_paging_flags', { flags: 0x14 }],
      ['hwpt_fault', { flags: u.IOMMU_HWPT_FAULT_ID_VALID, fault_id: 99 }],
    ],
  ),
  'IOMMU_HWPT_ALLOC on a parent': ioctl(
    u.IOMMU_HWPT_ALLOC,
    (w) => {
      const { hwpt_id, dev_id } = attached(w);
      return { dev_id, pt_id: hwpt_id, data_type: 1, data_len: 8, data_uptr: w.buffer() };
    },
    [
      ['hwpt_reserved', { __reserved: 1 }],
      ['hwpt_device', { dev_id: 99 }],
      ['hwpt_nested_flags', { flags: 16 }],
      ['hwpt_nested_data', { data_type: 0, data_len: 0 }],
      ['hwpt_parent_automatic', {}],
    ],
  ),
  IOMMU_GET_HW_INFO: ioctl(
    u.IOMMU_GET_HW_INFO,
    (w) => ({ dev_id: attached(w).dev_id, data_len: 8, data_uptr: w.buffer() }),
    [
      ['hw_info_flags', { flags: 2 }],
      ['hw_info_reserved', { __reserved: [1, 0, 0] }],
      ['hw_info_device', { dev_id: 99 }],
      ['mock_hw_info_type', { flags: 1, in_data_type: 7 }],
      ['hw_info_unwritable', { data_uptr: PAGE }],
    ],
  ),
  IOMMU_HWPT_SET_DIRTY_TRACKING: ioctl(
    u.IOMMU_HWPT_SET_DIRTY_TRACKING,
    (w) => ({ hwpt_id: attached(w).hwpt_id }),
    [
      ['dirty_tracking_flags', { flags: 2 }],
      ['dirty_tracking_hwpt', { hwpt_id: 99 }],
      ['dirty_tracking_ops', {}],
    ],
  ),
  IOMMU_HWPT_GET_DIRTY_BITMAP: ioctl(
    u.IOMMU_HWPT_GET_DIRTY_BITMAP,
    (w) => ({ hwpt_id: attached(w).hwpt_id, iova: LOW, length: PAGE, page_size: PAGE, data: w.buffer() }),
    [
      ['dirty_bitmap_flags', { flags: 2 }],
      ['dirty_bitmap_reserved', { __reserved: 1 }],
      ['dirty_bitmap_hwpt', { hwpt_id: 99 }],
      ['dirty_bitmap_wraps', { length: 0n }],
      ['dirty_bitmap_alignment', { iova: LOW + 1n }],
      ['dirty_bitmap_page_zero', { page_size: 0n }],
      ['dirty_bitmap_page', { page_size: 2n * PAGE }],
      ['dirty_bitmap_ops', {}],
    ],
  ),
  IOMMU_HWPT_INVALIDATE: ioctl(
    u.IOMMU_HWPT_INVALIDATE,
    (w) => {
      const { dev, parent } = w.guest();
      return { hwpt_id: w.nested(dev, parent), data_uptr: w.buffer(), entry_len: 8, entry_num: 1 };
    },
    [
      ['invalidate_reserved', { __reserved: 1 }],
      ['invalidate_pointer', { data_uptr: 0n }],
      ['invalidate_entry_len', { entry_len: 4097 }],
      ['invalidate_entry_num', { entry_num: (1 << 19) + 1 }],
      ['invalidate_target', { hwpt_id: 99 }],
      ['mock_invalidate_type', { data_type: 7 }],
    ],
  ),
  IOMMU_VIOMMU_ALLOC: ioctl(
    u.IOMMU_VIOMMU_ALLOC,
    (w) => {
      const { dev_id, hwpt_id } = attached(w);
      return { type: t.IOMMU_VIOMMU_TYPE_SELFTEST, dev_id, hwpt_id };
    },
    [
      ['viommu_flags', { flags: 1 }],
      ['viommu_type', { type: 0 }],
      ['viommu_device', { dev_id: 99 }],
      ['viommu_unit_type', { type: 7 }],
      ['viommu_hwpt', { hwpt_id: 99 }],
      ['viommu_parent', {}],
    ],
  ),
  IOMMU_VDEVICE_ALLOC: ioctl(
    u.IOMMU_VDEVICE_ALLOC,
    (w) => {
      const { dev, viommu } = w.guest();
      w.vdevice(viommu, dev, 0x99n);
      return { viommu_id: viommu, dev_id: dev, virt_id: 0x99n };
    },
    [
      ['vdevice_viommu', { viommu_id: 99 }],
      ['vdevice_device', { dev_id: 99 }],
      ['vdevice_device_has_one', {}],
    ],
  ),
  IOMMU_VEVENTQ_ALLOC: ioctl(
    u.IOMMU_VEVENTQ_ALLOC,
    (w) => ({ viommu_id: w.guest().viommu, type: t.IOMMU_VEVENTQ_TYPE_SELFTEST, veventq_depth: 4 }),
    [
      ['veventq_flags', { flags: 1 }],
      ['veventq_reserved', { __reserved: 1 }],
      ['veventq_type', { type: 0 }],
      ['veventq_depth', { veventq_depth: 0 }],
      ['veventq_viommu', { viommu_id: 99 }],
    ],
  ),
  IOMMU_HW_QUEUE_ALLOC: ioctl(
    u.IOMMU_HW_QUEUE_ALLOC,
    (w) => {
      const type = t.IOMMU_HW_QUEUE_TYPE_SELFTEST;
      const { viommu, ioas } = w.guest();
      w.map(ioas);
      return { viommu_id: viommu, type, nesting_parent_iova: LOW, length: PAGE };
    },
    [
      ['hw_queue_flags', { flags: 1 }],
      ['hw_queue_type', { type: 0 }],
      ['hw_queue_wraps', { nesting_parent_iova: MAX }],
      ['hw_queue_viommu', { viommu_id: 99 }],
      ['hw_queue_unit_type', { type: 7 }],
      ['access_pin_gap', { nesting_parent_iova: LOW * 2n }],
      ['mock_hw_queue_index', { index: 2 }],
    ],
  ),
  VFIO_IOMMU_MAP_DMA: vfio(
    v.VFIO_IOMMU_MAP_DMA,
    v.vfio_iommu_type1_dma_map,
    (w) => ({ argsz: 32, flags: 3, vaddr: w.buffer(), size: PAGE }),
    [
      ['vfio_map_argsz', { argsz: 31 }],
      ['vfio_map_flags', { flags: 4 }],
      ['vfio_map_ioas', {}],
    ],
  ),
  VFIO_IOMMU_UNMAP_DMA: vfio(
    v.VFIO_IOMMU_UNMAP_DMA,
    v.vfio_iommu_type1_dma_unmap,
    () => ({ argsz: 24, iova: LOW, size: PAGE }),
    [
      ['vfio_unmap_argsz', { argsz: 23 }],
      ['vfio_unmap_flags', { flags: 1 }],
      ['vfio_unmap_ioas', {}],
    ],
  ),
  MD_CHECK_MAP: testOp(
    t.iommu_test_cmd_check_map,
    t.IOMMU_TEST_OP_MD_CHECK_MAP,
    (w) => ({ id: attached(w).hwpt_id, iova: LOW, length: PAGE, uptr: w.buffer() }),
    [
      ['test_hwpt_paging', { id: 99 }],
      ['test_check_map_range', { iova: LOW + 1n }],
      ['test_check_map_fault', { uptr: PAGE }],
      ['test_check_map_frame', {}],
    ],
  ),
  ACCESS_RW: testOp(
    t.iommu_test_cmd_access_rw,
    t.IOMMU_TEST_OP_ACCESS_RW,
    (w) => {
      const ioas = w.ioas();
      w.map(ioas);
      return { id: w.access(ioas), iova: LOW, length: PAGE, uptr: w.buffer() };
    },
    [
      ['test_rw_length', { length: 1n << 40n }],
      ['test_rw_flags', { flags: 2 }],
      ['test_access_fd', { id: 99 }],
      ['access_rw_length', { length: 0n }],
      ['access_rw_wraps', { iova: MAX }],
      ['access_rw_gap', { iova: LOW * 2n }],
    ],
  ),
  ACCESS_PAGES: testOp(
    t.iommu_test_cmd_access_pages,
    t.IOMMU_TEST_OP_ACCESS_PAGES,
    (w) => {
      const ioas = w.ioas();
      w.map(ioas, LOW, 4, 4);
      return { id: w.access(ioas), iova: LOW, length: PAGE };
    },
    [
      ['test_access_pages_length', { length: 1n << 40n }],
      ['test_access_pages_flags', { flags: 2 }],
      ['test_access_fd', { id: 99 }],
      ['access_pin_length', { length: 0n }],
      ['access_pin_wraps', { iova: MAX }],
      ['access_pin_alignment', { iova: LOW + 1n }],
      ['access_pin_permission', { flags: t.MOCK_FLAGS_ACCESS_WRITE }],
    ],
  ),
};

for (const [name, { options, setUp, call, checks }] of Object.entries(orders)) {
  const pairs = checks.flatMap((first, index) =>
    checks.slice(index + 1).map((second) => [first, second] as const),
  );
  describe(name, () => {
    test.each(pairs.map(([first, second]) => [first[0], second[0], first, second] as const))(
      '%s before %s',
      (rule, _later, [, values], [, later]) => {
        const w = new World(options);
        const right = setUp(w);
        expect(() => call(w, { ...right, ...later, ...values })).toThrow(expect.objectContaining({ rule }));
        w.end();
      },
    );
  });
}
