/** What the core of VFIO asks of the driver of a device (vfio_device_ops), and the device between them. */
import type { DmaDevice } from '../hw/unit.js';
import type { Device } from '../iommufd/device.js';
import type { Env } from '../iommufd/env.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { MmapRequest, SharedPages, Task } from '../mem/task.js';
import type { RegionInfo } from './region-info.js';

/** vfio-pci, vfio-platform. One of them belongs to each device, and is told when that is opened and closed. */
export interface VfioDriver {
  /** The first who opens it has done so. */
  open(env: Env): void;
  /** The last has closed it: it emits nothing more, and holds nothing of the user's. */
  close(): void;
  /** vfio_device_pm_runtime_get, before every ioctl: what slept is woken up. */
  wake?(): void;
  /** Runs an ioctl that the core does not know; null: nor does the driver. */
  ioctl(cmd: number, arg: bigint, user: UserMemory, file: OpenDevice): number | null;
  /** Refuses an index that it has not. */
  regionInfo(index: number): RegionInfo;
  /** Runs VFIO_DEVICE_FEATURE for a feature that the core does not know; null: nor does the driver. */
  feature(request: FeatureRequest): number | null;
  /** `count` is above 0; the number of bytes moved. */
  read(position: bigint, at: bigint, count: number, user: UserMemory): number;
  write(position: bigint, at: bigint, count: number, user: UserMemory): number;
  mmap(request: MmapRequest): SharedPages;
  /** vfio_device_ops.match_token_uuid; absent: there are no tokens. Null: none was given. */
  matchToken?(token: Uint8Array | null): void;
}

/** VFIO_DEVICE_FEATURE, its frame checked. */
export interface FeatureRequest {
  readonly user: UserMemory;
  readonly feature: number;
  readonly flags: number;
  /** Where its data are, and how many bytes the user says there are. */
  readonly at: bigint;
  readonly size: number;
}

/** What of an open file of a device its driver has to know. */
export interface OpenDevice {
  /** It was opened by its own node, not through a group. */
  readonly isCdev: boolean;
}

/**
 * Something that ioasis adds to a device file: an ioctl of its own, and records that read(2) without a position
 * returns.
 */
export interface VfioExtension {
  ioctl(cmd: number, arg: bigint, user: UserMemory): number | null;
  read(at: bigint, count: number, task: Task): number;
  readonly readable: boolean;
  /** Set while the device is open; called when {@link readable} may have changed. */
  onReadableChange: (() => void) | null;
  /** The device is closed: nothing of what it was doing goes on. */
  close(): void;
}

/** The kernel's driver of a device decides what its file can do. */
export type VfioBus = 'pci' | 'platform';

/** What the group of a device knows of it: a group that is open keeps its devices from being bound to an iommufd. */
export interface DeviceGroup {
  /** Its number, as in /dev/vfio/N. */
  readonly number: number;
  /** vfio_device_block_group: false, and nothing is changed, when the group is open. */
  block(): boolean;
  unblock(): void;
}

/** What stands behind a device that is opened through its group: the first takes it, the last gives it back. */
export interface GroupUse {
  /** vfio_device_group_use_iommu, or the binding to the group's iommufd. Throws, and has taken nothing, where it fails. */
  begin(): void;
  end(): void;
}

/** A device that has a file below /dev/vfio/devices. */
export class VfioDevice {
  /** Open files of it. */
  openCount = 0;
  /** The one of them is its own node's. */
  isCdevOpen = false;
  /** As an iommufd knows it, while it is bound to one, through whichever file. */
  bound: Device | null = null;
  /** Null where there are no groups. */
  group: DeviceGroup | null = null;
  /** While it is open through its group. */
  groupUse: GroupUse | null = null;

  constructor(
    /** `/dev/vfio/devices/vfio0` */
    readonly path: string,
    readonly bus: VfioBus,
    readonly device: DmaDevice,
    readonly driver: VfioDriver,
    readonly extension: VfioExtension | null = null,
  ) {}

  /** Of the drivers of Linux 7.2 only vfio-pci has pasid_attach_ioas. */
  get attachesPasids(): boolean {
    return this.bus === 'pci';
  }

  /**
   * vfio_df_open: the first who opens it takes what stands behind it (`begin`: an iommufd, or a container), and then
   * starts it.
   */
  open(env: Env, begin: () => void, end: () => void): void {
    if (this.openCount === 0) {
      begin();
      try {
        this.driver.open(env);
      } catch (error) {
        end();
        throw error;
      }
    }
    this.openCount += 1;
  }

  /** vfio_df_close */
  close(end: () => void): void {
    this.openCount -= 1;
    if (this.openCount > 0) return;
    if (this.extension !== null) {
      this.extension.onReadableChange = null;
      this.extension.close();
    }
    this.driver.close();
    end();
  }
}
