/** Three ways to a device's DMA, each with the same few verbs: what is refused throws Errno. */
import type { LocalClient } from '../../src/machine/local-client.js';
import type { OpenFile } from '../../src/mem/task.js';
import type { Struct } from '../../src/wire/struct.js';
import * as d from '../../src/wire/uapi/ioasis-dma.js';
import * as i from '../../src/wire/uapi/ioasid.js';
import * as o from '../../src/wire/uapi/ioasis.js';
import * as u from '../../src/wire/uapi/iommufd.gen.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';

const PAGE = 4096n;
const READ_WRITE = 3;
const CONFIG = BigInt(v.VFIO_PCI_CONFIG_REGION_INDEX) << 40n;

/** Whose table: ioasis', the caller's own address space, a machine's of the caller, or one that the caller writes. */
export type Kind = 'kernel' | 'sva' | 'kvm' | 'user' | 'nested';

/** What the last three kinds want to know. */
export interface TableOfProgram {
  /** The machine's descriptor. */
  readonly vm?: number;
  /** Address of the root. */
  readonly root?: bigint;
  /** On which table of ioasis' it stands. */
  readonly parent?: number;
}

/** A table in VT-d's first-stage format. */
function firstStage(pgtbl_addr: bigint): Uint8Array {
  const bytes = new Uint8Array(u.iommu_hwpt_vtd_s1.size);
  u.iommu_hwpt_vtd_s1.encode(u.iommu_hwpt_vtd_s1.create({ pgtbl_addr, addr_width: 48 }), bytes);
  return bytes;
}

/** One page of it is not what it was. */
function changedPage(addr: bigint): Uint8Array {
  const bytes = new Uint8Array(u.iommu_hwpt_vtd_s1_invalidate.size);
  u.iommu_hwpt_vtd_s1_invalidate.encode({ addr, npages: 1n, flags: 0, __reserved: 0 }, bytes);
  return bytes;
}

const words = (...values: number[]): Uint8Array => new Uint8Array(new Int32Array(values).buffer);

const changedPages = (entry: Uint8Array, data_uptr: bigint) => ({
  data_type: u.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
  data_uptr,
  entry_len: entry.length,
  entry_num: 1,
});

/** A file with address spaces, and the files of devices whose DMA belongs to it. Devices are numbered from 0. */
export abstract class Door {
  readonly devices = new Map<number, number>();
  /** Who makes calls: the client that opened the files, or one that was given them. */
  caller: LocalClient;

  constructor(readonly client: LocalClient) {
    this.caller = client;
  }

  #ioctl(fd: number, cmd: number, at: bigint): void {
    const { client, caller } = this;
    if (caller === client) client.ioctl(fd, cmd, at);
    else (client.fileOf(fd) as OpenFile).ioctl(cmd, at, caller);
  }

  protected call<T>(fd: number, cmd: number, struct: Struct<T>, values: Partial<T>): T {
    const { memory } = this.caller;
    const bytes = new Uint8Array(struct.size);
    struct.encode(struct.create({ argsz: struct.size, size: struct.size, ...values } as Partial<T>), bytes);
    const at = memory.store(bytes);
    try {
      this.#ioctl(fd, cmd, at);
      return struct.decode(memory.load(at, struct.size));
    } finally {
      memory.free(at);
    }
  }

  /** With a value on the side. */
  protected stored<T>(bytes: Uint8Array, act: (at: bigint) => T): T {
    const { memory } = this.caller;
    const at = memory.store(bytes);
    try {
      return act(at);
    } finally {
      memory.free(at);
    }
  }

  protected taken(device: number, fd: number): void {
    this.devices.set(device, fd);
    this.client.pwrite(fd, Uint8Array.of(6, 0), CONFIG + 4n);
  }

  abstract bind(device: number): void;
  abstract make(kind: Kind, device: number, table: TableOfProgram): number;
  abstract map(id: number, iova: bigint, va: bigint): void;
  abstract unmap(id: number, iova: bigint): void;
  /** What is cached of a page of a program's table. */
  abstract invalidate(id: number, iova: bigint): void;
  abstract destroy(id: number): void;
  /** `pasid` 0: the device as a whole. */
  abstract attach(device: number, pasid: number, id: number): void;
  abstract detach(device: number, pasid: number, id: number): void;
  abstract close(): void;

  unbind(device: number): void {
    this.client.close(this.devices.get(device)!);
    this.devices.delete(device);
  }

  /** The device stores 8 times `value` at `iova`: whether that was done. */
  dma(device: number, pasid: number, iova: bigint, value: number): boolean {
    const flags = pasid === 0 ? 0 : d.IOASIS_DMA_PASID;
    const job = { op: d.IOASIS_DMA_OP_FILL, iova, length: 8n, value: BigInt(value), flags, pasid };
    const { out_state } = this.call(this.devices.get(device)!, d.IOASIS_DMA, d.ioasis_dma, job);
    return out_state === d.IOASIS_DMA_DONE;
  }
}

