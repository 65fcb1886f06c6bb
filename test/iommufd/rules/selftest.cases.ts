/** Rules of IOMMU_TEST_CMD. */
import * as u from '../../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../../src/wire/uapi/iommufd_test.gen.js';
import { LOW, MAX, PAGE, type World } from '../world.js';
import { refused, type Cases, type Prepare } from './case.js';

const LARGE = 16n * 1024n * 1024n + 1n;

/** A device with four pages at LOW in its page table. */
function mapped(w: World): { ioas: number; hwpt: number; stdev: number; dev: number; at: bigint } {
  const ioas = w.ioas();
  const ids = w.device(ioas);
  return { ...ids, ioas, at: w.map(ioas) };
}

const checkMap =
  (change: (at: bigint) => readonly [iova: bigint, length: bigint, uptr: bigint]): Prepare =>
  (w) => {
    const { hwpt, at } = mapped(w);
    return () => w.checkMap(hwpt, ...change(at));
  };

const checkRefs =
  (change: (at: bigint) => readonly [uptr: bigint, length: bigint, refs: number]): Prepare =>
  (w) => {
    const { at } = mapped(w);
    return () => w.checkRefs(...change(at));
  };

/** A nested table, four of whose IOTLB words hold the default. */
const checkIotlb =
  (values: Partial<t.IommuTestCmdCheckIotlb>): Prepare =>
  (w) => {
    const { dev, parent } = w.guest();
    const id = w.nested(dev, parent);
    return () => w.test(t.iommu_test_cmd_check_iotlb, t.IOMMU_TEST_OP_MD_CHECK_IOTLB, { id, ...values });
  };

const checkCache =
  (values: Partial<t.IommuTestCmdCheckDevCache>): Prepare =>
  (w) => {
    const { dev: id } = mapped(w);
    return () => w.test(t.iommu_test_cmd_check_dev_cache, t.IOMMU_TEST_OP_DEV_CHECK_CACHE, { id, ...values });
  };

/** An access of an IOAS with four pages at LOW. */
const withAccess =
  (act: (w: World, fd: number, at: bigint, ioas: number) => unknown, flags = 1): Prepare =>
  (w) => {
    const ioas = w.ioas();
    const at = w.map(ioas);
    const fd = w.access(ioas, flags);
    return () => act(w, fd, at, ioas);
  };

const dirty =
  (values: Partial<t.IommuTestCmdDirty>, enable = true): Prepare =>
  (w) => {
    const { ioas, dev } = mapped(w);
    const id = w.hwpt(dev, ioas, { flags: u.IOMMU_HWPT_ALLOC_DIRTY_TRACKING });
    if (enable) w.call(u.IOMMU_HWPT_SET_DIRTY_TRACKING, { hwpt_id: id, flags: 1 });
    const right = { id, iova: LOW, length: PAGE, page_size: PAGE, uptr: w.buffer() };
    return () => w.test(t.iommu_test_cmd_dirty, t.IOMMU_TEST_OP_DIRTY, { ...right, ...values });
  };

/** Asks for the page table of PASID 5, which is attached if `attached`. */
const pasidCheck =
  (attached: boolean, hwptId: (w: World, other: number) => number): Prepare =>
  (w) => {
    const ioas = w.ioas();
    const { stdev, dev } = w.device(ioas, t.MOCK_FLAGS_DEVICE_PASID);
    const flags = u.IOMMU_HWPT_ALLOC_PASID;
    const [hwpt, other] = [w.hwpt(dev, ioas, { flags }), w.hwpt(dev, ioas, { flags })];
    w.replace(stdev, hwpt);
    if (attached) w.pasidAttach(stdev, 5, hwpt);
    const values = { id: stdev, pasid: 5, hwpt_id: hwptId(w, other) };
    return () => w.test(t.iommu_test_cmd_pasid_check, t.IOMMU_TEST_OP_PASID_CHECK_HWPT, values);
  };

