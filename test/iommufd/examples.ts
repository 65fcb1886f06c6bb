/** One call of every ioctl and of every operation of the selftest that works, in a context that has one of everything. */
import type { Struct } from '../../src/wire/struct.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../src/wire/uapi/iommufd_test.gen.js';
import { FIXED, LOW, PAGE, RW, World } from './world.js';

export interface Example {
  readonly name: string;
  readonly request: number;
  readonly struct: Struct<any>;
  readonly values: Readonly<Record<string, unknown>>;
}

/** What is there to be named, and to be pointed at. */
interface Populated {
  readonly ioas: number;
  readonly stdev: number;
  readonly dev: number;
  readonly hwpt: number;
  readonly parent: number;
  readonly dirty: number;
  readonly nested: number;
  readonly viommu: number;
  readonly bare: number;
  readonly fault: number;
  readonly access: number;
  readonly item: number;
  readonly memfd: number;
  readonly dmaBuf: number;
  readonly buffer: bigint;
  readonly data: bigint;
  readonly mapped: bigint;
}

/** An IOAS with four pages at LOW, shown by four page tables; a guest on one of them; a fault queue; an access. */
export function populate(w: World): Populated {
  const ioas = w.ioas();
  const { stdev, dev } = w.device(ioas, t.MOCK_FLAGS_DEVICE_PASID);
  const hwpt = w.hwpt(dev, ioas, { flags: u.IOMMU_HWPT_ALLOC_PASID });
  w.replace(stdev, hwpt);
  const parent = w.hwpt(dev, ioas, { flags: u.IOMMU_HWPT_ALLOC_NEST_PARENT });
  const dirty = w.hwpt(dev, ioas, { flags: u.IOMMU_HWPT_ALLOC_DIRTY_TRACKING });
  w.call(u.IOMMU_HWPT_SET_DIRTY_TRACKING, { hwpt_id: dirty, flags: 1 });
  const viommu = w.viommu(dev, parent);
  w.vdevice(viommu, dev, 0x99n);
  w.veventq(viommu);
  const nested = w.nested(dev, parent);
  const mapped = w.map(ioas);
  const access = w.access(ioas);
  return {
    ioas,
    stdev,
    dev,
    hwpt,
    parent,
    dirty,
    nested,
    viommu,
    mapped,
    access,
    bare: w.ioas(),
    fault: w.fault().id,
    item: w.pin(access, LOW, PAGE),
    memfd: w.client.memfd(16 * Number(PAGE)).fd,
    dmaBuf: w.dmaBuf(),
    buffer: w.buffer(),
    data: w.put(t.iommu_hwpt_selftest, { iotlb: 7 }),
  };
}

