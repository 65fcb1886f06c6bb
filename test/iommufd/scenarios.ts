/** Sequences of calls that together pass every point that can be made to fail. Each builds all that it needs. */
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../src/wire/uapi/iommufd_test.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { FIXED, LOW, PAGE, RW, type World } from './world.js';

export interface Scenario {
  /** At least so many points can fail on the way. */
  readonly points: number;
  readonly run: (w: World) => void;
}

const SLOW = t.MOCK_ACCESS_RW_SLOW_PATH;
const PUT = t.MOCK_ACCESS_RW_WRITE;

function range(w: World, start: bigint, last: bigint): bigint {
  return w.put(u.iommu_iova_range, { start, last });
}

function copy(w: World, src_ioas_id: number, dst_ioas_id: number): void {
  const values = { src_ioas_id, dst_ioas_id, src_iova: LOW, length: 2n * PAGE };
  w.call(u.IOMMU_IOAS_COPY, { flags: RW, ...values });
  w.call(u.IOMMU_IOAS_COPY, { flags: RW | FIXED, dst_iova: LOW * 2n, ...values });
}

/** Two mappings, seen through a page table that was there before and one that came after. */
function mapAndDomain(w: World): void {
  const ioas = w.ioas();
  w.map(ioas);
  w.device(ioas);
  const at = w.map(ioas, LOW * 2n, 300);
  const { stdev, hwpt } = w.device(ioas);
  w.checkMap(hwpt, LOW * 2n, 300n * PAGE, at);
  w.checkRefs(at, 300n * PAGE, 1);
  w.unmap(ioas);
  w.call(u.IOMMU_DESTROY, { id: stdev });
}

function copies(w: World): void {
  const [source, target] = [w.ioas(), w.ioas()];
  w.map(source);
  w.device(source);
  w.device(target);
  copy(w, source, target);
  copy(w, source, source);
}

function addressSpace(w: World): void {
  const ioas_id = w.ioas();
  w.reserve(ioas_id, 0n, PAGE);
  w.call(u.IOMMU_IOAS_ALLOW_IOVAS, { ioas_id, num_iovas: 1, allowed_iovas: range(w, LOW, LOW * 2n) });
  w.call(u.IOMMU_IOAS_IOVA_RANGES, { ioas_id, num_iovas: 2, allowed_iovas: w.buffer() });
  w.call(u.IOMMU_OPTION, { option_id: u.IOMMU_OPTION_HUGE_PAGES, op: 1, object_id: ioas_id });
  w.test(t.iommu_test_cmd_memory_limit, t.IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT, { limit: 65536 });
  const user_va = w.buffer();
  w.call(u.IOMMU_IOAS_MAP, { flags: RW, ioas_id, user_va, length: PAGE });
  w.call(u.IOMMU_IOAS_UNMAP, { ioas_id, length: (1n << 64n) - 1n });
}

/** Copies by all four ways: the caller's own pages, one page and many of somebody else's, and through frames. */
function accessCopies(w: World): void {
  const ioas = w.ioas();
  w.map(ioas);
  const fd = w.access(ioas, 0);
  const uptr = w.buffer();
  for (const flags of [0, PUT, SLOW, PUT | SLOW]) {
    w.rw(fd, LOW + 5n, 50n, uptr, flags);
    w.rw(fd, LOW + 5n, 5000n, uptr, flags);
  }
}

function accessPages(w: World): void {
  const [ioas, other] = [w.ioas(), w.ioas()];
  const at = w.map(ioas);
  w.map(ioas, LOW + 4n * PAGE);
  const fd = w.access(ioas);
  const item = w.pin(fd, LOW, 8n * PAGE);
  w.pin(fd, LOW + PAGE, PAGE, t.MOCK_FLAGS_ACCESS_WRITE, at + PAGE);
  w.unpin(fd, item);
  w.device(ioas);
  w.pin(fd, LOW, PAGE);
  w.unmap(ioas);
  w.test(t.iommu_test_cmd_access_replace_ioas, t.IOMMU_TEST_OP_ACCESS_REPLACE_IOAS, {
    id: fd,
    ioas_id: other,
  });
}

