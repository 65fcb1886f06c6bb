/** The driver of a device that has no regions and no interrupts: only what an {@link VfioExtension} adds. */
import { refuse } from '../base/errno.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { SharedPages } from '../mem/task.js';
import {
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_FLAGS_PLATFORM,
  VFIO_DEVICE_GET_INFO,
  vfio_device_info,
} from '../wire/uapi/vfio.gen.js';
import type { VfioBus, VfioDriver } from './driver.js';
import type { RegionInfo } from './region-info.js';
import { rules } from './rules.js';

const LEAST = vfio_device_info.endOf('num_irqs');
const flagsOf = { pci: VFIO_DEVICE_FLAGS_PCI, platform: VFIO_DEVICE_FLAGS_PLATFORM } as const;

export class BareDriver implements VfioDriver {
  constructor(readonly bus: VfioBus) {}

  open(): void {}

  close(): void {}

  ioctl(cmd: number, arg: bigint, user: UserMemory): number | null {
    return cmd === VFIO_DEVICE_GET_INFO ? this.#getInfo(user, arg) : null;
  }

  #getInfo(user: UserMemory, arg: bigint): number {
    const bytes = new Uint8Array(vfio_device_info.size);
    bytes.set(user.copyIn(arg, LEAST, rules.info_unreadable));
    const { argsz } = vfio_device_info.decode(bytes);
    if (argsz < LEAST) refuse(rules.info_size, { argsz, least: LEAST });
    vfio_device_info.encode(vfio_device_info.create({ argsz, flags: flagsOf[this.bus] }), bytes);
    // vfio-platform knows the first version of the struct only.
    const known = this.bus === 'pci' ? Math.min(argsz, bytes.length) : LEAST;
    user.copyOut(arg, bytes.subarray(0, known), rules.info_unwritable);
    return 0;
  }

  regionInfo(index: number): RegionInfo {
    refuse(rules.bare_region, { index });
  }

  feature(): null {
    return null;
  }

  read(position: bigint): number {
    refuse(rules.bare_read, { position });
  }

  write(position: bigint): number {
    refuse(rules.bare_write, { position });
  }

  mmap(): SharedPages {
    refuse(rules.bare_mmap);
  }
}