const replaceIoas = (w: World, id: number, ioas_id: number): unknown =>
  w.test(t.iommu_test_cmd_access_replace_ioas, t.IOMMU_TEST_OP_ACCESS_REPLACE_IOAS, { id, ioas_id });

const memoryLimit = (limit: number): Prepare => {
  const op = t.IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT;
  return (w) => () => w.test(t.iommu_test_cmd_memory_limit, op, { limit });
};

export const selftestCases: Cases = {
  test_op: refused('EOPNOTSUPP', (w) => () => w.test(t.iommu_test_cmd, 24)),
  test_reserve_length: refused('EINVAL', (w) => () => w.reserve(99, LOW, 0n)),
  test_reserve_wraps: refused('EOVERFLOW', (w) => () => w.reserve(99, MAX, 2n)),
  test_reserve_ioas: refused('ENOENT', (w) => () => w.reserve(99, LOW, PAGE)),
  test_device_flags: refused('EINVAL', (w) => {
    const ioas = w.ioas();
    return () => w.device(ioas, 2);
  }),
  test_device: refused('ENOENT', (w) => {
    const { dev, hwpt } = mapped(w);
    return () => w.replace(dev, hwpt);
  }),
  test_hwpt_paging: refused('ENOENT', (w) => {
    const { ioas, at } = mapped(w);
    return () => w.checkMap(ioas, LOW, PAGE, at);
  }),
  test_hwpt_nested: refused('ENOENT', checkIotlb({ id: 1 })),
  test_check_map_range: refused(
    'EINVAL',
    checkMap((at) => [LOW, 5n, at]),
  ),
  test_check_map_fault: refused(
    'EFAULT',
    checkMap((at) => [LOW, 5n * PAGE, at]),
  ),
  test_check_map_wraps: refused(
    'EOVERFLOW',
    checkMap(() => [LOW, PAGE / 2n, (1n << 64n) - PAGE]),
  ),
  test_check_map_frame: refused(
    'EINVAL',
    checkMap((at) => [LOW, PAGE, at + PAGE]),
  ),
  test_check_refs_range: refused(
    'EINVAL',
    checkRefs((at) => [at + 1n, PAGE, 1]),
  ),
  test_check_refs_fault: refused(
    'EFAULT',
    checkRefs((at) => [at, 5n * PAGE, 1]),
  ),
  test_check_refs_count: refused(
    'EIO',
    checkRefs((at) => [at, PAGE, 2]),
  ),
  test_check_iotlb: refused('EINVAL', checkIotlb({ check_iotlb_id: 3, iotlb: 1 })),
  test_cache_device: refused('ENOENT', checkCache({ id: 99 })),
  test_check_cache: refused('EINVAL', checkCache({ check_dev_cache_id: 3, cache: 1 })),

  test_access_flags: refused('EOPNOTSUPP', (w) => {
    const ioas = w.ioas();
    return () => w.access(ioas, 2);
  }),
  test_access_descriptors: refused('ENOMEM', (w) => {
    const ioas = w.ioas();
    w.client.full = true;
    return () => w.access(ioas);
  }),
  test_access_ioas: refused('ENOENT', (w) => () => w.access(99)),
  test_access_fd: refused('EBADFD', (w) => () => w.pin(w.fd, LOW, PAGE)),
  test_access_ioctl: refused(
    'ENOTTY',
    withAccess((w, fd) => w.client.ioctl(fd, u.IOMMU_DESTROY, 0n)),
  ),
  test_access_read: refused(
    'EINVAL',
    withAccess((w, fd) => w.client.read(fd, 8)),
  ),
  test_access_write: refused(
    'EINVAL',
    withAccess((w, fd) => w.client.write(fd, new Uint8Array(8))),
  ),
  test_access_mmap: refused(
    'ENODEV',
    withAccess((w, fd) => w.client.mmap(fd, { offset: 0n, length: PAGE, shared: true, exec: false })),
  ),
  test_access_item: refused(
    'ENOENT',
    withAccess((w, fd) => w.unpin(fd, 0)),
  ),
  test_replace_ioas: refused(
    'ENOENT',
    withAccess((w, fd) => replaceIoas(w, fd, 99)),
  ),
  test_access_pages_length: refused(
    'ENOMEM',
    withAccess((w, fd) => w.pin(fd, LOW, LARGE)),
  ),
  test_access_pages_flags: refused(
    'EOPNOTSUPP',
    withAccess((w, fd) => w.pin(fd, LOW, PAGE, 2)),
  ),
  test_access_pages_kind: refused(
    'EOPNOTSUPP',
    withAccess((w, fd) => w.pin(fd, LOW, PAGE), 0),
  ),
  test_access_pages_fault: refused(
    'EFAULT',
    withAccess((w, fd) => w.pin(fd, LOW, PAGE, 0, PAGE)),
  ),
  test_access_pages_wraps: refused(
    'EOVERFLOW',
    withAccess((w, fd) => w.pin(fd, LOW, PAGE, 0, (1n << 64n) - PAGE)),
  ),
  test_access_pages_other: refused(
    'EBADE',
    withAccess((w, fd, at) => w.pin(fd, LOW, PAGE, 0, at + PAGE)),
  ),
  test_rw_length: refused(
    'ENOMEM',
    withAccess((w, fd, at) => w.rw(fd, LOW, LARGE, at)),
  ),
  test_rw_flags: refused(
    'EOPNOTSUPP',
    withAccess((w, fd, at) => w.rw(fd, LOW, PAGE, at, 2)),
  ),
  test_rw_unreadable: refused(
    'EFAULT',
    withAccess((w, fd) => w.rw(fd, LOW, PAGE, PAGE, t.MOCK_ACCESS_RW_WRITE)),
  ),
  test_rw_unwritable: refused(
    'EFAULT',
    withAccess((w, fd) => w.rw(fd, LOW, PAGE, PAGE)),
  ),
  test_memory_limit: refused('EINVAL', memoryLimit(11)),

  test_dirty_range: refused('EINVAL', dirty({ uptr: 0n })),
  test_dirty_bits: refused('EOVERFLOW', dirty({ iova: 0n, length: 1n << 40n, page_size: 1n })),
  test_dirty_off: refused('EINVAL', dirty({}, false)),
  test_dirty_unreadable: refused('EFAULT', dirty({ uptr: PAGE })),
  test_iopf_device: refused('ENOENT', (w) => () => w.iopf(99)),
  test_vevent_device: refused('ENOENT', (w) => () => w.vevent(99)),
  test_vevent_viommu: refused('ENOENT', (w) => {
    const { dev } = mapped(w);
    return () => w.vevent(dev);
  }),
  test_pasid_attached: refused(
    'EINVAL',
    pasidCheck(true, () => 0),
  ),
  test_pasid_hwpt: refused(
    'ENOENT',
    pasidCheck(true, () => 99),
  ),
  test_pasid_hwpt_type: refused(
    'EINVAL',
    pasidCheck(true, (w) => w.ioas()),
  ),
  test_pasid_other_hwpt: refused(
    'EINVAL',
    pasidCheck(true, (_w, other) => other),
  ),
  test_dmabuf_length: refused('EINVAL', (w) => () => w.dmaBuf(513)),
  test_dmabuf_descriptors: refused('EMFILE', (w) => {
    w.client.full = true;
    return () => w.dmaBuf();
  }),
  test_revoke_fd: refused('EBADF', (w) => () => w.revoke(99)),
  test_revoke_foreign: refused('EOPNOTSUPP', (w) => {
    w.client.foreign.set(50, w.foreignFile('dma-buf'));
    return () => w.revoke(50);
  }),
  test_revoke_kind: refused('EINVAL', (w) => () => w.revoke(w.fd)),
};
