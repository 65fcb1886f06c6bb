/**
 * The structs that the operations carry, written out again: what judges the daemon must not share its tables.
 * Also the memory map that player.c sets up; the two tables have to agree.
 */

/** One integer of a struct; `at` and `width` in bytes. */
export interface Field {
  readonly name: string;
  readonly at: number;
  readonly width: number;
}

/** One ioctl, or one op of IOMMU_TEST_CMD. */
export interface Layout {
  readonly name: string;
  readonly code: number;
  readonly size: number;
  /** Smallest size that is accepted. */
  readonly min: number;
  readonly fields: readonly Field[];
  /** Fixed first words: the op of a test command. */
  readonly op?: number;
}

/** Reads 'flags@4 iova@32:8': name, offset, width in bytes (4 unless given). */
function parseFields(text: string): Field[] {
  return text.split(' ').map((word) => {
    const [name, place] = word.split('@') as [string, string];
    const [at, width] = place.split(':');
    return { name, at: Number(at), width: Number(width ?? 4) };
  });
}

function ioctl(nr: number, name: string, size: number, min: number, fields: string): Layout {
  return { name, code: 0x3b00 | nr, size, min, fields: parseFields(`size@0 ${fields}`) };
}

function vfio(nr: number, name: string, size: number, fields: string): Layout {
  return { name, code: 0x3b00 | nr, size, min: size, fields: parseFields(`argsz@0 ${fields}`) };
}

function test(op: number, name: string, fields: string): Layout {
  const all = `size@0 op@4 id@8 __reserved@12${fields === '' ? '' : ' '}${fields} last@64`;
  return { name: `TEST_${name}`, code: 0x3ba0, size: 72, min: 68, fields: parseFields(all), op };
}

const mapFields = 'user_va@16:8 length@24:8 iova@32:8';

