/** A machine with one VT-d unit and two devices, a /dev/ioasid, and device files bound to it. */
import type { LocalEventFd } from '../../src/machine/local-eventfd.js';
import { createMachine, type Machine } from '../../src/machine/machine.js';
import type { Topology } from '../../src/machine/topology.js';
import type { SharedPages } from '../../src/mem/task.js';
import type { Struct } from '../../src/wire/struct.js';
import * as i from '../../src/wire/uapi/ioasid.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as f from '../../src/wire/uapi/iommu.js';
import * as k from '../../src/wire/uapi/kvm.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';

export const PAGE = 4096n;

/** What a program does with the memory of a fault file. */
export class ProgramRing {
  readonly #words: Uint32Array;

  constructor(
    readonly id: number,
    readonly pages: SharedPages,
    readonly faults: LocalEventFd,
    readonly responses: LocalEventFd,
  ) {
    this.#words = new Uint32Array(pages.bytes.buffer, pages.bytes.byteOffset);
  }

  get head(): number {
    return this.#words[4]!;
  }

  get lost(): number {
    return this.#words[5]!;
  }

  get refused(): number {
    return this.#words[this.#responsesAt / 4 + 5]!;
  }

  set tail(value: number) {
    this.#words[0] = value;
  }

  get #responsesAt(): number {
    return 4096 + this.#words[1]! * this.#words[2]!;
  }

  /** The entry at `index` as a page request. */
  request(index: number): f.IommuFaultPrm {
    return f.iommu_fault_prm.decode(this.pages.bytes, this.#words[3]! + index * 64);
  }

  unrecoverable(index: number): f.IommuFaultUnrecov {
    return f.iommu_fault_unrecov.decode(this.pages.bytes, this.#words[3]! + index * 64);
  }

  /** Writes a response and tells the engine. */
  respond(request: f.IommuFaultPrm, code: number, values: Partial<f.IoasidPageResponse> = {}): void {
    const at = this.#responsesAt;
    const head = this.#words[at / 4]!;
    const { pasid, grpid, dev_id, flags } = request;
    const response = {
      argsz: 32,
      version: 1,
      flags: flags & 1,
      pasid,
      grpid,
      code,
      dev_id,
      __reserved: 0,
      ...values,
    };
    f.ioasid_page_response.encode(response, this.pages.bytes, at + 4096 + head * 32);
    this.#words[at / 4] = (head + 1) % 512;
    this.responses.add(1n);
  }
}

export class IoasidScene {
  readonly machine: Machine;
  readonly fd: number;

  constructor(topology: Topology = { devices: { '0000:00:01.0': {}, '0000:00:02.0': {} } }) {
    this.machine = createMachine({ topology });
    this.fd = this.machine.client.open('/dev/ioasid');
  }

  get memory(): Machine['memory'] {
    return this.machine.memory;
  }

  /** An ioctl with its struct; `size` or `argsz` is that of the struct unless given. */
  call<T>(fd: number, cmd: number, struct: Struct<T>, values: Partial<T> = {}): T {
    const bytes = new Uint8Array(struct.size);
    struct.encode(struct.create({ argsz: struct.size, size: struct.size, ...values } as Partial<T>), bytes);
    const at = this.memory.store(bytes);
    this.machine.client.ioctl(fd, cmd, at);
    return struct.decode(this.memory.load(at, struct.size));
  }

  /** Opens a device file and binds it to the /dev/ioasid. */
  device(index: number, to = this.fd): number {
    const fd = this.machine.client.open(`/dev/vfio/devices/vfio${index}`);
    this.call(fd, v.VFIO_DEVICE_BIND_IOMMUFD, v.vfio_device_bind_iommufd, { iommufd: to });
    return fd;
  }

  kernel(): number {
    return this.call(this.fd, i.ALLOC_IOASID, i.alloc_ioasid).out_ioasid;
  }

  sva(): number {
    return this.call(this.fd, i.ALLOC_IOASID_SVA, i.alloc_ioasid_sva, { pidfd: -1 }).out_ioasid;
  }

  /** A virtual machine without memory: its descriptor. */
  vm(): number {
    const kvm = this.machine.client.open('/dev/kvm');
    const vm = this.machine.client.ioctl(kvm, k.KVM_CREATE_VM, 0n);
    this.machine.client.close(kvm);
    return vm;
  }

  /** KVM_SET_USER_MEMORY_REGION */
  slot(vm: number, slot: number, gpa: bigint, size: bigint, address: bigint, flags = 0): void {
    const { kvm_userspace_memory_region: region } = k;
    const bytes = new Uint8Array(region.size);
    const values = { slot, flags, guest_phys_addr: gpa, memory_size: size, userspace_addr: address };
    region.encode(values, bytes);
    this.machine.client.ioctl(vm, k.KVM_SET_USER_MEMORY_REGION, this.memory.store(bytes));
  }

  kvm(fd: number): number {
    return this.call(this.fd, i.ALLOC_IOASID_KVM, i.alloc_ioasid_kvm, { fd }).out_ioasid;
  }

  #table(pgtbl_addr: bigint): { format: number; data_len: number; data_uptr: bigint } {
    const { size } = u.iommu_hwpt_vtd_s1;
    const bytes = new Uint8Array(size);
    u.iommu_hwpt_vtd_s1.encode(u.iommu_hwpt_vtd_s1.create({ pgtbl_addr, addr_width: 48 }), bytes);
    return { format: u.IOMMU_HWPT_DATA_VTD_S1, data_len: size, data_uptr: this.memory.store(bytes) };
  }

  /** A table of the program's own at address `root` of it. */
  user(root: bigint, values: Partial<i.AllocIoasidUserPageTable> = {}): number {
    const all = { ...this.#table(root), ...values };
    return this.call(this.fd, i.ALLOC_IOASID_USER_PAGE_TABLE, i.alloc_ioasid_user_page_table, all).out_ioasid;
  }

  /** One at address `root` of the space of `parent`. */
  nested(parent: number, root: bigint, values: Partial<i.AllocIoasidNestedPageTable> = {}): number {
    const all = { ...this.#table(root), parent, ...values };
    return this.call(this.fd, i.ALLOC_IOASID_NESTED_PAGE_TABLE, i.alloc_ioasid_nested_page_table, all)
      .out_ioasid;
  }

  map(ioasid: number, iova: bigint, user_va: bigint, length: bigint): void {
    const flags = i.IOASID_READ | i.IOASID_WRITE;
    this.call(this.fd, i.MAP_IOASID, i.map_ioasid, { flags, ioasid, iova, user_va, length });
  }

  unmap(ioasid: number, iova: bigint, length: bigint): bigint {
    return this.call(this.fd, i.UNMAP_IOASID, i.unmap_ioasid, { ioasid, iova, length }).length;
  }

  invalidate(ioasid: number, addr: bigint, npages = 1n): number {
    const { size } = u.iommu_hwpt_vtd_s1_invalidate;
    const bytes = new Uint8Array(size);
    u.iommu_hwpt_vtd_s1_invalidate.encode({ addr, npages, flags: 0, __reserved: 0 }, bytes);
    return this.call(this.fd, i.INVALIDATE_IOASID, i.invalidate_ioasid, {
      ioasid,
      data_type: u.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
      data_uptr: this.memory.store(bytes),
      entry_len: size,
      entry_num: 1,
    }).entry_num;
  }

  /** Fault and response rings, seen from the program. */
  ring(): ProgramRing {
    const faults = this.machine.client.eventfd();
    const responses = this.machine.client.eventfd();
    const made = this.call(this.fd, i.FAULT_IOASID, i.fault_ioasid, {
      flags: i.IOASID_FAULT_RING,
      fault_eventfd: faults.fd,
      response_eventfd: responses.fd,
    });
    const pages = this.machine.client.mmap(made.out_fault_fd, {
      offset: 0n,
      length: made.out_length,
      shared: true,
      exec: false,
    });
    return new ProgramRing(made.out_fault_id, pages, faults.event, responses.event);
  }

  info(ioasid: number): i.InfoIoasid {
    return this.call(this.fd, i.INFO_IOASID, i.info_ioasid, { ioasid });
  }

  destroy(ioasid: number): void {
    this.call(this.fd, i.DESTROY_IOASID, i.destroy_ioasid, { ioasid });
  }

  authorize(device: number, ioasid: number, pasid?: number): void {
    const values = pasid === undefined ? { ioasid } : { ioasid, flags: i.IOASID_PASID, pasid };
    this.call(device, i.AUTHORIZE_IOASID, i.authorize_ioasid, values);
  }

  deauthorize(device: number, ioasid: number, pasid?: number): void {
    const values = pasid === undefined ? { ioasid } : { ioasid, flags: i.IOASID_PASID, pasid };
    this.call(device, i.DEAUTHORIZE_IOASID, i.authorize_ioasid, values);
  }

  /** The device stores `value` at `iova`. */
  fill(device: number, iova: bigint, value: bigint, pasid?: number, flags = 0): d.IoasisDma {
    return this.call(device, d.IOASIS_DMA, d.ioasis_dma, {
      op: d.IOASIS_DMA_OP_FILL,
      iova,
      length: 8n,
      value,
      flags: flags | (pasid === undefined ? 0 : d.IOASIS_DMA_PASID),
      pasid: pasid ?? 0,
    });
  }

  /** A first-stage table in memory at `va` whose entries say `addressOf(va)`: `iova` leads to `target`. Its root. */
  writeTable(iova: bigint, target: bigint, addressOf: (va: bigint) => bigint, lazy = false): bigint {
    const root = this.memory.alloc(4 * 4096, { lazy });
    for (let level = 0n; level < 4n; level += 1n) {
      const index = (iova >> (39n - 9n * level)) & 511n;
      const next = level === 3n ? target : root + (level + 1n) * PAGE;
      const entry = new BigUint64Array([addressOf(next) | 7n]);
      this.memory.write(root + level * PAGE + index * 8n, new Uint8Array(entry.buffer));
    }
    return root;
  }

  /** The record of an operation that was pending, once it is over. */
  completion(device: number): d.IoasisDmaCompletion | null {
    const bytes = this.machine.client.read(device, d.ioasis_dma_completion.size);
    return bytes.length === 0 ? null : d.ioasis_dma_completion.decode(bytes);
  }

  /** Closes everything; what is left, by kind. */
  end(): Record<string, number> {
    this.machine.client.exit();
    return { ...this.machine.leaks() };
  }
}
