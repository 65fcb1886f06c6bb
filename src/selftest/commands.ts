/**
 * IOMMU_TEST_CMD, as a kernel with CONFIG_IOMMUFD_TEST has it: makes mock devices, moves bytes, checks frames,
 * pins and caches, and triggers what hardware would. Offered only by machines that ask for it.
 */
import { refuse } from '../base/errno.js';
import * as uapi from '../wire/uapi/iommufd_test.gen.js';
import type { Struct } from '../wire/struct.js';
import { O_CLOEXEC, O_RDWR } from '../mem/task.js';
import { IOMMU_NO_PASID } from '../hw/group.js';
import { PageRequestFlags, reportDeviceFault } from '../hw/iopf.js';
import { MockDevice } from '../hw/mock/device.js';
import { MockDomain } from '../hw/mock/domain.js';
import { MockNested } from '../hw/mock/nested.js';
import type { MockUnit } from '../hw/mock/unit.js';
import { Access } from '../iommufd/access.js';
import type { Call } from '../iommufd/call.js';
import { Device } from '../iommufd/device.js';
import type { IoctlRow } from '../iommufd/dispatch.js';
import { DmaBuf } from '../iommufd/dma-buf.js';
import { HwptNested, HwptPaging } from '../iommufd/hwpt.js';
import type { Ioas } from '../iommufd/ioas.js';
import { IommufdObject } from '../iommufd/object.js';
import { ACCESS_PAGES_FLAGS, LAST_PAGE, SelftestAccess, pinItem } from './access.js';
import { PAGE_BYTES, PAGE_SIZE, U64_MAX, misaligned, pageDown, pageOffset } from '../iommufd/units.js';
import { rules } from './rules.js';

/** What a mock device is to its context: destroying it unbinds the device. */
class SelftestObject extends IommufdObject {
  readonly type = 'SELFTEST';
  bound: Device | null = null;

  constructor(
    readonly unit: MockUnit,
    readonly device: MockDevice,
  ) {
    super();
  }

  destroy(): void {
    this.bound?.detach(IOMMU_NO_PASID);
    this.bound?.unbind();
    this.unit.removeDevice(this.device);
  }
}

/** Linux' iommufd_test_memory_limit bounds its batches; there are none here, but the number is checked. */
const LEAST_MEMORY_LIMIT = 12;
const LARGEST_COPY = 16n * 1024n * 1024n;
const LARGEST_DIRTY_BITMAP = 16n * 1024n * 1024n * 8n;
const LARGEST_DMA_BUF = 512 * PAGE_BYTES;

/** Decodes one arm of the command's union. The answer keeps the bytes that the arm does not name. */
function arm<T>(
  struct: Struct<T>,
  run: (call: Call, cmd: T & { id: number }, answer: (now?: boolean) => void) => number | void,
): (call: Call, bytes: Uint8Array) => number {
  return (call, bytes) => {
    const cmd = struct.decode(bytes) as T & { id: number };
    const answer = (now = false): void => {
      struct.encode(cmd, bytes);
      call.respondBytes(bytes, now);
    };
    return run(call, cmd, answer) ?? 0;
  };
}

export function selftestRow(unit: MockUnit): IoctlRow {
  const operations = testOperations(unit);
  return {
    cmd: uapi.IOMMU_TEST_CMD,
    name: 'IOMMU_TEST_CMD',
    minSize: uapi.iommu_test_cmd.endOf('last'),
    run: (call) => {
      const bytes = call.copyStructBytes(uapi.iommu_test_cmd.size, call.arg, call.userSize);
      const { op } = uapi.iommu_test_cmd.decode(bytes);
      const operation = operations.get(op);
      if (operation === undefined) refuse(rules.test_op, { op });
      return operation(call, bytes);
    },
  };
}

