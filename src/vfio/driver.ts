/** What the core of VFIO asks of the driver of a device (vfio_device_ops), and the device between them. */
import type { DmaDevice } from '../hw/unit.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { Task } from '../mem/task.js';
import type { VfioGroup } from './group.js';

export interface VfioDriver {
  /** Runs an ioctl that the core does not know; null: nor does the driver. */
  ioctl(cmd: number, arg: bigint, user: UserMemory): number | null;
  read(at: bigint, count: number, task: Task): number;
  readonly readable: boolean;
  /** Set while the device is open; the driver calls it when {@link readable} may have changed. */
  onReadableChange: (() => void) | null;
  /** The last file of the device is closed: nothing of what it was doing goes on. */
  close(): void;
}

/** What an open device is given so that it reaches memory: bound to an iommufd, or in the container of its group. */
export interface Access {
  /** The device is closed. */
  end(): void;
}

/** The kernel's driver of a device decides what its file can do. */
export type VfioBus = 'pci' | 'platform';

/** A device that has a file below /dev/vfio/devices. */
export class VfioDevice {
  /** Null: none that VFIO knows of. */
  group: VfioGroup | null = null;
  /** Files that have it open: one of its own at most, or any number from its group. */
  openCount = 0;
  #access: Access | null = null;

  constructor(
    /** `/dev/vfio/devices/vfio0` */
    readonly path: string,
    readonly bus: VfioBus,
    readonly device: DmaDevice,
    readonly driver: VfioDriver,
  ) {}

  /** vfio_df_open: the first who opens it brings its access. */
  open(first: () => Access): void {
    if (this.openCount === 0) this.#access = first();
    this.openCount += 1;
  }

  /** vfio_df_close */
  close(): void {
    if (this.openCount === 1) {
      this.driver.close();
      this.#access?.end();
      this.#access = null;
    }
    this.openCount -= 1;
  }

  /** Of the drivers of Linux 7.2 only vfio-pci has pasid_attach_ioas. */
  get attachesPasids(): boolean {
    return this.bus === 'pci';
  }
}
