/** Why calls that all drivers of devices have in common refuse. The order is that of drivers/vfio/vfio_main.c, virqfd.c. */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  // VFIO_DEVICE_GET_REGION_INFO
  region_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  region_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  region_caps_unwritable: ['EFAULT', 'the {length} bytes of capabilities at {at} cannot be written'],
  region_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],

  // VFIO_DEVICE_SET_IRQS
  irqs_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  irqs_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  irqs_index: ['EINVAL', 'there are {kinds} kinds of interrupts, and none is number {index}'],
  irqs_wraps: ['EINVAL', '{count} interrupts from {start} on go beyond what 32 bits can count'],
  irqs_flags: ['EINVAL', 'flags {flags} has more than kinds of data and actions'],
  irqs_start: ['EINVAL', 'start {start} is not below {most}, the interrupts of kind {index}'],
  irqs_count: ['EINVAL', '{count} interrupts from {start} on are more than {most}, those of kind {index}'],
  irqs_data_kind: ['EINVAL', 'flags {flags} has not exactly one kind of data'],
  irqs_data_size: ['EINVAL', 'argsz {argsz} is below {least}, which the data need'],
  irqs_data_unreadable: ['EFAULT', 'the {length} bytes of data at {at} cannot be read'],
  eventfd_closed: ['EBADF', 'descriptor {fd} is not open'],
  eventfd_own_file: ['EINVAL', 'descriptor {fd} is {file}, not an eventfd'],
  eventfd_kind: ['EINVAL', 'descriptor {fd} is not an eventfd'],
  virqfd_busy: ['EBUSY', 'descriptor {fd} comes second: an eventfd is being watched for this already'],

  // VFIO_DEVICE_FEATURE
  feature_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  feature_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  feature_flags: ['EINVAL', 'flags {flags} has more than a feature, GET, SET and PROBE'],
  feature_both_ways: ['EINVAL', 'GET and SET at once'],
  feature_precopy: ['EINVAL', 'the device copies no state while it runs'],
  feature_unknown: ['ENOTTY', 'the driver has no feature {feature}'],
  feature_way: ['EINVAL', 'flags {flags}: feature {feature} cannot be got, or not set'],
  feature_no_way: ['EINVAL', 'feature {feature} without GET, SET or PROBE'],
  feature_data_size: ['EINVAL', 'feature {feature} needs {least} bytes of data, and there are {size}'],
});