function testOperations(unit: MockUnit): ReadonlyMap<number, (call: Call, bytes: Uint8Array) => number> {
  return new Map([
    [uapi.IOMMU_TEST_OP_ADD_RESERVED, arm(uapi.iommu_test_cmd_add_reserved, addReserved)],
    [uapi.IOMMU_TEST_OP_MOCK_DOMAIN, arm(uapi.iommu_test_cmd_mock_domain_flags, mockDomain(unit, false))],
    [
      uapi.IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS,
      arm(uapi.iommu_test_cmd_mock_domain_flags, mockDomain(unit, true)),
    ],
    [uapi.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, arm(uapi.iommu_test_cmd_mock_domain_replace, mockDomainReplace)],
    [uapi.IOMMU_TEST_OP_MD_CHECK_MAP, arm(uapi.iommu_test_cmd_check_map, checkMap)],
    [uapi.IOMMU_TEST_OP_MD_CHECK_REFS, arm(uapi.iommu_test_cmd_check_refs, checkRefs)],
    [uapi.IOMMU_TEST_OP_MD_CHECK_IOTLB, arm(uapi.iommu_test_cmd_check_iotlb, checkIotlb)],
    [uapi.IOMMU_TEST_OP_DEV_CHECK_CACHE, arm(uapi.iommu_test_cmd_check_dev_cache, checkDeviceCache)],
    [uapi.IOMMU_TEST_OP_CREATE_ACCESS, arm(uapi.iommu_test_cmd_create_access, createAccess)],
    [uapi.IOMMU_TEST_OP_ACCESS_REPLACE_IOAS, arm(uapi.iommu_test_cmd_access_replace_ioas, accessReplaceIoas)],
    [uapi.IOMMU_TEST_OP_ACCESS_PAGES, arm(uapi.iommu_test_cmd_access_pages, accessPages)],
    [uapi.IOMMU_TEST_OP_ACCESS_RW, arm(uapi.iommu_test_cmd_access_rw, accessRw)],
    [
      uapi.IOMMU_TEST_OP_DESTROY_ACCESS_PAGES,
      arm(uapi.iommu_test_cmd_destroy_access_pages, destroyAccessPages),
    ],
    [uapi.IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT, arm(uapi.iommu_test_cmd_memory_limit, setMemoryLimit)],
    [uapi.IOMMU_TEST_OP_DIRTY, arm(uapi.iommu_test_cmd_dirty, dirty)],
    [uapi.IOMMU_TEST_OP_TRIGGER_IOPF, arm(uapi.iommu_test_cmd_trigger_iopf, triggerIopf)],
    [uapi.IOMMU_TEST_OP_TRIGGER_VEVENT, arm(uapi.iommu_test_cmd_trigger_vevent, triggerVevent)],
    [uapi.IOMMU_TEST_OP_PASID_ATTACH, arm(uapi.iommu_test_cmd_pasid_attach, pasidAttach)],
    [uapi.IOMMU_TEST_OP_PASID_REPLACE, arm(uapi.iommu_test_cmd_pasid_replace, pasidReplace)],
    [uapi.IOMMU_TEST_OP_PASID_DETACH, arm(uapi.iommu_test_cmd_pasid_detach, pasidDetach)],
    [uapi.IOMMU_TEST_OP_PASID_CHECK_HWPT, arm(uapi.iommu_test_cmd_pasid_check, pasidCheckHwpt)],
    [uapi.IOMMU_TEST_OP_DMABUF_GET, arm(uapi.iommu_test_cmd_dmabuf_get, dmabufGet)],
    [uapi.IOMMU_TEST_OP_DMABUF_REVOKE, arm(uapi.iommu_test_cmd_dmabuf_revoke, dmabufRevoke)],
  ]);
}

function addReserved(call: Call, cmd: uapi.IommuTestCmdAddReserved): void {
  if (cmd.length === 0n) refuse(rules.test_reserve_length, {});
  const last = cmd.start + cmd.length - 1n;
  if (last > U64_MAX) refuse(rules.test_reserve_wraps, { start: cmd.start, length: cmd.length });
  const { table } = call.context.find<Ioas>(call, cmd.id, 'IOAS', rules.test_reserve_ioas);
  table.reserve(cmd.start, last, null);
}

