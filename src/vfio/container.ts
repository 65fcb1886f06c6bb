/**
 * A container (struct vfio_container): groups that share an I/O address space, and the IOMMU driver that makes it, of
 * which there is one, type1. The container lives while its file or a group in it does; the address space while there is
 * a group in it.
 */
import { refuse } from '../base/errno.js';
import type { Env } from '../iommufd/env.js';
import type { MmapRequest, OpenFile, SharedPages, Task } from '../mem/task.js';
import {
  VFIO_API_VERSION,
  VFIO_CHECK_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_SET_IOMMU,
  VFIO_TYPE1v2_IOMMU,
  VFIO_TYPE1_IOMMU,
} from '../wire/uapi/vfio.gen.js';
import { VFIO_TYPE1_NESTING_IOMMU } from '../wire/uapi/vfio-nesting.js';
import { rules } from './container-rules.js';
import type { VfioGroup } from './group.js';
import { Type1 } from './type1.js';
import { checkExtension, type1Ioctl } from './type1-ioctl.js';

export class Container {
  /** The newest first. */
  readonly groups: VfioGroup[] = [];
  iommu: Type1 | null = null;

  constructor(
    readonly env: Env,
    /** VFIO_TYPE1_NESTING_IOMMU is there. */
    readonly canNest: boolean,
  ) {}

  /** vfio_container_attach_group: from here on nobody else can have the group's DMA. */
  add(group: VfioGroup, task: Task): void {
    group.iommu.claimDmaOwner(group);
    try {
      this.iommu?.attach(group.iommu, task);
    } catch (error) {
      group.iommu.releaseDmaOwner();
      throw error;
    }
    group.container = this;
    this.groups.unshift(group);
  }

  /** vfio_group_detach_container: with the last group goes the IOMMU. */
  remove(group: VfioGroup): void {
    this.iommu?.detach(group.iommu);
    group.iommu.releaseDmaOwner();
    group.container = null;
    this.groups.splice(this.groups.indexOf(group), 1);
    if (this.groups.length === 0) this.iommu = null;
  }

  /** vfio_ioctl_set_iommu */
  setIommu(type: bigint, task: Task): void {
    if (this.groups.length === 0) refuse(rules.container_set_empty, {});
    if (this.iommu !== null) refuse(rules.container_set_twice, {});
    const isNesting = this.canNest && type === BigInt(VFIO_TYPE1_NESTING_IOMMU);
    const isV2 = isNesting || type === BigInt(VFIO_TYPE1v2_IOMMU);
    if (!isV2 && type !== BigInt(VFIO_TYPE1_IOMMU)) refuse(rules.container_set_type, { type });
    const iommu = new Type1(this.env, isV2, isNesting);
    const done: VfioGroup[] = [];
    try {
      for (const group of this.groups) {
        iommu.attach(group.iommu, task);
        done.unshift(group);
      }
    } catch (error) {
      for (const group of done) iommu.detach(group.iommu);
      throw error;
    }
    this.iommu = iommu;
  }
}

/** An open /dev/vfio/vfio. */
export class ContainerFile implements OpenFile {
  readonly isEngineFile = true;
  readonly name = '/dev/vfio/vfio';
  readonly pollMode = 'none';
  readonly readable = true;
  onReadableChange: (() => void) | null = null;
  readonly container: Container;

  constructor(
    readonly env: Env,
    canNest = false,
  ) {
    this.container = new Container(env, canNest);
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    const { container } = this;
    const { iommu } = container;
    if (cmd === VFIO_GET_API_VERSION) return VFIO_API_VERSION;
    if (cmd === VFIO_CHECK_EXTENSION) return checkExtension(iommu, arg, container.canNest);
    if (cmd === VFIO_SET_IOMMU) {
      container.setIommu(arg, task);
      return 0;
    }
    if (iommu === null) refuse(rules.container_ioctl, { cmd: BigInt(cmd >>> 0) });
    return type1Ioctl(iommu, cmd, arg, task);
  }

  read(): number {
    refuse(rules.container_read, {});
  }

  write(): number {
    refuse(rules.container_write, {});
  }

  mmap(_request: MmapRequest): SharedPages {
    refuse(rules.container_mmap, {});
  }

  /** Groups that are in it keep it. */
  release(): void {}
}
