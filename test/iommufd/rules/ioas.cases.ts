/** Rules of an IOAS: ranges, mapping, copying, unmapping, options. */
import * as u from '../../../src/wire/uapi/iommufd.gen.js';
import { FIXED, LOW, MAX, PAGE, READ, RW, WRITE, type World } from '../world.js';
import { failingAt, refused, type Cases, type Prepare } from './case.js';

/** A map of a page of fresh memory that would work, but for `values`. */
const map =
  (values: Partial<u.IommuIoasMap>, before: (w: World, ioas: number) => void = () => {}): Prepare =>
  (w) => {
    const ioas_id = w.ioas();
    before(w, ioas_id);
    const user_va = w.buffer();
    const right = { flags: RW | FIXED, ioas_id, user_va, length: PAGE, iova: LOW };
    return () => w.call(u.IOMMU_IOAS_MAP, { ...right, ...values });
  };

const attach = (w: World, ioas: number): unknown => w.device(ioas);

/** The same for a memfd of 16 pages. */
const mapFile =
  (values: Partial<u.IommuIoasMapFile>, before: (w: World, ioas: number) => void = () => {}): Prepare =>
  (w) => {
    const ioas = w.ioas();
    before(w, ioas);
    const { fd } = w.client.memfd(16 * Number(PAGE));
    return () => w.mapFile(ioas, fd, values);
  };

/** A copy from one IOAS, which has four pages at LOW, to another. */
const copy =
  (values: Partial<u.IommuIoasCopy>, flags: number = RW): Prepare =>
  (w) => {
    const source = w.ioas();
    const target = w.ioas();
    w.map(source, LOW, 4, flags);
    const ids = { src_ioas_id: source, dst_ioas_id: target };
    const right = { ...ids, flags: RW | FIXED, length: PAGE, src_iova: LOW, dst_iova: LOW };
    return () => w.call(u.IOMMU_IOAS_COPY, { ...right, ...values });
  };

const unmap =
  (values: Partial<u.IommuIoasUnmap>): Prepare =>
  (w) => {
    const ioas_id = w.ioas();
    w.map(ioas_id);
    return () => w.call(u.IOMMU_IOAS_UNMAP, { ioas_id, iova: LOW, length: 4n * PAGE, ...values });
  };

function ranges(w: World, ...list: readonly (readonly [bigint, bigint])[]): bigint {
  const { size } = u.iommu_iova_range;
  const bytes = new Uint8Array(Math.max(1, list.length) * size);
  list.forEach(([start, last], index) => u.iommu_iova_range.encode({ start, last }, bytes, index * size));
  return w.client.memory.store(bytes);
}

const allow =
  (
    list: readonly (readonly [bigint, bigint])[],
    values: Partial<u.IommuIoasAllowIovas> = {},
    before: (w: World, ioas: number) => void = () => {},
  ): Prepare =>
  (w) => {
    const ioas_id = w.ioas();
    before(w, ioas_id);
    const right = { ioas_id, num_iovas: list.length, allowed_iovas: ranges(w, ...list) };
    return () => w.call(u.IOMMU_IOAS_ALLOW_IOVAS, { ...right, ...values });
  };

const iovaRanges =
  (values: Partial<u.IommuIoasIovaRanges>): Prepare =>
  (w) => {
    const ioas_id = w.ioas();
    const right = { ioas_id, num_iovas: 1, allowed_iovas: ranges(w) };
    return () => w.call(u.IOMMU_IOAS_IOVA_RANGES, { ...right, ...values });
  };

const rlimitMode =
  (values: Partial<u.IommuOption>, before: (w: World) => void = () => {}): Prepare =>
  (w) => {
    before(w);
    const right = { option_id: u.IOMMU_OPTION_RLIMIT_MODE, op: u.IOMMU_OPTION_OP_SET, val64: 1n };
    return () => w.call(u.IOMMU_OPTION, { ...right, ...values });
  };

