/** Why a write to an attribute is refused; errnos are those of Linux' drivers/base and drivers/pci. */
import { catalogue } from '../../base/errno.js';

export const rules = catalogue({
  sysfs_unbind: ['ENODEV', '{device} is not bound to {driver}'],
  sysfs_unbind_open: ['EBUSY', '{device} is open: Linux would wait until it is closed'],
  sysfs_bind_match: ['ENODEV', 'there is no device {device} that {driver} would take'],
  sysfs_bind_bound: ['EBUSY', '{device} is bound to {driver} already'],
  sysfs_bind_group: ['EBUSY', 'group {group} of {device} is in use through VFIO, so {driver} cannot have it'],
  sysfs_probe: ['ENODEV', 'there is no device {device}'],
  sysfs_id: ['EINVAL', '{file} takes a vendor and a device, in hexadecimal, not "{text}"'],
  sysfs_id_exists: ['EEXIST', '{driver} takes {vendor}:{device} already'],
  sysfs_id_none: ['ENODEV', '{driver} was never told to take {vendor}:{device}'],
  sysfs_enable_driver: ['EBUSY', '{device} is for its driver to enable: {driver}'],
  sysfs_enable_off: ['EIO', '{device} is not enabled'],
  sysfs_reset_none: ['ENOTTY', '{device} has no way of being reset: reset_method is empty'],
  sysfs_remove_open: ['EBUSY', '{device} is open: Linux would wait until it is closed'],
  sysfs_resource: ['EIO', '{file} can only be mapped, by whoever has the device through VFIO'],
  sysfs_numvfs_driver: ['ENOENT', '{device} has no driver that could give it virtual functions'],
  sysfs_numvfs_disabled: ['ENOENT', 'vfio_pci.enable_sriov is N'],
  sysfs_reset_value: ['EINVAL', 'reset takes 1 and nothing else, not "{text}"'],
  sysfs_numvfs_value: ['EINVAL', 'sriov_numvfs has 16 bits, and {count} more'],
  sysfs_switch: ['EINVAL', '{file} is Y or N, not "{text}"'],
  sysfs_number: ['EINVAL', '{file} takes a number, not "{text}"'],
  sysfs_choice: ['EINVAL', '{file} takes one of {choices}, not "{text}"'],
});
