/** What the core of VFIO asks of the driver of a device (vfio_device_ops), and the device between them. */
import type { DmaDevice } from '../hw/unit.js';
import type { Device } from '../iommufd/device.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { MmapRequest, SharedPages, Task } from '../mem/task.js';
import type { DmaLog } from './dma-log.js';
import type { ExtraRegions } from './extra-regions.js';
import type { VfioGroup } from './group.js';
import type { Migration } from './migration.js';
import type { RegionInfo } from './region-info.js';

/** vfio-pci, vfio-platform. One of them belongs to each device, and is told when that is opened and closed. */
export interface VfioDriver {
  /** The first who opens it has done so. */
  open(): void;
  /** The last has closed it: it emits nothing more, and holds nothing of the user's. */
  close(): void;
  /** The device is wanted back: whoever has it open is told. */
  request?(): void;
  /** vfio_device_pm_runtime_get, before every ioctl: what slept is woken up. */
  wake?(): void;
  /** Runs an ioctl that the core does not know; null: nor does the driver. */
  ioctl(cmd: number, arg: bigint, user: UserMemory, file: OpenDevice): number | null;
  /** Indices below these are its own. */
  readonly regionCount: number;
  readonly irqCount: number;
  /** Refuses an index that it has not. */
  regionInfo(index: number): RegionInfo;
  /** Runs VFIO_DEVICE_FEATURE for a feature that the core does not know; null: nor does the driver. */
  feature(request: FeatureRequest): number | null;
  /** `count` is above 0; the number of bytes moved. */
  read(position: bigint, at: bigint, count: number, user: UserMemory): number;
  write(position: bigint, at: bigint, count: number, user: UserMemory): number;
  mmap(request: MmapRequest): SharedPages;
  /** vfio_device.mig_ops, log_ops; absent or null: the device cannot. */
  readonly migration?: Migration | null;
  readonly dmaLog?: DmaLog | null;
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
  readonly device: VfioDevice;
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

/** What an open device is given so that it reaches memory: bound to an iommufd, or in the container of its group. */
export interface Access {
  /** The iommufd's object, if it is one. */
  readonly bound?: Device;
  /** What the device has because of where its DMA goes. */
  readonly extra?: ExtraRegions | null;
  /** The device is closed. */
  end(): void;
}

/** A device that has a file below /dev/vfio/devices. */
export class VfioDevice {
  /** Null: none that VFIO knows of. */
  group: VfioGroup | null = null;
  /** Files that have it open: one of its own at most, or any number from its group. */
  #openCount = 0;
  #access: Access | null = null;

  constructor(
    /** `/dev/vfio/devices/vfio0` */
    readonly path: string,
    readonly bus: VfioBus,
    readonly device: DmaDevice,
    readonly driver: VfioDriver,
    readonly extension: VfioExtension | null = null,
  ) {}

  get isOpen(): boolean {
    return this.#openCount > 0;
  }

  /** Of the drivers of Linux 7.2 only vfio-pci has pasid_attach_ioas. */
  get attachesPasids(): boolean {
    return this.bus === 'pci';
  }

  /** As an iommufd knows it, while it is bound to one, through whichever file. */
  get bound(): Device | null {
    return this.#access?.bound ?? null;
  }

  /** Regions and an interrupt beside those of its driver, while it is open; null: none. */
  get extra(): ExtraRegions | null {
    return this.#access?.extra ?? null;
  }

  /** vfio_df_open: the first who opens it brings its access. */
  open(first: () => Access): void {
    if (this.#openCount === 0) {
      this.#access = first();
      this.driver.open();
    }
    this.#openCount += 1;
  }

  /** Somebody wants it back. True: it is open, and whoever has it is told, if that is wished. */
  askBack(): boolean {
    if (this.isOpen) this.driver.request?.();
    return this.isOpen;
  }

  /** vfio_df_close */
  close(): void {
    if (this.#openCount === 1) {
      this.extension?.close();
      this.driver.close();
      this.#access?.end();
      this.#access = null;
    }
    this.#openCount -= 1;
  }
}