function iommufdExamples(p: Populated): readonly (readonly [keyof typeof u, Struct<any>, object])[] {
  const selftest = t.IOMMU_VIOMMU_TYPE_SELFTEST;
  const map = { flags: RW | FIXED, length: PAGE, iova: LOW * 2n };
  const range = { iova: LOW, length: PAGE, page_size: PAGE };
  return [
    ['IOMMU_DESTROY', u.iommu_destroy, { id: p.bare }],
    ['IOMMU_IOAS_ALLOC', u.iommu_ioas_alloc, {}],
    ['IOMMU_IOAS_ALLOW_IOVAS', u.iommu_ioas_allow_iovas, { ioas_id: p.bare, allowed_iovas: p.buffer }],
    [
      'IOMMU_IOAS_COPY',
      u.iommu_ioas_copy,
      { flags: RW, src_ioas_id: p.ioas, dst_ioas_id: p.ioas, length: PAGE, src_iova: LOW },
    ],
    [
      'IOMMU_IOAS_IOVA_RANGES',
      u.iommu_ioas_iova_ranges,
      { ioas_id: p.ioas, num_iovas: 9, allowed_iovas: p.buffer },
    ],
    ['IOMMU_IOAS_MAP', u.iommu_ioas_map, { ...map, ioas_id: p.ioas, user_va: p.buffer }],
    ['IOMMU_IOAS_MAP_FILE', u.iommu_ioas_map_file, { ...map, ioas_id: p.ioas, fd: p.memfd }],
    ['IOMMU_IOAS_UNMAP', u.iommu_ioas_unmap, { ioas_id: p.ioas, iova: LOW, length: 4n * PAGE }],
    ['IOMMU_IOAS_CHANGE_PROCESS', u.iommu_ioas_change_process, {}],
    ['IOMMU_OPTION', u.iommu_option, { option_id: 1, op: u.IOMMU_OPTION_OP_GET, object_id: p.ioas }],
    ['IOMMU_VFIO_IOAS', u.iommu_vfio_ioas, { ioas_id: p.ioas, op: u.IOMMU_VFIO_IOAS_SET }],
    [
      'IOMMU_HWPT_ALLOC',
      u.iommu_hwpt_alloc,
      {
        dev_id: p.dev,
        pt_id: p.ioas,
        flags: u.IOMMU_HWPT_FAULT_ID_VALID,
        fault_id: p.fault,
        data_type: t.IOMMU_HWPT_DATA_SELFTEST,
        data_len: 8,
        data_uptr: p.buffer,
      },
    ],
    ['IOMMU_GET_HW_INFO', u.iommu_hw_info, { dev_id: p.dev, data_len: 8, data_uptr: p.buffer }],
    ['IOMMU_HWPT_SET_DIRTY_TRACKING', u.iommu_hwpt_set_dirty_tracking, { hwpt_id: p.dirty, flags: 1 }],
    [
      'IOMMU_HWPT_GET_DIRTY_BITMAP',
      u.iommu_hwpt_get_dirty_bitmap,
      { hwpt_id: p.dirty, data: p.buffer, ...range },
    ],
    [
      'IOMMU_HWPT_INVALIDATE',
      u.iommu_hwpt_invalidate,
      { hwpt_id: p.nested, data_uptr: p.buffer, data_type: selftest, entry_len: 8, entry_num: 2 },
    ],
    ['IOMMU_FAULT_QUEUE_ALLOC', u.iommu_fault_alloc, {}],
    [
      'IOMMU_VIOMMU_ALLOC',
      u.iommu_viommu_alloc,
      { type: selftest, dev_id: p.dev, hwpt_id: p.parent, data_len: 24, data_uptr: p.buffer },
    ],
    ['IOMMU_VDEVICE_ALLOC', u.iommu_vdevice_alloc, { viommu_id: p.viommu, dev_id: p.dev, virt_id: 0x98n }],
    [
      'IOMMU_VEVENTQ_ALLOC',
      u.iommu_veventq_alloc,
      { viommu_id: p.viommu, type: t.IOMMU_VEVENTQ_TYPE_SELFTEST, veventq_depth: 2 },
    ],
    [
      'IOMMU_HW_QUEUE_ALLOC',
      u.iommu_hw_queue_alloc,
      { viommu_id: p.viommu, type: selftest, nesting_parent_iova: LOW, length: PAGE },
    ],
  ];
}

