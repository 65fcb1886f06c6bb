/** Why a VFIO group and its file refuse. The order within a call is Linux' (drivers/vfio/group.c). */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  group_no_device: ['ENODEV', 'no device of group {group} has a VFIO driver any more'],
  group_cdev_open: ['EBUSY', '{devices} devices of group {group} are bound through files of their own'],
  group_open: ['EBUSY', 'group {group} is open already; devices that it gave out keep it so'],
  group_ioctl: ['ENOTTY', 'a group has no ioctl {cmd}'],
  group_read: ['EINVAL', 'group {group} cannot be read'],
  group_write: ['EINVAL', 'group {group} cannot be written'],
  group_mmap: ['ENODEV', 'group {group} cannot be mapped'],
  group_bind: ['EBUSY', 'group {group} of {device} is open: its devices come from there'],

  // VFIO_GROUP_GET_STATUS
  status_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  status_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  status_no_device: ['ENODEV', 'no device of group {group} has a VFIO driver any more'],
  status_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],

  // VFIO_GROUP_SET_CONTAINER, VFIO_GROUP_UNSET_CONTAINER
  set_container_unreadable: ['EFAULT', 'the descriptor at {at} cannot be read'],
  set_container_fd: ['EBADF', 'descriptor {fd} is not open'],
  set_container_twice: ['EINVAL', 'group {group} has a container or an iommufd already'],
  set_container_no_device: ['ENODEV', 'no device of group {group} has a VFIO driver any more'],
  set_container_kind: ['EBADFD', 'descriptor {fd} is neither /dev/vfio/vfio nor /dev/iommu'],
  unset_container_none: ['EINVAL', 'group {group} has neither a container nor an iommufd'],
  unset_container_busy: ['EBUSY', 'devices of group {group} are open'],

  // VFIO_GROUP_GET_DEVICE_FD
  device_name_unreadable: ['EFAULT', 'there is no end of a string in the readable bytes from {at} on'],
  device_name_length: ['EINVAL', 'the string at {at} has more than {most} bytes, its end included'],
  device_name: ['ENODEV', 'group {group} has no device {name}'],
  device_option: ['EINVAL', '{option} is no option of a device, or is there twice'],
  device_token_short: ['EINVAL', '{token} is shorter than a token'],
  device_token_form: ['EINVAL', '{token} is no UUID'],
  device_descriptors: ['EMFILE', 'the caller has no descriptor left'],
  device_no_container: ['EINVAL', 'group {group} has neither a container nor an iommufd'],
  device_no_iommu: ['EINVAL', 'the container of group {group} has no IOMMU set'],
  device_no_ioas: ['ENODEV', 'the iommufd of group {group} has no compatibility IOAS any more'],
});
