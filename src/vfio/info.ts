/** VFIO_DEVICE_GET_INFO, as the driver of each bus answers it. A test device has no regions and no interrupts. */
import { refuse } from '../base/errno.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import {
  VFIO_DEVICE_FLAGS_PCI,
  VFIO_DEVICE_FLAGS_PLATFORM,
  vfio_device_info,
} from '../wire/uapi/vfio.gen.js';
import type { VfioDevice } from './driver.js';
import { rules } from './rules.js';

const LEAST = vfio_device_info.endOf('num_irqs');
const flagsOf = { pci: VFIO_DEVICE_FLAGS_PCI, platform: VFIO_DEVICE_FLAGS_PLATFORM } as const;

export function getInfo(user: UserMemory, arg: bigint, { bus }: VfioDevice): number {
  const bytes = new Uint8Array(vfio_device_info.size);
  bytes.set(user.copyIn(arg, LEAST, rules.info_unreadable));
  const { argsz } = vfio_device_info.decode(bytes);
  if (argsz < LEAST) refuse(rules.info_size, { argsz, least: LEAST });
  vfio_device_info.encode(vfio_device_info.create({ argsz, flags: flagsOf[bus] }), bytes);
  // vfio-platform knows the first version of the struct only.
  const known = bus === 'pci' ? Math.min(argsz, bytes.length) : LEAST;
  user.copyOut(arg, bytes.subarray(0, known), rules.info_unwritable);
  return 0;
}