/** By a device file of its own. */
abstract class FileDoor extends Door {
  protected ids = new Map<number, number>();
  readonly fd: number;

  constructor(client: LocalClient, path: string) {
    super(client);
    this.fd = client.open(path);
  }

  bind(device: number): void {
    const fd = this.client.open(`/dev/vfio/devices/vfio${device}`);
    try {
      const bind = { iommufd: this.fd };
      const made = this.call(fd, v.VFIO_DEVICE_BIND_IOMMUFD, v.vfio_device_bind_iommufd, bind);
      this.ids.set(device, made.out_devid);
    } catch (error) {
      this.client.close(fd);
      throw error;
    }
    this.taken(device, fd);
  }

  override unbind(device: number): void {
    super.unbind(device);
    this.ids.delete(device);
  }

  close(): void {
    for (const device of [...this.devices.keys()]) this.unbind(device);
    this.client.close(this.fd);
  }
}

export class IoasidDoor extends FileDoor {
  constructor(client: LocalClient) {
    super(client, '/dev/ioasid');
  }

  make(kind: Kind, _device: number, { vm, root = 0n, parent }: TableOfProgram): number {
    const { fd } = this;
    if (kind === 'kernel') return this.call(fd, i.ALLOC_IOASID, i.alloc_ioasid, {}).out_ioasid;
    if (kind === 'sva')
      return this.call(fd, i.ALLOC_IOASID_SVA, i.alloc_ioasid_sva, { pidfd: -1 }).out_ioasid;
    if (kind === 'kvm')
      return this.call(fd, i.ALLOC_IOASID_KVM, i.alloc_ioasid_kvm, { fd: vm ?? -1 }).out_ioasid;
    return this.stored(firstStage(root), (data_uptr) => {
      const table = { format: u.IOMMU_HWPT_DATA_VTD_S1, data_len: u.iommu_hwpt_vtd_s1.size, data_uptr };
      if (kind === 'user')
        return this.call(fd, i.ALLOC_IOASID_USER_PAGE_TABLE, i.alloc_ioasid_user_page_table, table)
          .out_ioasid;
      const nested = { ...table, parent: parent ?? 0 };
      return this.call(fd, i.ALLOC_IOASID_NESTED_PAGE_TABLE, i.alloc_ioasid_nested_page_table, nested)
        .out_ioasid;
    });
  }

  invalidate(ioasid: number, iova: bigint): void {
    const entry = changedPage(iova);
    this.stored(entry, (at) => {
      const values = { ioasid, ...changedPages(entry, at) };
      this.call(this.fd, i.INVALIDATE_IOASID, i.invalidate_ioasid, values);
    });
  }

  map(ioasid: number, iova: bigint, user_va: bigint): void {
    const flags = i.IOASID_READ | i.IOASID_WRITE;
    this.call(this.fd, i.MAP_IOASID, i.map_ioasid, { ioasid, flags, iova, user_va, length: PAGE });
  }

  unmap(ioasid: number, iova: bigint): void {
    this.call(this.fd, i.UNMAP_IOASID, i.unmap_ioasid, { ioasid, iova, length: PAGE });
  }

