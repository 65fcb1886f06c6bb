/** What every feature of VFIO_DEVICE_FEATURE checks first. */
import { refuse } from '../base/errno.js';
import * as v from '../wire/uapi/vfio.gen.js';
import { rules } from './call-rules.js';
import type { FeatureRequest } from './driver.js';

/** A call does one of these, or only asks. */
export const WAYS = v.VFIO_DEVICE_FEATURE_GET | v.VFIO_DEVICE_FEATURE_SET;

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