function testExamples(p: Populated): readonly (readonly [op: keyof typeof t, Struct<any>, object])[] {
  const range = { iova: LOW, length: PAGE, uptr: p.buffer };
  return [
    ['IOMMU_TEST_OP_ADD_RESERVED', t.iommu_test_cmd_add_reserved, { id: p.bare, start: LOW, length: PAGE }],
    ['IOMMU_TEST_OP_MOCK_DOMAIN', t.iommu_test_cmd_mock_domain, { id: p.ioas }],
    ['IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS', t.iommu_test_cmd_mock_domain_flags, { id: p.ioas }],
    [
      'IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE',
      t.iommu_test_cmd_mock_domain_replace,
      { id: p.stdev, pt_id: p.ioas },
    ],
    ['IOMMU_TEST_OP_MD_CHECK_MAP', t.iommu_test_cmd_check_map, { id: p.hwpt, ...range, uptr: p.mapped }],
    ['IOMMU_TEST_OP_MD_CHECK_REFS', t.iommu_test_cmd_check_refs, { length: PAGE, uptr: p.mapped, refs: 1 }],
    ['IOMMU_TEST_OP_CREATE_ACCESS', t.iommu_test_cmd_create_access, { id: p.ioas, flags: 1 }],
    [
      'IOMMU_TEST_OP_DESTROY_ACCESS_PAGES',
      t.iommu_test_cmd_destroy_access_pages,
      { id: p.access, access_pages_id: p.item },
    ],
    ['IOMMU_TEST_OP_ACCESS_PAGES', t.iommu_test_cmd_access_pages, { id: p.access, ...range, uptr: 0n }],
    ['IOMMU_TEST_OP_ACCESS_RW', t.iommu_test_cmd_access_rw, { id: p.access, ...range }],
    ['IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT', t.iommu_test_cmd_memory_limit, { limit: 65536 }],
    [
      'IOMMU_TEST_OP_ACCESS_REPLACE_IOAS',
      t.iommu_test_cmd_access_replace_ioas,
      { id: p.access, ioas_id: p.bare },
    ],
    ['IOMMU_TEST_OP_DIRTY', t.iommu_test_cmd_dirty, { id: p.dirty, page_size: PAGE, ...range }],
    ['IOMMU_TEST_OP_MD_CHECK_IOTLB', t.iommu_test_cmd_check_iotlb, { id: p.nested, iotlb: 0xbadbeef }],
    ['IOMMU_TEST_OP_TRIGGER_IOPF', t.iommu_test_cmd_trigger_iopf, { dev_id: p.dev, grpid: 1 }],
    [
      'IOMMU_TEST_OP_DEV_CHECK_CACHE',
      t.iommu_test_cmd_check_dev_cache,
      { id: p.dev, cache: t.IOMMU_TEST_DEV_CACHE_DEFAULT },
    ],
    ['IOMMU_TEST_OP_TRIGGER_VEVENT', t.iommu_test_cmd_trigger_vevent, { dev_id: p.dev }],
    ['IOMMU_TEST_OP_PASID_ATTACH', t.iommu_test_cmd_pasid_attach, { id: p.stdev, pasid: 5, pt_id: p.hwpt }],
    ['IOMMU_TEST_OP_PASID_REPLACE', t.iommu_test_cmd_pasid_replace, { id: p.stdev, pasid: 0, pt_id: p.ioas }],
    ['IOMMU_TEST_OP_PASID_DETACH', t.iommu_test_cmd_pasid_detach, { id: p.stdev, pasid: 5 }],
    ['IOMMU_TEST_OP_PASID_CHECK_HWPT', t.iommu_test_cmd_pasid_check, { id: p.stdev, pasid: 5 }],
    ['IOMMU_TEST_OP_DMABUF_GET', t.iommu_test_cmd_dmabuf_get, { length: 8192 }],
    ['IOMMU_TEST_OP_DMABUF_REVOKE', t.iommu_test_cmd_dmabuf_revoke, { dmabuf_fd: p.dmaBuf, revoked: 1 }],
  ];
}

/** The same list in the same order for every world that {@link populate} has just filled. */
export function examples(p: Populated): Example[] {
  const own = iommufdExamples(p).map(([name, struct, values]) => ({
    name,
    request: u[name] as number,
    struct,
    values: { size: struct.size, ...values },
  }));
  const selftest = testExamples(p).map(([name, struct, values]) => ({
    name,
    request: t.IOMMU_TEST_CMD,
    struct,
    values: { size: struct.size, op: t[name], ...values },
  }));
  return [...own, ...selftest];
}

/** Names and structs, for tables of tests that are written before any world is made. */
export function exampleList(): Example[] {
  const w = new World();
  const list = examples(populate(w));
  w.end();
  return list;
}
