/** What the core of VFIO asks of the driver of a device (vfio_device_ops), and the device between them. */
import type { DeviceModel } from '../bus/model.js';
import type { DmaDevice } from '../hw/unit.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { Task } from '../mem/task.js';

export interface VfioDriver {
  /** Runs an ioctl that the core does not know; null: nor does the driver. */
  ioctl(cmd: number, arg: bigint, user: UserMemory): number | null;
  read(at: bigint, count: number, task: Task): number;
  readonly readable: boolean;
  /** Set while the device is open; the driver calls it when {@link readable} may have changed. */
  onReadableChange: (() => void) | null;
  /** The device is closed: nothing of what it was doing goes on. */
  close(): void;
}

/** The driver of a device that is known by its registers alone: it has nothing to say of its own. */
export class ModelDriver implements VfioDriver {
  readonly readable = false;
  onReadableChange: (() => void) | null = null;

  constructor(readonly model: DeviceModel) {}

  ioctl(): number | null {
    return null;
  }

  read(): number {
    return 0;
  }

  close(): void {
    this.model.reset();
  }
}

/** The kernel's driver of a device decides what its file can do. */
export type VfioBus = 'pci' | 'platform';

/** A device that has a file below /dev/vfio/devices. */
export class VfioDevice {
  /** Bound through some file. */
  isOpen = false;

  constructor(
    /** `/dev/vfio/devices/vfio0` */
    readonly path: string,
    readonly bus: VfioBus,
    readonly device: DmaDevice,
    readonly driver: VfioDriver,
  ) {}

  /** Of the drivers of Linux 7.2 only vfio-pci has pasid_attach_ioas. */
  get attachesPasids(): boolean {
    return this.bus === 'pci';
  }
}
