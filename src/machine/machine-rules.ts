/** Why a machine refuses, beside what its files do. */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  open_path: ['ENOENT', 'this machine has no device file {path}'],
  machine_device: ['ENODEV', 'the machine has no device {device}'],
  provide_pasid: ['EINVAL', 'PASID {pasid} of {device} is not from 1 to below {limit}'],
  sriov_none: ['ENOENT', '{device} can have no virtual functions'],
  sriov_range: ['ERANGE', '{count} virtual functions are more than the {total} that there can be'],
  sriov_busy: ['EBUSY', 'there are {present} virtual functions already, so there cannot be {count}'],
  sriov_in_use: ['EBUSY', 'virtual function {device} is in use'],
});