const hugePages =
  (values: Partial<u.IommuOption>, before: (w: World, ioas: number) => void = () => {}): Prepare =>
  (w) => {
    const object_id = w.ioas();
    before(w, object_id);
    const right = { option_id: u.IOMMU_OPTION_HUGE_PAGES, op: u.IOMMU_OPTION_OP_SET, object_id };
    return () => w.call(u.IOMMU_OPTION, { ...right, ...values });
  };

/** A dma-buf of four pages, at descriptor -1 as soon as `fd` is not given. */
const mapDmaBuf =
  (values: Partial<u.IommuIoasMapFile>, revoke = false): Prepare =>
  (w) => {
    const ioas = w.ioas();
    const fd = w.dmaBuf();
    if (revoke) w.revoke(fd);
    return () => w.mapFile(ioas, fd, values);
  };

const nobody = { ioas_id: 99 };

export const ioasCases: Cases = {
  ioas_alloc_flags: refused('EOPNOTSUPP', (w) => () => w.call(u.IOMMU_IOAS_ALLOC, { flags: 1 })),
  iova_ranges_reserved: refused('EOPNOTSUPP', iovaRanges({ __reserved: 1 })),
  iova_ranges_ioas: refused('ENOENT', iovaRanges(nobody)),
  iova_ranges_unwritable: refused('EFAULT', iovaRanges({ allowed_iovas: PAGE })),
  iova_ranges_room: refused('EMSGSIZE', iovaRanges({ num_iovas: 0 })),
  allow_reserved_field: refused('EOPNOTSUPP', allow([], { __reserved: 1 })),
  allow_ioas: refused('ENOENT', allow([], nobody)),
  allow_unreadable: refused('EFAULT', allow([[0n, 5n]], { allowed_iovas: PAGE })),
  allow_empty_range: refused('EINVAL', allow([[5n, 5n]])),
  allow_overlap: refused(
    'EINVAL',
    allow([
      [10n, 20n],
      [0n, 10n],
    ]),
  ),
  allow_too_many: refused(
    'ENOMEM',
    allow([
      [0n, 5n],
      [10n, 20n],
    ]),
    { options: { limits: { ranges: 1 } } },
  ),
  allow_reserved: refused(
    'EADDRINUSE',
    allow([[0n, 5n]], {}, (w, ioas) => w.reserve(ioas, 5n, 1n)),
  ),

  map_flags: refused('EOPNOTSUPP', map({ flags: 8 })),
  map_reserved_field: refused('EOPNOTSUPP', map({ __reserved: 1 })),
  map_overflow: refused('EOVERFLOW', map({ iova: MAX })),
  map_access: refused('EINVAL', map({ flags: FIXED })),
  map_ioas: refused('ENOENT', map(nobody)),
  map_address_wraps: refused('EOVERFLOW', map({ user_va: MAX })),
  map_length: refused('EINVAL', map({ length: 0n })),
  map_length_alignment: refused('EINVAL', map({ length: 2049n }, attach)),
  map_iova_alignment: refused('EINVAL', map({ iova: LOW + 1n }, attach)),
  map_iova_wraps: refused('EOVERFLOW', map({ iova: MAX - 5n })),
  map_reserved: refused(
    'EINVAL',
    map({}, (w, ioas) => w.reserve(ioas, LOW + 5n, 1n)),
  ),
  map_exists: refused(
    'EEXIST',
    map({}, (w, ioas) => w.map(ioas)),
  ),
  map_read_only_source: refused('EPERM', copy({}, READ)),
  map_page_offset: refused('EINVAL', (w) => {
    const ioas_id = w.ioas();
    w.device(ioas_id);
    const user_va = w.buffer() + 1n;
    const values = { flags: RW | FIXED, ioas_id, user_va, length: PAGE, iova: LOW };
    return () => w.call(u.IOMMU_IOAS_MAP, values);
  }),
  map_slice_pages: refused('EOVERFLOW', map({ user_va: 4095n, length: MAX - PAGE, iova: 0n })),
  place_too_long: refused('EOVERFLOW', map({ flags: RW, user_va: 0n, length: 1n << 63n })),
  place_alignment: refused('EINVAL', (w) => {
    const ioas_id = w.ioas();
    w.device(ioas_id);
    const user_va = w.buffer() + 1n;
    return () => w.call(u.IOMMU_IOAS_MAP, { flags: RW, ioas_id, user_va, length: PAGE });
  }),
  place_no_room: refused(
    'ENOSPC',
    map({ flags: RW }, (w, ioas) => {
      w.reserve(ioas, PAGE, MAX - PAGE);
    }),
  ),

  map_file_flags: refused('EOPNOTSUPP', mapFile({ flags: 8 })),
  map_file_overflow: refused('EOVERFLOW', mapFile({ length: MAX })),
  map_file_access: refused('EINVAL', mapFile({ flags: FIXED })),
  map_file_ioas: refused('ENOENT', mapFile(nobody)),
  map_file_length: refused('EINVAL', mapFile({ length: 0n })),
  map_file_wraps: refused('EOVERFLOW', mapFile({ start: MAX })),
  map_file_fd: refused('EBADF', mapFile({ fd: -1 })),
  map_foreign_dma_buf: refused('EOPNOTSUPP', (w) => {
    const ioas = w.ioas();
    w.client.foreign.set(50, w.foreignFile('dma-buf'));
    return () => w.mapFile(ioas, 50);
  }),
  map_dma_buf_range: refused('EINVAL', mapDmaBuf({ length: 5n * PAGE })),
  map_dma_buf_revoked: refused('ENODEV', mapDmaBuf({}, true)),
  pin_not_memfd: refused('EINVAL', (w) => {
    const ioas = w.ioas();
    w.device(ioas);
    w.client.foreign.set(50, w.foreignFile('other'));
    return () => w.mapFile(ioas, 50);
  }),
  pin_beyond_file: refused('EINVAL', mapFile({ length: 17n * PAGE }, attach)),
  pin_fault: refused('EFAULT', map({ user_va: PAGE }, attach)),
  pin_wraps: refused('EOVERFLOW', map({ user_va: (1n << 64n) - PAGE, length: PAGE / 2n }, attach)),
  pin_hold: refused('ENOMEM', (w) => {
    const act = map({}, attach)(w);
    const { mm } = w.client;
    const resolve = mm.resolve.bind(mm);
    mm.resolve = (at, length, write) =>
      resolve(at, length, write)?.map((run) => ({
        ...run,
        backing: { id: run.backing.id, read: () => false, write: () => false, hold: () => false },
      })) ?? null;
    return act;
  }),
  no_hpa: refused('ENOMEM', (w) => {
    const act = map({}, attach)(w);
    w.physical.window = () => null;
    return act;
  }),
  memlock: refused('ENOMEM', map({ length: 2n * PAGE }, attach), {
    options: { capabilities: [], memlockLimit: PAGE },
  }),
  page_table_memory: refused('ENOMEM', (w) => failingAt(w, 'page table', map({}, attach)(w))),

  copy_flags: refused('EOPNOTSUPP', copy({ flags: 8 })),
  copy_overflow: refused('EOVERFLOW', copy({ src_iova: MAX })),
  copy_access: refused('EINVAL', copy({ flags: FIXED })),
  copy_source_ioas: refused('ENOENT', copy({ src_ioas_id: 99 })),
  copy_length: refused('EINVAL', copy({ length: 0n })),
  copy_source_wraps: refused('EOVERFLOW', copy({ src_iova: MAX - 5n })),
  copy_source_gap: refused('ENOENT', copy({ length: 5n * PAGE })),
  copy_target_ioas: refused('ENOENT', copy({ dst_ioas_id: 99 })),

  unmap_ioas: refused('ENOENT', unmap(nobody)),
  unmap_overflow: refused('EOVERFLOW', unmap({ length: MAX })),
  unmap_length: refused('EINVAL', unmap({ length: 0n })),
  unmap_wraps: refused('EOVERFLOW', unmap({ iova: MAX - 5n })),
  unmap_locked: refused('EBUSY', (w) => {
    const { ioas, viommu } = w.guest();
    w.map(ioas);
    w.hwQueue(viommu, 0);
    return () => w.unmap(ioas);
  }),
  unmap_partial: refused('ENOENT', unmap({ length: PAGE })),
  unmap_nothing: refused('ENOENT', unmap({ iova: LOW * 2n })),

  change_process_reserved: refused(
    'EOPNOTSUPP',
    (w) => () => w.call(u.IOMMU_IOAS_CHANGE_PROCESS, { __reserved: 1 }),
  ),
  change_process_kind: refused('EINVAL', (w) => {
    w.map(w.ioas());
    return () => w.call(u.IOMMU_IOAS_CHANGE_PROCESS);
  }),
  change_process_gone: refused(
    'EINVAL',
    (w) => {
      const act = mapFile({ length: PAGE, flags: WRITE | FIXED }, attach)(w);
      w.context.accountMode = 'mm';
      act();
      Object.defineProperty(w.client.memory, 'isAlive', { value: false });
      const { iommufd } = w.other({ capabilities: [] });
      return () => iommufd.call(u.IOMMU_IOAS_CHANGE_PROCESS);
    },
    { options: { capabilities: [] }, leavesChanges: true },
  ),
  change_process_memlock: refused(
    'ENOMEM',
    (w) => {
      const act = mapFile({ length: 2n * PAGE, flags: WRITE | FIXED }, attach)(w);
      act();
      const { iommufd } = w.other({ capabilities: [], memlockLimit: PAGE });
      return () => iommufd.call(u.IOMMU_IOAS_CHANGE_PROCESS);
    },
    { options: { capabilities: [] } },
  ),

  alignment_conflict: refused('EADDRINUSE', (w) => {
    const ioas_id = w.ioas();
    const values = { flags: RW | FIXED, ioas_id, user_va: w.buffer(), length: 5n, iova: LOW };
    w.call(u.IOMMU_IOAS_MAP, values);
    return () => w.device(ioas_id);
  }),
  reserve_mapped: refused('EADDRINUSE', (w) => {
    const ioas = w.ioas();
    w.map(ioas);
    return () => w.reserve(ioas, LOW, 1n);
  }),
  reserve_allowed: refused('EADDRINUSE', (w) => {
    const ioas_id = w.ioas();
    const allowed_iovas = ranges(w, [LOW, LOW + PAGE]);
    w.call(u.IOMMU_IOAS_ALLOW_IOVAS, { ioas_id, num_iovas: 1, allowed_iovas });
    return () => w.reserve(ioas_id, LOW, 1n);
  }),
  resv_regions_failed: refused('EINVAL', (w) => {
    const ioas = w.ioas();
    return failingAt(w, 'device reserved regions', () => w.device(ioas));
  }),

  option_reserved: refused('EOPNOTSUPP', rlimitMode({ __reserved: 1 })),
  option_unknown: refused('EOPNOTSUPP', rlimitMode({ option_id: 2 })),
  rlimit_mode_object: refused('EOPNOTSUPP', rlimitMode({ object_id: 1 })),
  rlimit_mode_op: refused('EOPNOTSUPP', rlimitMode({ op: 2 })),
  rlimit_mode_capability: refused('EPERM', rlimitMode({}), { options: { capabilities: [] } }),
  rlimit_mode_busy: refused(
    'EBUSY',
    rlimitMode({}, (w) => w.ioas()),
  ),
  rlimit_mode_value: refused('EINVAL', rlimitMode({ val64: 2n })),
  huge_pages_ioas: refused('ENOENT', hugePages({ object_id: 99 })),
  huge_pages_op: refused('EOPNOTSUPP', hugePages({ op: 2 })),
  huge_pages_value: refused('EINVAL', hugePages({ val64: 2n })),
  huge_pages_in_use: refused(
    'EINVAL',
    hugePages({}, (w, ioas) => {
      w.device(ioas);
      w.map(ioas);
    }),
  ),
};