function devicesAndPasids(w: World): void {
  const ioas = w.ioas();
  w.map(ioas);
  const { stdev, dev } = w.device(ioas, t.MOCK_FLAGS_DEVICE_PASID);
  w.call(u.IOMMU_GET_HW_INFO, { dev_id: dev, data_len: 100, data_uptr: w.buffer() });
  const flags = u.IOMMU_HWPT_ALLOC_PASID;
  const [one, two] = [w.hwpt(dev, ioas, { flags }), w.hwpt(dev, ioas, { flags })];
  w.replace(stdev, one);
  w.pasidAttach(stdev, 5, one);
  w.pasidReplace(stdev, 5, two);
  w.test(t.iommu_test_cmd_pasid_check, t.IOMMU_TEST_OP_PASID_CHECK_HWPT, {
    id: stdev,
    pasid: 5,
    hwpt_id: two,
  });
  w.pasidDetach(stdev, 5);
  w.replace(stdev, w.ioas());
  w.replace(stdev, ioas);
}

function guests(w: World): void {
  const { stdev, dev, ioas, parent } = w.guest();
  w.map(ioas);
  const data_uptr = w.put(t.iommu_viommu_selftest, { in_data: 5 });
  const viommu = w.viommu(dev, parent, { data_uptr, data_len: t.iommu_viommu_selftest.size });
  const vdevice = w.vdevice(viommu, dev, 0x99n);
  const { fd } = w.veventq(viommu);
  w.replace(stdev, w.nested(dev, viommu));
  w.vevent(dev);
  w.client.read(fd, 100);
  w.hwQueue(viommu, 0);
  w.call(u.IOMMU_DESTROY, { id: w.hwQueue(viommu, 1, LOW + 5n, PAGE) });
  const entry = w.put(t.iommu_viommu_invalidate_selftest, { vdev_id: 0x99 });
  const data_type = t.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
  const values = { hwpt_id: viommu, data_type, data_uptr: entry, entry_num: 1 };
  w.call(u.IOMMU_HWPT_INVALIDATE, { ...values, entry_len: 12 });
  w.call(u.IOMMU_HWPT_INVALIDATE, { ...values, entry_len: 16 });
  w.test(t.iommu_test_cmd_check_dev_cache, t.IOMMU_TEST_OP_DEV_CHECK_CACHE, {
    id: dev,
    check_dev_cache_id: 1,
    cache: t.IOMMU_TEST_DEV_CACHE_DEFAULT,
  });
  w.replace(stdev, ioas);
  w.call(u.IOMMU_DESTROY, { id: vdevice });
}

function nesting(w: World): void {
  const { dev, parent } = w.guest();
  const hwpt_id = w.nested(dev, parent);
  const data_uptr = w.put(t.iommu_hwpt_invalidate_selftest, { iotlb_id: 1 });
  const data_type = t.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
  w.call(u.IOMMU_HWPT_INVALIDATE, { hwpt_id, data_type, data_uptr, entry_len: 8, entry_num: 1 });
  const check = { id: hwpt_id, check_iotlb_id: 1, iotlb: 0 };
  w.test(t.iommu_test_cmd_check_iotlb, t.IOMMU_TEST_OP_MD_CHECK_IOTLB, check);
}

function faults(w: World): void {
  const { stdev, dev, fd, ioas } = w.faultingDevice();
  w.iopf(dev, { grpid: 1 });
  w.iopf(dev, { grpid: 2 });
  const { cookie } = u.iommu_hwpt_pgfault.decode(w.client.read(fd, 40));
  const response = new Uint8Array(8);
  u.iommu_hwpt_page_response.encode({ cookie, code: 0 }, response);
  w.client.write(fd, response);
  w.replace(stdev, ioas);
}