const DEVICE_FLAGS = uapi.MOCK_FLAGS_DEVICE_NO_DIRTY | uapi.MOCK_FLAGS_DEVICE_PASID;

/** A device appears, is bound, and attached to `id`. */
function mockDomain(unit: MockUnit, withFlags: boolean) {
  return (call: Call, cmd: uapi.IommuTestCmdMockDomainFlags, answer: (now?: boolean) => void): void => {
    const flags = withFlags ? cmd.dev_flags : 0;
    call.context.objects.checkRoom(call, 'SELFTEST device');
    if ((flags & ~DEVICE_FLAGS) !== 0) refuse(rules.test_device_flags, { dev_flags: flags });
    const device = unit.addDevice(flags);
    call.tx.onAbort(() => unit.removeDevice(device));
    const object = call.reserve(new SelftestObject(unit, device));
    const bound = Device.bindDevice(call, device);
    cmd.out_hwpt_id = bound.attach(call, IOMMU_NO_PASID, cmd.id);
    object.bound = bound;
    cmd.out_stdev_id = object.id;
    cmd.out_idev_id = bound.id;
    answer(true);
  };
}

function selftestDevice(call: Call, id: number): { bound: Device; device: MockDevice } {
  const object = call.context.find<SelftestObject>(call, id, 'SELFTEST', rules.test_device);
  return { bound: object.bound!, device: object.device };
}

function mockDomainReplace(call: Call, cmd: uapi.IommuTestCmdMockDomainReplace, answer: () => void): void {
  const { bound } = selftestDevice(call, cmd.id);
  cmd.pt_id = bound.replace(call, IOMMU_NO_PASID, cmd.pt_id);
  call.commit();
  answer();
}

function pagingDomain(call: Call, id: number): MockDomain {
  const { domain } = call.context.find<HwptPaging>(call, id, 'HWPT_PAGING', rules.test_hwpt_paging);
  if (!(domain instanceof MockDomain)) refuse(rules.test_hwpt_not_mock, { id });
  return domain;
}

/** Every page under the IOVA has to be the page under the pointer. */
function checkMap(call: Call, cmd: uapi.IommuTestCmdCheckMap): void {
  const { iova, length, uptr } = cmd;
  const domain = pagingDomain(call, cmd.id);
  const page = domain.pgsizeBitmap & -domain.pgsizeBitmap;
  if (
    misaligned(iova, page) ||
    misaligned(length, page) ||
    misaligned(uptr, page) ||
    uptr + length > U64_MAX
  ) {
    refuse(rules.test_check_map_range, { iova, length, uptr, page });
  }
  const { physical } = call.context.env;
  for (let done = 0n; done < length; done += page) {
    const at = uptr + done;
    if (pageDown(at) === LAST_PAGE) refuse(rules.test_check_map_wraps, { at });
    const runs = call.task.mm.resolve(pageDown(at), PAGE_SIZE, false);
    if (runs === null) refuse(rules.test_check_map_fault, { at });
    const frame = physical.hpaOf(runs[0]!.backing, runs[0]!.offset);
    const found = domain.iovaToPhys(BigInt.asUintN(64, iova + done));
    const expected = frame === null ? null : frame + pageOffset(at);
    if (found !== expected) {
      refuse(rules.test_check_map_frame, { iova: iova + done, hpa: found, expected: expected ?? 'no frame' });
    }
  }
}

/** Every page has to be pinned `refs` times. */
function checkRefs(call: Call, cmd: uapi.IommuTestCmdCheckRefs): void {
  const { length, uptr, refs } = cmd;
  if (pageOffset(length) !== 0n || pageOffset(uptr) !== 0n || uptr + length > U64_MAX) {
    refuse(rules.test_check_refs_range, { length, uptr });
  }
  const { physical, pins } = call.context.env;
  for (let done = 0n; done < length; done += PAGE_SIZE) {
    const runs = call.task.mm.resolve(uptr + done, PAGE_SIZE, false);
    if (runs === null) refuse(rules.test_check_refs_fault, { at: uptr + done });
    const hpa = physical.hpaOf(runs[0]!.backing, runs[0]!.offset);
    const count = hpa === null ? 0 : pins.count(hpa);
    if (count !== refs) refuse(rules.test_check_refs_count, { at: uptr + done, pins: count, refs });
  }
}

