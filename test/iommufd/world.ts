/**
 * A machine with the mock IOMMU, one client and one open /dev/iommu, built so that a test can also stand where a
 * driver stands: it sees the context, can bind devices of its own and can look at everything that is alive.
 */
import { expect } from 'vitest';
import { Injector } from '../../src/base/inject.js';
import { WorkQueue } from '../../src/base/work.js';
import type { DmaDevice } from '../../src/hw/unit.js';
import { MockUnit } from '../../src/hw/mock/unit.js';
import { Access } from '../../src/iommufd/access.js';
import { Call } from '../../src/iommufd/call.js';
import { Context } from '../../src/iommufd/context.js';
import { Device } from '../../src/iommufd/device.js';
import { defaultLimits, type Env, type Limits } from '../../src/iommufd/env.js';
import { Ioas } from '../../src/iommufd/ioas.js';
import { selftestIoctls } from '../../src/selftest/ioctls.js';
import type { IommufdObject } from '../../src/iommufd/object.js';
import { PinRegistry } from '../../src/iommufd/pins.js';
import { IommufdClient } from '../../src/machine/iommufd-client.js';
import { LocalClient, type ClientOptions } from '../../src/machine/local-client.js';
import { PhysicalMemory } from '../../src/mem/physical.js';
import type { ForeignFile, OpenFile } from '../../src/mem/task.js';
import type { Struct } from '../../src/wire/struct.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as t from '../../src/wire/uapi/iommufd_test.gen.js';

export const PAGE = 4096n;
export const FIXED = u.IOMMU_IOAS_MAP_FIXED_IOVA;
export const WRITE = u.IOMMU_IOAS_MAP_WRITEABLE;
export const READ = u.IOMMU_IOAS_MAP_READABLE;
export const RW = READ | WRITE;
/** ULONG_MAX. */
export const MAX = (1n << 64n) - 1n;
/** The first address that a mock domain translates. */
export const LOW = BigInt(t.MOCK_APERTURE_START);

export interface WorldOptions extends ClientOptions {
  readonly limits?: Partial<Limits>;
  readonly unit?: (memory: PhysicalMemory) => MockUnit;
}

/** A client that can run out of descriptors, and have files that are not of the engine. */
export class TestClient extends LocalClient {
  full = false;
  readonly foreign = new Map<number, ForeignFile>();

  override installFd(file: OpenFile): number | null {
    return this.full ? null : super.installFd(file);
  }

  override fileOf(fd: number): OpenFile | ForeignFile | null {
    return this.foreign.get(fd) ?? super.fileOf(fd);
  }
}

/** The ids of a mock device, of what it is bound as, and of the page table it got. */
export interface MockIds {
  readonly stdev: number;
  readonly dev: number;
  readonly hwpt: number;
}

export class World {
  readonly injector = new Injector();
  readonly physical = new PhysicalMemory(this.injector);
  readonly env: Env;
  readonly unit: MockUnit;
  readonly context: Context;
  readonly client: TestClient;
  readonly iommufd: IommufdClient;
  #ended = false;
  readonly #cleanup: (() => void)[] = [];