function dirtyTracking(w: World): void {
  const ioas = w.ioas();
  const { dev } = w.device(ioas);
  w.map(ioas);
  const hwpt_id = w.hwpt(dev, ioas, { flags: u.IOMMU_HWPT_ALLOC_DIRTY_TRACKING });
  w.call(u.IOMMU_HWPT_SET_DIRTY_TRACKING, { hwpt_id, flags: 1 });
  const uptr = w.client.memory.store(Uint8Array.of(5));
  const pages = { iova: LOW, length: 4n * PAGE, page_size: PAGE };
  w.test(t.iommu_test_cmd_dirty, t.IOMMU_TEST_OP_DIRTY, { id: hwpt_id, uptr, ...pages });
  w.call(u.IOMMU_HWPT_GET_DIRTY_BITMAP, { hwpt_id, data: w.buffer(), ...pages });
}

function files(w: World): void {
  const ioas = w.ioas();
  w.device(ioas);
  const { fd } = w.client.memfd(16 * Number(PAGE));
  w.mapFile(ioas, fd, { length: 4n * PAGE });
  w.mapFile(ioas, fd, { flags: RW, start: PAGE, length: PAGE });
  const { iommufd } = w.other({ capabilities: [] });
  iommufd.call(u.IOMMU_IOAS_CHANGE_PROCESS);
  w.call(u.IOMMU_IOAS_CHANGE_PROCESS);
}

function dmaBufs(w: World): void {
  const ioas = w.ioas();
  w.device(ioas);
  const buffer = w.dmaBuf();
  w.mapFile(ioas, buffer, { iova: LOW * 2n });
  w.device(ioas);
  w.revoke(buffer);
}

function vfioContainer(w: World): void {
  const ioas_id = w.ioas();
  w.call(u.IOMMU_VFIO_IOAS, { op: u.IOMMU_VFIO_IOAS_SET, ioas_id });
  w.call(u.IOMMU_VFIO_IOAS, { op: u.IOMMU_VFIO_IOAS_GET });
  w.client.ioctl(w.fd, v.VFIO_SET_IOMMU, BigInt(v.VFIO_TYPE1_IOMMU));
  w.device(ioas_id);
  const map = { argsz: 32, flags: 3, vaddr: w.buffer(), iova: LOW, size: 4n * PAGE };
  w.client.ioctl(w.fd, v.VFIO_IOMMU_MAP_DMA, w.put(v.vfio_iommu_type1_dma_map, map));
  const unmap = { argsz: 24, iova: LOW + PAGE, size: PAGE };
  w.client.ioctl(w.fd, v.VFIO_IOMMU_UNMAP_DMA, w.put(v.vfio_iommu_type1_dma_unmap, unmap));
  const info = new Uint8Array(4096);
  v.vfio_iommu_type1_info.encode(v.vfio_iommu_type1_info.create({ argsz: 4096 }), info);
  w.client.ioctl(w.fd, v.VFIO_IOMMU_GET_INFO, w.client.memory.store(info));
  w.reserve(ioas_id, LOW * 4n, PAGE);
  v.vfio_iommu_type1_info.encode(v.vfio_iommu_type1_info.create({ argsz: 72 }), info);
  w.client.ioctl(w.fd, v.VFIO_IOMMU_GET_INFO, w.client.memory.store(info));
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  'mappings and page tables': { points: 60, run: mapAndDomain },
  copies: { points: 40, run: copies },
  'an address space': { points: 20, run: addressSpace },
  'accesses that copy': { points: 30, run: accessCopies },
  'accesses that pin': { points: 40, run: accessPages },
  'devices and PASIDs': { points: 60, run: devicesAndPasids },
  guests: { points: 80, run: guests },
  nesting: { points: 25, run: nesting },
  'page requests': { points: 25, run: faults },
  'dirty tracking': { points: 25, run: dirtyTracking },
  'files and processes': { points: 30, run: files },
  'dma-bufs': { points: 30, run: dmaBufs },
  'a VFIO container': { points: 25, run: vfioContainer },
};