function checkIotlb(call: Call, cmd: uapi.IommuTestCmdCheckIotlb): void {
  const { domain } = call.context.find<HwptNested>(call, cmd.id, 'HWPT_NESTED', rules.test_hwpt_nested);
  if (!(domain instanceof MockNested)) refuse(rules.test_hwpt_not_mock_nested, { id: cmd.id });
  const id = cmd.check_iotlb_id;
  const value = domain.iotlb[id];
  if (value !== cmd.iotlb)
    refuse(rules.test_check_iotlb, { id, iotlb: value ?? 'none', expected: cmd.iotlb });
}

function checkDeviceCache(call: Call, cmd: uapi.IommuTestCmdCheckDevCache): void {
  const { device } = call.context.find<Device>(call, cmd.id, 'DEVICE', rules.test_cache_device);
  const id = cmd.check_dev_cache_id;
  const value = (device as MockDevice).cache[id];
  if (value !== cmd.cache)
    refuse(rules.test_check_cache, { id, cache: value ?? 'none', expected: cmd.cache });
}

function createAccess(call: Call, cmd: uapi.IommuTestCmdCreateAccess, answer: (now?: boolean) => void): void {
  const { flags } = cmd;
  if ((flags & ~uapi.MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES) !== 0)
    refuse(rules.test_access_flags, { flags });
  const needsPinPages = flags !== 0;
  const file = new SelftestAccess(needsPinPages);
  call.alloc('selftest_access');
  call.alloc(file.name);
  const unmap = (iova: bigint, length: bigint): void => file.unmap(iova, length);
  const fd = call.task.installFd(file, O_RDWR | O_CLOEXEC);
  if (fd === null) refuse(rules.test_access_descriptors, {});
  call.tx.onAbort(() => call.task.removeFd(fd));
  const access = Access.create(call, { unmap, needsPinPages });
  const ioas = call.context.find<Ioas>(call, cmd.id, 'IOAS', rules.test_access_ioas);
  access.attach(call, ioas);
  cmd.out_access_fd = fd;
  answer(true);
  file.access = access;
}

function accessFile(call: Call, fd: number): SelftestAccess {
  const file = call.task.fileOf(fd | 0);
  if (file !== null && !file.isEngineFile) file.release();
  if (!(file instanceof SelftestAccess)) refuse(rules.test_access_fd, { fd });
  return file;
}

function accessReplaceIoas(call: Call, cmd: uapi.IommuTestCmdAccessReplaceIoas): void {
  const { access } = accessFile(call, cmd.id);
  if (access === null || access.ioas === null) refuse(rules.test_replace_detached, {});
  const ioas = access.context.find<Ioas>(call, cmd.ioas_id, 'IOAS', rules.test_replace_ioas);
  access.replace(call, ioas);
}

function accessPages(call: Call, cmd: uapi.IommuTestCmdAccessPages, answer: () => void): void {
  if (cmd.length > LARGEST_COPY) refuse(rules.test_access_pages_length, { length: cmd.length });
  if ((cmd.flags & ~ACCESS_PAGES_FLAGS) !== 0) refuse(rules.test_access_pages_flags, { flags: cmd.flags });
  const file = accessFile(call, cmd.id);
  const byNumber = (cmd.flags & uapi.MOCK_FLAGS_ACCESS_SYZ) !== 0;
  const iova = byNumber ? nthArea(file.access?.ioas ?? null, cmd.iova) : cmd.iova;
  const item = pinItem(call, file, { ...cmd, iova });
  cmd.out_access_pages_id = item.id;
  answer();
}

const RW_FLAGS = uapi.MOCK_ACCESS_RW_WRITE | uapi.MOCK_ACCESS_RW_SLOW_PATH | uapi.MOCK_FLAGS_ACCESS_SYZ;

