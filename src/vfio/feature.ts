/** VFIO_DEVICE_FEATURE (vfio_ioctl_device_feature): the frame, and who has which feature. */
import { refuse } from '../base/errno.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import * as v from '../wire/uapi/vfio.gen.js';
import type { FeatureRequest, VfioDevice, VfioDriver } from './driver.js';
import { WAYS } from './feature-check.js';
import { rules } from './call-rules.js';

const LEAST = v.vfio_device_feature.endOf('flags');
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
  return answer(request, device.driver) ?? refuse(rules.feature_unknown, { feature });
}

/** Null: nobody has it. */
function answer(request: FeatureRequest, driver: VfioDriver): number | null {
  switch (request.feature) {
    case v.VFIO_DEVICE_FEATURE_MIGRATION:
    case v.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
    case v.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
      return driver.migration?.feature(request) ?? null;
    case v.VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
    case v.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
    case v.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
      return driver.dmaLog?.feature(request) ?? null;
    default:
      return driver.feature(request);
  }
}