  destroy(ioasid: number): void {
    this.call(this.fd, i.DESTROY_IOASID, i.destroy_ioasid, { ioasid });
  }

  #authorization(pasid: number, ioasid: number): Partial<i.AuthorizeIoasid> {
    return pasid === 0 ? { ioasid } : { ioasid, flags: i.IOASID_PASID, pasid };
  }

  attach(device: number, pasid: number, id: number): void {
    const values = this.#authorization(pasid, id);
    this.call(this.devices.get(device)!, i.AUTHORIZE_IOASID, i.authorize_ioasid, values);
  }

  detach(device: number, pasid: number, id: number): void {
    const values = this.#authorization(pasid, id);
    this.call(this.devices.get(device)!, i.DEAUTHORIZE_IOASID, i.authorize_ioasid, values);
  }
}

export class IommuDoor extends FileDoor {
  /** An IOAS has the page table that shows it, once somebody needed it. A process's table is one itself. */
  readonly #tables = new Map<number, number | null>();

  constructor(client: LocalClient) {
    super(client, '/dev/iommu');
  }

  #alloc(device: number, values: Partial<u.IommuHwptAlloc>): number {
    const dev_id = this.ids.get(device) ?? 0;
    return this.call(this.fd, u.IOMMU_HWPT_ALLOC, u.iommu_hwpt_alloc, { dev_id, ...values }).out_hwpt_id;
  }

  /** With data of some type. */
  #allocWith(
    device: number,
    data_type: number,
    data: Uint8Array,
    values: Partial<u.IommuHwptAlloc> = {},
  ): number {
    const data_len = data.length;
    return this.stored(data, (data_uptr) =>
      this.#alloc(device, { data_type, data_len, data_uptr, ...values }),
    );
  }

  /** The page table that shows an IOAS, on which others may stand. */
  #tableOf(id: number, device: number): number {
    const flags = u.IOMMU_HWPT_ALLOC_PASID | u.IOMMU_HWPT_ALLOC_NEST_PARENT;
    const table = this.#tables.get(id) ?? this.#alloc(device, { flags, pt_id: id });
    this.#tables.set(id, table);
    return table;
  }

  make(kind: Kind, device: number, { vm = -1, root = 0n, parent = 0 }: TableOfProgram): number {
    if (kind === 'sva') return this.#allocWith(device, o.IOASIS_HWPT_DATA_SVA, words(-1, 0));
    if (kind === 'kvm') return this.#allocWith(device, o.IOASIS_HWPT_DATA_KVM, words(vm, 0));
    if (kind === 'nested') {
      const pt_id = this.#tables.has(parent) ? this.#tableOf(parent, device) : parent;
      const flags = u.IOMMU_HWPT_ALLOC_PASID;
      return this.#allocWith(device, u.IOMMU_HWPT_DATA_VTD_S1, firstStage(root), { pt_id, flags });
    }
    if (kind === 'user')
      return this.stored(firstStage(root), (at) =>
        this.#allocWith(
          device,
          o.IOASIS_HWPT_DATA_USER_PAGE_TABLE,
          words(
            u.IOMMU_HWPT_DATA_VTD_S1,
            u.iommu_hwpt_vtd_s1.size,
            Number(at & 0xffffffffn),
            Number(at >> 32n),
          ),
        ),
      );
    const { out_ioas_id } = this.call(this.fd, u.IOMMU_IOAS_ALLOC, u.iommu_ioas_alloc, {});
    this.#tables.set(out_ioas_id, null);
    return out_ioas_id;
  }

  map(ioas_id: number, iova: bigint, user_va: bigint): void {
    const flags = u.IOMMU_IOAS_MAP_FIXED_IOVA | u.IOMMU_IOAS_MAP_READABLE | u.IOMMU_IOAS_MAP_WRITEABLE;
    this.call(this.fd, u.IOMMU_IOAS_MAP, u.iommu_ioas_map, { flags, ioas_id, user_va, length: PAGE, iova });
  }

  unmap(ioas_id: number, iova: bigint): void {
    this.call(this.fd, u.IOMMU_IOAS_UNMAP, u.iommu_ioas_unmap, { ioas_id, iova, length: PAGE });
  }

  invalidate(hwpt_id: number, iova: bigint): void {
    const entry = changedPage(iova);
    this.stored(entry, (at) => {
      const values = { hwpt_id, ...changedPages(entry, at) };
      this.call(this.fd, u.IOMMU_HWPT_INVALIDATE, u.iommu_hwpt_invalidate, values);
    });
  }

  destroy(id: number): void {
    const table = this.#tables.get(id) ?? null;
    if (table !== null) this.call(this.fd, u.IOMMU_DESTROY, u.iommu_destroy, { id: table });
    this.#tables.delete(id);
    this.call(this.fd, u.IOMMU_DESTROY, u.iommu_destroy, { id });
  }

  attach(device: number, pasid: number, id: number): void {
    const pt_id = this.#tables.has(id) ? this.#tableOf(id, device) : id;
    const flags = pasid === 0 ? 0 : v.VFIO_DEVICE_ATTACH_PASID;
    this.call(this.devices.get(device)!, v.VFIO_DEVICE_ATTACH_IOMMUFD_PT, v.vfio_device_attach_iommufd_pt, {
      flags,
      pt_id,
      pasid,
    });
  }

  detach(device: number, pasid: number): void {
    const flags = pasid === 0 ? 0 : v.VFIO_DEVICE_DETACH_PASID;
    this.call(this.devices.get(device)!, v.VFIO_DEVICE_DETACH_IOMMUFD_PT, v.vfio_device_detach_iommufd_pt, {
      flags,
      pasid,
    });
  }
}