function accessRw(call: Call, cmd: uapi.IommuTestCmdAccessRw): void {
  const { length, uptr, flags } = cmd;
  if (length > LARGEST_COPY) refuse(rules.test_rw_length, { length });
  if ((flags & ~RW_FLAGS) !== 0) refuse(rules.test_rw_flags, { flags });
  const { access } = accessFile(call, cmd.id);
  call.alloc('access_rw buffer');
  const isWrite = (flags & uapi.MOCK_ACCESS_RW_WRITE) !== 0;
  const data = isWrite
    ? call.copyIn(uptr, Number(length), rules.test_rw_unreadable)
    : new Uint8Array(Number(length));
  const iova = (flags & uapi.MOCK_FLAGS_ACCESS_SYZ) !== 0 ? nthArea(access!.ioas, cmd.iova) : cmd.iova;
  access!.copy(call, iova, data, flags);
  if (!isWrite) call.copyOut(uptr, data, rules.test_rw_unwritable);
}

function destroyAccessPages(call: Call, cmd: uapi.IommuTestCmdDestroyAccessPages): void {
  accessFile(call, cmd.id).destroyItem(cmd.access_pages_id);
}

function setMemoryLimit(_call: Call, cmd: uapi.IommuTestCmdMemoryLimit): void {
  if (cmd.limit < LEAST_MEMORY_LIMIT) refuse(rules.test_memory_limit, { limit: cmd.limit });
}

/** Does what a device's writes would do to the entries of the pages whose bit is set. */
function dirty(call: Call, cmd: uapi.IommuTestCmdDirty, answer: () => void): void {
  const { iova, length, page_size: page, uptr } = cmd;
  if (page === 0n || length === 0n || iova % page !== 0n || length % page !== 0n || uptr === 0n) {
    refuse(rules.test_dirty_range, { iova, length, page_size: page, uptr });
  }
  const bits = length / page;
  if (bits > LARGEST_DIRTY_BITMAP) refuse(rules.test_dirty_bits, { bits });
  const domain = pagingDomain(call, cmd.id);
  if (!domain.tracking) refuse(rules.test_dirty_off, { id: cmd.id });
  call.alloc('dirty bitmap');
  const bitmap = call.copyIn(uptr, Number((bits + 7n) / 8n), rules.test_dirty_unreadable);
  let count = 0;
  for (let bit = 0; bit < Number(bits); bit++) {
    if ((bitmap[bit >> 3]! & (1 << (bit & 7))) === 0) continue;
    domain.table.setDirty(BigInt.asUintN(64, iova + BigInt(bit) * page));
    count += 1;
  }
  cmd.out_nr_dirty = BigInt(count);
  answer();
}

function triggerIopf(call: Call, cmd: uapi.IommuTestCmdTriggerIopf): void {
  const { device } = call.context.find<Device>(call, cmd.dev_id, 'DEVICE', rules.test_iopf_device);
  const { pasid, grpid, perm, addr } = cmd;
  const withPasid = pasid === IOMMU_NO_PASID ? 0 : PageRequestFlags.PASID_VALID;
  reportDeviceFault(device, { flags: PageRequestFlags.LAST_PAGE | withPasid, pasid, grpid, perm, addr });
}

function triggerVevent(call: Call, cmd: uapi.IommuTestCmdTriggerVevent): void {
  const bound = call.context.find<Device>(call, cmd.dev_id, 'DEVICE', rules.test_vevent_device);
  const device = bound.device as MockDevice;
  if (device.viommu === null || device.virtId === 0n)
    refuse(rules.test_vevent_viommu, { dev_id: cmd.dev_id });
  const data = new Uint8Array(uapi.iommu_viommu_event_selftest.size);
  const virtId = Number(BigInt.asUintN(32, device.virtId));
  uapi.iommu_viommu_event_selftest.encode({ virt_id: virtId }, data);
  device.viommu.reportEvent(uapi.IOMMU_VEVENTQ_TYPE_SELFTEST, data);
}