export const layouts = {
  DESTROY: ioctl(0x80, 'DESTROY', 8, 8, 'id@4'),
  IOAS_ALLOC: ioctl(0x81, 'IOAS_ALLOC', 12, 12, 'flags@4 out_ioas_id@8'),
  IOAS_ALLOW_IOVAS: ioctl(
    0x82,
    'IOAS_ALLOW_IOVAS',
    24,
    24,
    'ioas_id@4 num_iovas@8 __reserved@12 allowed_iovas@16:8',
  ),
  IOAS_COPY: ioctl(
    0x83,
    'IOAS_COPY',
    40,
    40,
    'flags@4 dst_ioas_id@8 src_ioas_id@12 length@16:8 dst_iova@24:8 src_iova@32:8',
  ),
  IOAS_IOVA_RANGES: ioctl(
    0x84,
    'IOAS_IOVA_RANGES',
    32,
    32,
    'ioas_id@4 num_iovas@8 __reserved@12 allowed_iovas@16:8 out_iova_alignment@24:8',
  ),
  IOAS_MAP: ioctl(0x85, 'IOAS_MAP', 40, 40, `flags@4 ioas_id@8 __reserved@12 ${mapFields}`),
  IOAS_UNMAP: ioctl(0x86, 'IOAS_UNMAP', 24, 24, 'ioas_id@4 iova@8:8 length@16:8'),
  OPTION: ioctl(0x87, 'OPTION', 24, 24, 'option_id@4 op@8:2 __reserved@10:2 object_id@12 val64@16:8'),
  VFIO_IOAS: ioctl(0x88, 'VFIO_IOAS', 12, 12, 'ioas_id@4 op@8:2 __reserved@10:2'),
  HWPT_ALLOC: ioctl(
    0x89,
    'HWPT_ALLOC',
    48,
    24,
    'flags@4 dev_id@8 pt_id@12 out_hwpt_id@16 __reserved@20 data_type@24 data_len@28 data_uptr@32:8 fault_id@40 __reserved2@44',
  ),
  GET_HW_INFO: ioctl(
    0x8a,
    'GET_HW_INFO',
    40,
    32,
    'flags@4 dev_id@8 data_len@12 data_uptr@16:8 in_data_type@24 out_max_pasid_log2@28:1 __reserved@29:1 out_capabilities@32:8',
  ),
  HWPT_SET_DIRTY_TRACKING: ioctl(0x8b, 'HWPT_SET_DIRTY_TRACKING', 16, 16, 'flags@4 hwpt_id@8 __reserved@12'),
  HWPT_GET_DIRTY_BITMAP: ioctl(
    0x8c,
    'HWPT_GET_DIRTY_BITMAP',
    48,
    48,
    'hwpt_id@4 flags@8 __reserved@12 iova@16:8 length@24:8 page_size@32:8 data@40:8',
  ),
  HWPT_INVALIDATE: ioctl(
    0x8d,
    'HWPT_INVALIDATE',
    32,
    32,
    'hwpt_id@4 data_uptr@8:8 data_type@16 entry_len@20 entry_num@24 __reserved@28',
  ),
  FAULT_QUEUE_ALLOC: ioctl(0x8e, 'FAULT_QUEUE_ALLOC', 16, 16, 'flags@4 out_fault_id@8 out_fault_fd@12'),
  IOAS_MAP_FILE: ioctl(
    0x8f,
    'IOAS_MAP_FILE',
    40,
    40,
    'flags@4 ioas_id@8 fd@12 start@16:8 length@24:8 iova@32:8',
  ),
  VIOMMU_ALLOC: ioctl(
    0x90,
    'VIOMMU_ALLOC',
    40,
    24,
    'flags@4 type@8 dev_id@12 hwpt_id@16 out_viommu_id@20 data_len@24 __reserved@28 data_uptr@32:8',
  ),
  VDEVICE_ALLOC: ioctl(0x91, 'VDEVICE_ALLOC', 24, 24, 'viommu_id@4 dev_id@8 out_vdevice_id@12 virt_id@16:8'),
  IOAS_CHANGE_PROCESS: ioctl(0x92, 'IOAS_CHANGE_PROCESS', 8, 8, '__reserved@4'),
  VEVENTQ_ALLOC: ioctl(
    0x93,
    'VEVENTQ_ALLOC',
    32,
    28,
    'flags@4 viommu_id@8 type@12 veventq_depth@16 out_veventq_id@20 out_veventq_fd@24 __reserved@28',
  ),
  HW_QUEUE_ALLOC: ioctl(
    0x94,
    'HW_QUEUE_ALLOC',
    40,
    40,
    'flags@4 viommu_id@8 type@12 index@16 out_hw_queue_id@20 nesting_parent_iova@24:8 length@32:8',
  ),

  ADD_RESERVED: test(1, 'ADD_RESERVED', 'start@16:8 length@24:8'),
  MOCK_DOMAIN: test(2, 'MOCK_DOMAIN', 'out_stdev_id@16 out_hwpt_id@20 out_idev_id@24'),
  MD_CHECK_MAP: test(3, 'MD_CHECK_MAP', 'iova@16:8 length@24:8 uptr@32:8'),
  MD_CHECK_REFS: test(4, 'MD_CHECK_REFS', 'length@16:8 uptr@24:8 refs@32'),
  CREATE_ACCESS: test(5, 'CREATE_ACCESS', 'out_access_fd@16 flags@20'),
  DESTROY_ACCESS_PAGES: test(6, 'DESTROY_ACCESS_PAGES', 'access_pages_id@16'),
  ACCESS_PAGES: test(7, 'ACCESS_PAGES', 'flags@16 out_access_pages_id@20 iova@24:8 length@32:8 uptr@40:8'),
  ACCESS_RW: test(8, 'ACCESS_RW', 'iova@16:8 length@24:8 uptr@32:8 flags@40'),
  SET_TEMP_MEMORY_LIMIT: test(9, 'SET_TEMP_MEMORY_LIMIT', 'limit@16'),
  MOCK_DOMAIN_REPLACE: test(10, 'MOCK_DOMAIN_REPLACE', 'pt_id@16'),
  ACCESS_REPLACE_IOAS: test(11, 'ACCESS_REPLACE_IOAS', 'ioas_id@16'),
  MOCK_DOMAIN_FLAGS: test(
    12,
    'MOCK_DOMAIN_FLAGS',
    'out_stdev_id@16 out_hwpt_id@20 out_idev_id@24 dev_flags@28',
  ),
  DIRTY: test(13, 'DIRTY', 'flags@16 iova@24:8 length@32:8 page_size@40:8 uptr@48:8 out_nr_dirty@56:8'),
  MD_CHECK_IOTLB: test(14, 'MD_CHECK_IOTLB', 'iotlb_id@16 iotlb@20'),
  TRIGGER_IOPF: test(15, 'TRIGGER_IOPF', 'dev_id@16 pasid@20 grpid@24 perm@28 addr@32:8'),
  DEV_CHECK_CACHE: test(16, 'DEV_CHECK_CACHE', 'cache_id@16 cache@20'),
  TRIGGER_VEVENT: test(17, 'TRIGGER_VEVENT', 'dev_id@16'),
  PASID_ATTACH: test(18, 'PASID_ATTACH', 'pasid@16 pt_id@20'),
  PASID_REPLACE: test(19, 'PASID_REPLACE', 'pasid@16 pt_id@20'),
  PASID_DETACH: test(20, 'PASID_DETACH', 'pasid@16'),
  PASID_CHECK_HWPT: test(21, 'PASID_CHECK_HWPT', 'pasid@16 hwpt_id@20'),
  DMABUF_GET: test(22, 'DMABUF_GET', 'length@16 open_flags@20'),
  DMABUF_REVOKE: test(23, 'DMABUF_REVOKE', 'dmabuf_fd@16 revoked@20'),

  VFIO_GET_API_VERSION: { name: 'VFIO_GET_API_VERSION', code: 0x3b64, size: 0, min: 0, fields: [] },
  VFIO_CHECK_EXTENSION: { name: 'VFIO_CHECK_EXTENSION', code: 0x3b65, size: 0, min: 0, fields: [] },
  VFIO_SET_IOMMU: { name: 'VFIO_SET_IOMMU', code: 0x3b66, size: 0, min: 0, fields: [] },
  VFIO_IOMMU_GET_INFO: vfio(0x70, 'VFIO_IOMMU_GET_INFO', 16, 'flags@4 iova_pgsizes@8:8 cap_offset@16 pad@20'),
  VFIO_IOMMU_MAP_DMA: vfio(0x71, 'VFIO_IOMMU_MAP_DMA', 32, 'flags@4 vaddr@8:8 iova@16:8 size@24:8'),
  VFIO_IOMMU_UNMAP_DMA: vfio(0x72, 'VFIO_IOMMU_UNMAP_DMA', 24, 'flags@4 iova@8:8 size@16:8'),
  VFIO_IOMMU_DIRTY_PAGES: vfio(0x75, 'VFIO_IOMMU_DIRTY_PAGES', 8, 'flags@4'),
} as const satisfies Record<string, Layout>;

