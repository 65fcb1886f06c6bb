/** A world with containers: groups in them, and what is mapped there. */
import { ContainerFile, type Container } from '../../src/vfio/container.js';
import { VfioGroupFile } from '../../src/vfio/group-file.js';
import type { VfioGroup } from '../../src/vfio/group.js';
import * as v from '../../src/wire/uapi/vfio.gen.js';
import { LOW, PAGE } from '../iommufd/world.js';
import { VfioWorld, type DeviceOptions, type TestDevice } from './world.js';

export const V1 = v.VFIO_TYPE1_IOMMU;
export const V2 = v.VFIO_TYPE1v2_IOMMU;
export const RW = v.VFIO_DMA_MAP_FLAG_READ | v.VFIO_DMA_MAP_FLAG_WRITE;

export interface Opened extends TestDevice {
  readonly containerFd: number;
  readonly groupFd: number;
}

export class ContainerWorld extends VfioWorld {
  openContainer(): number {
    return this.client.installFd(new ContainerFile(this.env))!;
  }

  openGroup(group: VfioGroup): number {
    return this.client.installFd(new VfioGroupFile(this.env, group))!;
  }

  container(fd: number): Container {
    return (this.client.fileOf(fd) as ContainerFile).container;
  }

  setContainer(groupFd: number, fd: number): void {
    const at = this.client.memory.store(new Uint8Array(new Int32Array([fd]).buffer));
    this.client.ioctl(groupFd, v.VFIO_GROUP_SET_CONTAINER, at);
  }

  setIommu(containerFd: number, type: number = V2): void {
    this.client.ioctl(containerFd, v.VFIO_SET_IOMMU, BigInt(type));
  }

  status(groupFd: number): number {
    return this.deviceCall(groupFd, v.VFIO_GROUP_GET_STATUS, v.vfio_group_status, {}).flags;
  }

  deviceFd(groupFd: number, name: string): number {
    const at = this.client.memory.store(new TextEncoder().encode(`${name}\0`));
    return this.client.ioctl(groupFd, v.VFIO_GROUP_GET_DEVICE_FD, at);
  }

  /** A device whose group is in a new container, with an IOMMU of `type` unless that is null. */
  inContainer(type: number | null = V2, options: DeviceOptions = {}): Opened {
    const made = this.newDevice('pci', options);
    const containerFd = this.openContainer();
    const groupFd = this.openGroup(made.group);
    this.setContainer(groupFd, containerFd);
    if (type !== null) this.setIommu(containerFd, type);
    return { ...made, containerFd, groupFd };
  }

  /** One more group in the container. */
  join(containerFd: number): Omit<Opened, 'containerFd'> {
    const made = this.newDevice();
    const groupFd = this.openGroup(made.group);
    this.setContainer(groupFd, containerFd);
    return { ...made, groupFd };
  }

  mapDma(fd: number, values: Partial<v.VfioIommuType1DmaMap> = {}): bigint {
    const size = values.size ?? 4n * PAGE;
    const vaddr = values.vaddr ?? this.buffer(Number(size / PAGE));
    const all = { flags: RW, iova: LOW, size, ...values, vaddr };
    this.deviceCall(fd, v.VFIO_IOMMU_MAP_DMA, v.vfio_iommu_type1_dma_map, all);
    return vaddr;
  }

  /** Returns what has been unmapped, in bytes. */
  unmapDma(fd: number, values: Partial<v.VfioIommuType1DmaUnmap> = {}): bigint {
    const all = { iova: LOW, size: 4n * PAGE, ...values };
    return this.deviceCall(fd, v.VFIO_IOMMU_UNMAP_DMA, v.vfio_iommu_type1_dma_unmap, all).size;
  }

  /** {@link unmapDma} with GET_DIRTY_BITMAP, whose struct is longer. */
  unmapDirty(fd: number, unmap: Partial<v.VfioIommuType1DmaUnmap>, bitmap: Partial<v.VfioBitmap>): bigint {
    const head = v.vfio_iommu_type1_dma_unmap;
    const bytes = new Uint8Array(head.size + v.vfio_bitmap.size);
    const flags = v.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
    const all = { argsz: bytes.length, flags, iova: LOW, size: 4n * PAGE, ...unmap };
    head.encode(head.create(all), bytes);
    v.vfio_bitmap.encode(v.vfio_bitmap.create({ pgsize: PAGE, size: 8n, ...bitmap }), bytes, head.size);
    const at = this.client.memory.store(bytes);
    this.client.ioctl(fd, v.VFIO_IOMMU_UNMAP_DMA, at);
    return head.decode(this.client.memory.load(at, head.size)).size;
  }

  dirty(fd: number, flags: number, argsz = v.vfio_iommu_type1_dirty_bitmap.size): void {
    const struct = v.vfio_iommu_type1_dirty_bitmap;
    this.deviceCall(fd, v.VFIO_IOMMU_DIRTY_PAGES, struct, { flags, argsz });
  }

  /** GET_BITMAP: asks for `range`; the bitmap is where it says. */
  getBitmap(
    fd: number,
    range: Partial<Omit<v.VfioIommuType1DirtyBitmapGet, 'bitmap'>>,
    bitmap: Partial<v.VfioBitmap>,
    argsz = v.vfio_iommu_type1_dirty_bitmap.size + v.vfio_iommu_type1_dirty_bitmap_get.size,
  ): void {
    const head = v.vfio_iommu_type1_dirty_bitmap;
    const tail = v.vfio_iommu_type1_dirty_bitmap_get;
    const bytes = new Uint8Array(head.size + tail.size);
    head.encode({ argsz, flags: v.VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP }, bytes);
    const all = { pgsize: PAGE, size: 8n, data: 0n, ...bitmap };
    tail.encode({ iova: LOW, size: 4n * PAGE, ...range, bitmap: all }, bytes, head.size);
    this.client.ioctl(fd, v.VFIO_IOMMU_DIRTY_PAGES, this.client.memory.store(bytes));
  }

  info(fd: number, argsz: number): { info: v.VfioIommuType1Info; bytes: Uint8Array } {
    const bytes = new Uint8Array(Math.max(argsz, v.vfio_iommu_type1_info.size));
    v.vfio_iommu_type1_info.encode(v.vfio_iommu_type1_info.create({ argsz }), bytes);
    const at = this.client.memory.store(bytes);
    this.client.ioctl(fd, v.VFIO_IOMMU_GET_INFO, at);
    const after = this.client.memory.load(at, bytes.length);
    return { info: v.vfio_iommu_type1_info.decode(after), bytes: after };
  }
}