function pasidAttach(call: Call, cmd: uapi.IommuTestCmdPasidAttach, answer: (now?: boolean) => void): void {
  const { bound } = selftestDevice(call, cmd.id);
  cmd.pt_id = bound.attach(call, cmd.pasid, cmd.pt_id);
  answer(true);
}

function pasidReplace(call: Call, cmd: uapi.IommuTestCmdPasidReplace, answer: () => void): void {
  const { bound } = selftestDevice(call, cmd.id);
  cmd.pt_id = bound.replace(call, cmd.pasid, cmd.pt_id);
  call.commit();
  answer();
}

function pasidDetach(call: Call, cmd: uapi.IommuTestCmdPasidDetach): void {
  selftestDevice(call, cmd.id).bound.detach(cmd.pasid);
}

/** Which page table the PASID uses; 0 asks for none. */
function pasidCheckHwpt(call: Call, cmd: uapi.IommuTestCmdPasidCheck): void {
  const { device } = selftestDevice(call, cmd.id);
  const attached = device.group.handle(cmd.pasid)?.domain ?? null;
  if (cmd.hwpt_id === 0) {
    if (attached !== null) refuse(rules.test_pasid_attached, { pasid: cmd.pasid });
    return;
  }
  const hwpt = call.context.findAny(call, cmd.hwpt_id, rules.test_pasid_hwpt);
  if (!(hwpt instanceof HwptPaging || hwpt instanceof HwptNested)) {
    refuse(rules.test_pasid_hwpt_type, { hwpt_id: cmd.hwpt_id, type: hwpt.type });
  }
  if (attached !== hwpt.domain)
    refuse(rules.test_pasid_other_hwpt, { pasid: cmd.pasid, hwpt_id: cmd.hwpt_id });
}

function dmabufGet(call: Call, cmd: uapi.IommuTestCmdDmabufGet): number {
  const length = (cmd.length + PAGE_BYTES - 1) & -PAGE_BYTES;
  if (length <= 0 || length > LARGEST_DMA_BUF) refuse(rules.test_dmabuf_length, { length: cmd.length });
  call.alloc('dma-buf');
  call.alloc('dma-buf memory');
  const buffer = new DmaBuf(call.context.env, length);
  const fd = call.task.installFd(buffer, cmd.open_flags);
  if (fd === null) {
    buffer.release();
    refuse(rules.test_dmabuf_descriptors, {});
  }
  return fd;
}

function dmabufRevoke(call: Call, cmd: uapi.IommuTestCmdDmabufRevoke): void {
  const file = call.task.fileOf(cmd.dmabuf_fd);
  if (file === null) refuse(rules.test_revoke_fd, { fd: cmd.dmabuf_fd });
  if (!file.isEngineFile) {
    const { kind } = file;
    file.release();
    if (kind === 'dma-buf') refuse(rules.test_revoke_foreign, { fd: cmd.dmabuf_fd });
  }
  if (!(file instanceof DmaBuf)) refuse(rules.test_revoke_kind, { fd: cmd.dmabuf_fd });
  file.setRevoked(cmd.revoked !== 0);
}

/** An "IOVA" whose low half counts areas and whose high half is an offset into the one that it names. */
function nthArea(ioas: Ioas | null, encoded: bigint): bigint {
  let nth = encoded & 0xffffffffn;
  for (const area of ioas?.table.areas() ?? []) {
    if (nth === 0n) return BigInt.asUintN(64, area.iova + (encoded >> 32n));
    nth -= 1n;
  }
  return 0n;
}

/** The same for the source of an IOAS_COPY; clears the flag that asked for it. */
export function convertCopySource(
  call: Call,
  cmd: { flags: number; src_ioas_id: number; src_iova: bigint },
): void {
  if ((cmd.flags & uapi.MOCK_FLAGS_ACCESS_SYZ) === 0) return;
  cmd.flags &= ~uapi.MOCK_FLAGS_ACCESS_SYZ;
  const ioas = call.context.objects.peek(cmd.src_ioas_id);
  if (ioas?.type === 'IOAS') cmd.src_iova = nthArea(ioas as Ioas, cmd.src_iova);
}
