/** Why vfio-platform refuses. The order within a call is Linux' (drivers/vfio/platform). */
import { catalogue } from '../../base/errno.js';

export const rules = catalogue({
  platform_info_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  platform_info_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  platform_info_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],
  platform_irq_info_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  platform_irq_info_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  platform_irq_info_index: ['EINVAL', 'the device has no interrupt {index}'],
  platform_irq_info_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],
  platform_region: ['EINVAL', 'the device has no region {index}'],
  platform_irqs_action: ['ENOTTY', 'interrupts have no action {action}'],
  platform_mask: ['EINVAL', 'it is not the one interrupt: {count} from {start} on'],
  platform_unmask: ['EINVAL', 'it is not the one interrupt: {count} from {start} on'],
  platform_trigger: ['EINVAL', 'it is not the one interrupt: {count} from {start} on'],
  platform_read_region: ['EINVAL', 'the device has no region {index}'],
  platform_read_offset: ['EINVAL', 'offset {offset} is not below {size}, the size of region {index}'],
  platform_read_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],
  platform_write_region: ['EINVAL', 'the device has no region {index}'],
  platform_write_offset: ['EINVAL', 'offset {offset} is not below {size}, the size of region {index}'],
  platform_write_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  platform_map_private: ['EINVAL', 'a private mapping of region {index}: only MAP_SHARED is possible'],
  platform_map_region: ['EINVAL', 'the device has no region {index}'],
  platform_map_registers: ['EINVAL', 'region {index} has registers, which stay unmapped'],
  platform_map_range: ['EINVAL', '{length} bytes from {start} on go beyond the {size} of the region'],
});