  constructor(options: WorldOptions = {}) {
    const limits = { ...defaultLimits, ...options.limits };
    this.env = {
      injector: this.injector,
      physical: this.physical,
      pins: new PinRegistry(),
      limits,
      work: new WorkQueue(),
      sharedMemory: (length) => new Uint8Array(length),
      freeSharedMemory: () => {},
    };
    this.unit = options.unit?.(this.physical) ?? new MockUnit(this.physical);
    this.context = new Context(this.env, selftestIoctls(this.unit), () => (this.#ended = true));
    this.client = new TestClient({ open: () => this.context }, options);
    this.iommufd = new IommufdClient(this.client);
  }

  get fd(): number {
    return this.iommufd.fd;
  }

  get call(): IommufdClient['call'] {
    return this.iommufd.call.bind(this.iommufd) as IommufdClient['call'];
  }

  /** One operation of IOMMU_TEST_CMD. */
  test<T>(struct: Struct<T>, op: number, values: Partial<T> = {}): T {
    return this.iommufd.callWith(t.IOMMU_TEST_CMD, struct, { op, ...values } as Partial<T>);
  }

  /** Another process that has the same file open. */
  other(options: ClientOptions = {}): { client: TestClient; iommufd: IommufdClient } {
    this.context.get();
    const client = new TestClient({ open: () => this.context }, options);
    const iommufd = new IommufdClient(client);
    this.atEnd(() => client.exit());
    return { client, iommufd };
  }

  ioas(): number {
    return this.call(u.IOMMU_IOAS_ALLOC).out_ioas_id;
  }

  buffer(pages = 16): bigint {
    return this.client.memory.alloc(pages * Number(PAGE));
  }

  /** Maps `pages` fresh pages at `iova`; returns where they are. */
  map(ioas_id: number, iova: bigint = LOW, pages = 4, flags: number = RW): bigint {
    const user_va = this.buffer(pages);
    const length = BigInt(pages) * PAGE;
    this.call(u.IOMMU_IOAS_MAP, { flags: flags | FIXED, ioas_id, user_va, length, iova });
    return user_va;
  }

  unmap(ioas_id: number, iova: bigint = LOW, pages = 4): bigint {
    return this.call(u.IOMMU_IOAS_UNMAP, { ioas_id, iova, length: BigInt(pages) * PAGE }).length;
  }

  /** A mock device, attached to `id`. */
  device(id: number, dev_flags = 0): MockIds {
    const op = t.IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS;
    const made = this.test(t.iommu_test_cmd_mock_domain_flags, op, { id, dev_flags });
    return { stdev: made.out_stdev_id, dev: made.out_idev_id, hwpt: made.out_hwpt_id };
  }

  hwpt(dev_id: number, pt_id: number, values: Partial<u.IommuHwptAlloc> = {}): number {
    return this.call(u.IOMMU_HWPT_ALLOC, { dev_id, pt_id, ...values }).out_hwpt_id;
  }

  /** A nested page table on a parent or in a vIOMMU. */
  nested(dev_id: number, pt_id: number, values: Partial<u.IommuHwptAlloc> = {}): number {
    const data_uptr = this.put(t.iommu_hwpt_selftest, { iotlb: t.IOMMU_TEST_IOTLB_DEFAULT });
    const data = { data_type: t.IOMMU_HWPT_DATA_SELFTEST, data_len: t.iommu_hwpt_selftest.size, data_uptr };
    return this.hwpt(dev_id, pt_id, { ...data, ...values });
  }

  replace(stdev: number, pt_id: number): number {
    const op = t.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE;
    return this.test(t.iommu_test_cmd_mock_domain_replace, op, { id: stdev, pt_id }).pt_id;
  }

  pasidAttach(stdev: number, pasid: number, pt_id: number): void {
    this.test(t.iommu_test_cmd_pasid_attach, t.IOMMU_TEST_OP_PASID_ATTACH, { id: stdev, pasid, pt_id });
  }

  pasidReplace(stdev: number, pasid: number, pt_id: number): void {
    this.test(t.iommu_test_cmd_pasid_replace, t.IOMMU_TEST_OP_PASID_REPLACE, { id: stdev, pasid, pt_id });
  }

  pasidDetach(stdev: number, pasid: number): void {
    this.test(t.iommu_test_cmd_pasid_detach, t.IOMMU_TEST_OP_PASID_DETACH, { id: stdev, pasid });
  }

  /** A software access; returns its descriptor. It can pin pages unless `flags` is 0. */
  access(id: number, flags: number = t.MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES): number {
    const op = t.IOMMU_TEST_OP_CREATE_ACCESS;
    return this.test(t.iommu_test_cmd_create_access, op, { id, flags }).out_access_fd;
  }

  /** Pins; returns the number of the item. */
  pin(fd: number, iova: bigint, length: bigint, flags = 0, uptr = 0n): number {
    const values = { id: fd, iova, length, flags, uptr };
    return this.test(t.iommu_test_cmd_access_pages, t.IOMMU_TEST_OP_ACCESS_PAGES, values).out_access_pages_id;
  }

  unpin(fd: number, access_pages_id: number): void {
    const op = t.IOMMU_TEST_OP_DESTROY_ACCESS_PAGES;
    this.test(t.iommu_test_cmd_destroy_access_pages, op, { id: fd, access_pages_id });
  }

  /** Copies between `iova` and `uptr`. */
  rw(fd: number, iova: bigint, length: bigint, uptr: bigint, flags = 0): void {
    this.test(t.iommu_test_cmd_access_rw, t.IOMMU_TEST_OP_ACCESS_RW, { id: fd, iova, length, uptr, flags });
  }

  checkMap(hwpt: number, iova: bigint, length: bigint, uptr: bigint): void {
    const op = t.IOMMU_TEST_OP_MD_CHECK_MAP;
    this.test(t.iommu_test_cmd_check_map, op, { id: hwpt, iova, length, uptr });
  }

  checkRefs(uptr: bigint, length: bigint, refs: number): void {
    this.test(t.iommu_test_cmd_check_refs, t.IOMMU_TEST_OP_MD_CHECK_REFS, { uptr, length, refs });
  }

  reserve(id: number, start: bigint, length: bigint): void {
    this.test(t.iommu_test_cmd_add_reserved, t.IOMMU_TEST_OP_ADD_RESERVED, { id, start, length });
  }

  fault(): { id: number; fd: number } {
    const made = this.call(u.IOMMU_FAULT_QUEUE_ALLOC);
    return { id: made.out_fault_id, fd: made.out_fault_fd };
  }

  viommu(dev_id: number, hwpt_id: number, values: Partial<u.IommuViommuAlloc> = {}): number {
    const type = t.IOMMU_VIOMMU_TYPE_SELFTEST;
    return this.call(u.IOMMU_VIOMMU_ALLOC, { type, dev_id, hwpt_id, ...values }).out_viommu_id;
  }

  vdevice(viommu_id: number, dev_id: number, virt_id: bigint): number {
    return this.call(u.IOMMU_VDEVICE_ALLOC, { viommu_id, dev_id, virt_id }).out_vdevice_id;
  }

  veventq(viommu_id: number, veventq_depth = 4): { id: number; fd: number } {
    const type = t.IOMMU_VEVENTQ_TYPE_SELFTEST;
    const made = this.call(u.IOMMU_VEVENTQ_ALLOC, { type, viommu_id, veventq_depth });
    return { id: made.out_veventq_id, fd: made.out_veventq_fd };
  }

  hwQueue(viommu_id: number, index: number, iova: bigint = LOW, length: bigint = PAGE): number {
    const values = {
      type: t.IOMMU_HW_QUEUE_TYPE_SELFTEST,
      viommu_id,
      index,
      nesting_parent_iova: iova,
      length,
    };
    return this.call(u.IOMMU_HW_QUEUE_ALLOC, values).out_hw_queue_id;
  }

  /** A device, a nesting parent of its IOAS, a vIOMMU on that, and the device in it as 0x99. */
  guest(): MockIds & { ioas: number; parent: number; viommu: number } {
    const ioas = this.ioas();
    const ids = this.device(ioas);
    const parent = this.hwpt(ids.dev, ioas, { flags: u.IOMMU_HWPT_ALLOC_NEST_PARENT });
    const viommu = this.viommu(ids.dev, parent);
    return { ...ids, ioas, parent, viommu };
  }

  /** A device whose page table delivers page requests to the queue `fd`. */
  faultingDevice(): MockIds & { fd: number; fault: number; ioas: number } {
    const ioas = this.ioas();
    const ids = this.device(ioas);
    const { id: fault_id, fd } = this.fault();
    const hwpt = this.hwpt(ids.dev, ioas, { flags: u.IOMMU_HWPT_FAULT_ID_VALID, fault_id });
    this.replace(ids.stdev, hwpt);
    return { ...ids, hwpt, fd, fault: fault_id, ioas };
  }

  iopf(dev_id: number, values: Partial<t.IommuTestCmdTriggerIopf> = {}): void {
    this.test(t.iommu_test_cmd_trigger_iopf, t.IOMMU_TEST_OP_TRIGGER_IOPF, { dev_id, ...values });
  }

  vevent(dev_id: number): void {
    this.test(t.iommu_test_cmd_trigger_vevent, t.IOMMU_TEST_OP_TRIGGER_VEVENT, { dev_id });
  }

  dmaBuf(pages = 4): number {
    const op = t.IOMMU_TEST_OP_DMABUF_GET;
    const at = this.put(t.iommu_test_cmd_dmabuf_get, {
      size: t.iommu_test_cmd_dmabuf_get.size,
      op,
      length: pages * Number(PAGE),
    });
    return this.client.ioctl(this.fd, t.IOMMU_TEST_CMD, at);
  }

  mapFile(ioas_id: number, fd: number, values: Partial<u.IommuIoasMapFile> = {}): bigint {
    const wanted = { flags: RW | FIXED, ioas_id, fd, length: PAGE, iova: LOW, ...values };
    return this.call(u.IOMMU_IOAS_MAP_FILE, wanted).iova;
  }

  revoke(dmabuf_fd: number, revoked = 1): void {
    const op = t.IOMMU_TEST_OP_DMABUF_REVOKE;
    this.test(t.iommu_test_cmd_dmabuf_revoke, op, { dmabuf_fd, revoked });
  }

  /** A file of nobody's that the engine knows, without contents. */
  foreignFile(kind: ForeignFile['kind']): ForeignFile {
    const backing = { id: -1, read: () => false, write: () => false };
    return { isEngineFile: false, kind, size: () => 0n, backing, release: () => {} };
  }

  /** Puts a struct into the client's memory; returns its address. */
  put<T>(struct: Struct<T>, values: Partial<T>): bigint {
    const bytes = new Uint8Array(struct.size);
    struct.encode(struct.create(values), bytes);
    return this.client.memory.store(bytes);
  }

  /** The same with the struct's last bytes at the end of mapped memory, `beyond` bytes of it missing. */
  putAtEdge<T>(struct: Struct<T>, values: Partial<T>, beyond = 0): bigint {
    const bytes = new Uint8Array(struct.size);
    struct.encode(struct.create(values), bytes);
    const at = this.buffer(1) + PAGE - BigInt(struct.size - beyond);
    this.client.memory.write(at, bytes.subarray(0, struct.size - beyond));
    return at;
  }

  /** The same in memory that can only be read. */
  putReadOnly<T>(struct: Struct<T>, values: Partial<T>): bigint {
    const bytes = new Uint8Array(struct.size);
    struct.encode(struct.create(values), bytes);
    const { pages } = this.client.memfd(Number(PAGE));
    pages.write(0n, bytes);
    return this.client.memory.alloc(Number(PAGE), { pages, writable: false });
  }

  /** A file of the client's; as the kernel sees it, not the client. */
  file(fd: number): OpenFile {
    const file = this.client.fileOf(fd);
    if (file === null || !file.isEngineFile) throw new Error(`${fd} is no file of the engine`);
    return file;
  }

  object<T extends IommufdObject>(id: number): T {
    return this.context.objects.peek(id) as T;
  }

  /** Does what a driver does in a call of its own: it happens as a whole, or not at all. */
  driver<T>(step: (call: Call) => T): T {
    const call = new Call(this.context, this.client, 0n, 0);
    try {
      const result = step(call);
      call.commit();
      return result;
    } catch (error) {
      call.tx.rollback();
      throw error;
    }
  }

  /** Binds a device that did not come from IOMMU_TEST_CMD. It is given up at the end. */
  bind(device: DmaDevice): Device {
    const bound = this.driver((call) => Device.bindDevice(call, device));
    this.atEnd(() => {
      if (!this.context.objects.holds(bound)) return;
      bound.detach(0);
      bound.unbind();
    });
    return bound;
  }

  /** A driver's access that never lets go. */
  stubbornAccess(ioas: number): Access {
    const access = this.driver((call) => {
      const made = Access.create(call, { unmap: () => {}, needsPinPages: true });
      made.attach(call, this.object(ioas));
      return made;
    });
    this.atEnd(() => access.destroyByDriver());
    return access;
  }

  atEnd(step: () => void): void {
    this.#cleanup.push(step);
  }

  /** Everything that an operation could change, but for page tables, which may stay behind a failed mapping. */
  snapshot(): unknown {
    const { context, client } = this;
    const objects = [...context.objects.objects()].map((object) => {
      const head = `${object.id} ${object.type} users ${object.users}`;
      return object instanceof Ioas ? [head, describeIoas(object)] : head;
    });
    const { lockedVm } = client.user;
    const { account } = client.mm;
    return {
      objects,
      accounts: [lockedVm, account.lockedVm, account.pinnedVm],
      areas: context.areas,
      groups: context.groups.size,
      accountMode: context.accountMode,
      vfioIoas: context.vfioIoas?.id ?? null,
      pinned: this.env.pins.pinnedPages,
      windows: this.physical.liveWindows,
    };
  }

  /** Closes everything, and expects that nothing is left. */
  end(): void {
    this.injector.arm(0);
    this.client.full = false;
    while (this.#cleanup.length > 0) this.#cleanup.pop()!();
    this.client.exit();
    const { account } = this.client.mm;
    expect({
      ended: this.#ended,
      pinned: this.env.pins.pinnedPages,
      windows: this.physical.liveWindows,
      tables: this.physical.tables.liveBlocks,
      areas: this.context.areas,
      groups: this.context.groups.size,
      accounts: [this.client.user.lockedVm, account.lockedVm, account.pinnedVm],
    }).toEqual({ ended: true, pinned: 0, windows: 0, tables: 0, areas: 0, groups: 0, accounts: [0, 0, 0] });
  }
}

function describeIoas({ table }: Ioas): unknown {
  return {
    alignment: table.alignment,
    largePages: !table.disableLargePages,
    domains: table.domains.length,
    accesses: table.accesses.size,
    holes: [...table.reserved.holes()],
    allowed: table.allowed?.size ?? null,
    areas: [...table.areas()].map((area) => ({
      range: [area.iova, area.last],
      prot: area.prot,
      uses: [area.accesses, area.locks, area.pages.refs, area.pages.pinnedCount],
      filled: area.filled,
    })),
  };
}
