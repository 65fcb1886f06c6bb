/** Why a machine refuses what only TypeScript programs can ask of it. */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  machine_device: ['ENODEV', 'the machine has no device {device}'],
  provide_pasid: ['EINVAL', 'PASID {pasid} of {device} is not from 1 to below {limit}'],
});
