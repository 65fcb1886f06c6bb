/** Why a write to an attribute is refused; errnos are those of Linux' drivers/base and drivers/pci. */
import { catalogue } from '../../base/errno.js';

export const rules = catalogue({
  sysfs_unbind: ['ENODEV', '{device} is not bound to {driver}'],
  sysfs_unbind_open: ['EBUSY', '{device} is open: Linux would wait until it is closed'],
  sysfs_bind_match: ['ENODEV', 'there is no device {device} that {driver} would take'],
  sysfs_bind_bound: ['EBUSY', '{device} is bound to {driver} already'],
  sysfs_probe: ['ENODEV', 'there is no device {device}'],
  sysfs_number: ['EINVAL', '{file} takes a number, not "{text}"'],
  sysfs_choice: ['EINVAL', '{file} takes one of {choices}, not "{text}"'],
});