/** One address space, 0, in which a device is as soon as it is bound. There is no PASID in it. */
export class ContainerDoor extends Door {
  readonly #fd: number;
  readonly #groups = new Map<number, number>();

  constructor(client: LocalClient) {
    super(client);
    this.#fd = client.open('/dev/vfio/vfio');
  }

  bind(device: number): void {
    const { client } = this;
    const group = client.open(`/dev/vfio/${device}`);
    try {
      const number = new Uint8Array(new Int32Array([this.#fd]).buffer);
      this.stored(number, (at) => client.ioctl(group, v.VFIO_GROUP_SET_CONTAINER, at));
      if (this.devices.size === 0) client.ioctl(this.#fd, v.VFIO_SET_IOMMU, BigInt(v.VFIO_TYPE1v2_IOMMU));
      const name = new TextEncoder().encode(`0000:00:0${device + 1}.0\0`);
      const fd = this.stored(name, (at) => client.ioctl(group, v.VFIO_GROUP_GET_DEVICE_FD, at));
      this.#groups.set(device, group);
      this.taken(device, fd);
    } catch (error) {
      client.close(group);
      throw error;
    }
  }

  override unbind(device: number): void {
    super.unbind(device);
    this.client.close(this.#groups.get(device)!);
    this.#groups.delete(device);
  }

  make(): number {
    return this.#none();
  }

  map(_id: number, iova: bigint, vaddr: bigint): void {
    const map = { flags: READ_WRITE, vaddr, iova, size: PAGE };
    this.call(this.#fd, v.VFIO_IOMMU_MAP_DMA, v.vfio_iommu_type1_dma_map, map);
  }

  unmap(_id: number, iova: bigint): void {
    this.call(this.#fd, v.VFIO_IOMMU_UNMAP_DMA, v.vfio_iommu_type1_dma_unmap, { iova, size: PAGE });
  }

  invalidate(): void {
    this.#none();
  }

  destroy(): void {
    this.#none();
  }

  attach(device: number): void {
    this.#none(this.devices.get(device));
  }

  detach(device: number): void {
    this.#none(this.devices.get(device));
  }

  /** What the others have a call for: this one's files do not know it. */
  #none(fd = this.#fd): never {
    this.call(fd, i.AUTHORIZE_IOASID, i.authorize_ioasid, {});
    throw new Error('a container has no such call');
  }

  close(): void {
    for (const device of [...this.devices.keys()]) this.unbind(device);
    this.client.close(this.#fd);
  }
}
