/** VFIO_DEVICE_GET_REGION_INFO (vfio_get_region_info): the frame, and where regions lie in the file. */
import { refuse } from '../base/errno.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import { VFIO_REGION_INFO_FLAG_CAPS, vfio_region_info } from '../wire/uapi/vfio.gen.js';
import { InfoCaps } from './info-caps.js';
import { rules } from './call-rules.js';

/** What a driver says of a region. */
export interface RegionInfo {
  /** Bytes. */
  readonly size: number;
  /** VFIO_REGION_INFO_FLAG_READ, _WRITE, _MMAP. */
  readonly flags: number;
  readonly caps?: InfoCaps;
}

const LEAST = vfio_region_info.endOf('offset');
const SHIFT = 40n;
const OFFSET_MASK = (1n << SHIFT) - 1n;

/** Where region `index` begins in the file; the same for PCI and for platform devices. */
export const offsetOf = (index: number): bigint => BigInt(index) << SHIFT;
export const indexOf = (position: bigint): number => Number(position >> SHIFT);
export const withinRegion = (position: bigint): number => Number(position & OFFSET_MASK);

export function getRegionInfo(user: UserMemory, arg: bigint, infoOf: (index: number) => RegionInfo): number {
  const request = user.copyHead(vfio_region_info, arg, LEAST, rules.region_unreadable);
  const bytes = new Uint8Array(vfio_region_info.size);
  const { argsz, index } = request;
  if (argsz < LEAST) refuse(rules.region_size, { argsz, least: LEAST });
  const { size, flags, caps = new InfoCaps() } = infoOf(index);
  // Without capabilities cap_offset is given back as it came.
  const info = { ...request, flags, size: BigInt(size), offset: offsetOf(index) };
  if (caps.size > 0) {
    info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
    info.cap_offset = 0;
    if (argsz < bytes.length + caps.size) info.argsz = bytes.length + caps.size;
    else {
      user.copyOut(arg + BigInt(bytes.length), caps.bytes(bytes.length), rules.region_caps_unwritable);
      info.cap_offset = bytes.length;
    }
  }
  vfio_region_info.encode(info, bytes);
  user.copyOut(arg, bytes.subarray(0, LEAST), rules.region_unwritable);
  return 0;
}