export type LayoutName = keyof typeof layouts;

const all: readonly Layout[] = Object.values(layouts);

/** The layout of ioctl `code`; a test command also needs its op. Null when the number is none of ours. */
export function layoutOf(code: number, op: number): Layout | null {
  return all.find((l) => l.code === code && (l.op === undefined || l.op === op)) ?? null;
}

export function fieldOf(layout: Layout, name: string): Field {
  const field = layout.fields.find((f) => f.name === name);
  if (field === undefined) throw new Error(`${layout.name} has no field ${name}`);
  return field;
}

/** Memory that player.c maps in every sequence: `pages` pages at `at`, then nothing. */
export const regions = [
  { name: 'data', at: 0x10000000, pages: 24 },
  { name: 'read-only', at: 0x10100000, pages: 4 },
  { name: 'no-access', at: 0x10200000, pages: 2 },
  { name: 'shared', at: 0x10300000, pages: 8 },
  { name: 'file', at: 0x10400000, pages: 8 },
  { name: 'private-file', at: 0x10480000, pages: 4 },
  { name: 'structs', at: 0x10500000, pages: 4 },
  { name: 'buffers', at: 0x10600000, pages: 4 },
] as const;

/** Where programs may mmap. */
export const mmapSlots = 0x10800000;

/** Descriptors open at the start of every sequence, above 0-2 which are /dev/null. */
export const memfds = [3, 4, 5, 6, 7] as const;
export const procFd = 8;
