/** VFIO_DEVICE_FEATURE (vfio_ioctl_device_feature): the frame, and what every feature checks first. */
import { refuse } from '../base/errno.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import * as v from '../wire/uapi/vfio.gen.js';
import type { FeatureRequest, VfioDevice } from './driver.js';
import { rules } from './call-rules.js';

const LEAST = v.vfio_device_feature.endOf('flags');
const WAYS = v.VFIO_DEVICE_FEATURE_GET | v.VFIO_DEVICE_FEATURE_SET;
const KNOWN = v.VFIO_DEVICE_FEATURE_MASK | WAYS | v.VFIO_DEVICE_FEATURE_PROBE;

export function deviceFeature(user: UserMemory, arg: bigint, device: VfioDevice): number {
  const header = v.vfio_device_feature.decode(user.copyIn(arg, LEAST, rules.feature_unreadable));
  const { argsz, flags } = header;
  if (argsz < LEAST) refuse(rules.feature_size, { argsz, least: LEAST });
  if ((flags & ~KNOWN) !== 0) refuse(rules.feature_flags, { flags });
  const isProbe = (flags & v.VFIO_DEVICE_FEATURE_PROBE) !== 0;
  if (!isProbe && (flags & WAYS) === WAYS) refuse(rules.feature_both_ways, {});
  const feature = flags & v.VFIO_DEVICE_FEATURE_MASK;
  // Asked before anything else: no device here copies while it runs.
  if (feature === v.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2) refuse(rules.feature_precopy, {});
  const request = { user, feature, flags, at: arg + BigInt(LEAST), size: argsz - LEAST };
  return device.driver.feature(request) ?? refuse(rules.feature_unknown, { feature });
}

/**
 * vfio_check_feature: true when the feature is to be done, false when it was only asked whether it could be. `ways` are
 * VFIO_DEVICE_FEATURE_GET and _SET, as far as it has them; `least` bytes of data are needed.
 */
export function checkFeature({ feature, flags, size }: FeatureRequest, ways: number, least: number): boolean {
  if ((flags & WAYS & ~ways) !== 0) refuse(rules.feature_way, { feature, flags });
  if ((flags & v.VFIO_DEVICE_FEATURE_PROBE) !== 0) return false;
  if ((flags & WAYS) === 0) refuse(rules.feature_no_way, { feature });
  if (size < least) refuse(rules.feature_data_size, { feature, size, least });
  return true;
}
