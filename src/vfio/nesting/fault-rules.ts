/** Why the regions of faults and responses, and the interrupt that tells of them, refuse. */
import { catalogue } from '../../base/errno.js';

export const rules = catalogue({
  nesting_fault_memory: ['ENOMEM', 'no memory for the fault regions of {device}'],
  nesting_fault_read: ['EINVAL', 'offset {offset} is not below {size}, the size of the region'],
  nesting_fault_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],
  nesting_fault_write: [
    'EINVAL',
    '{count} bytes at offset {offset}: only the index, 4 bytes at 0, can be written',
  ],
  nesting_fault_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  nesting_fault_index: ['EINVAL', 'index {index} is not below {entries}'],
  nesting_fault_private: ['EINVAL', 'a private mapping: only MAP_SHARED is possible'],
  nesting_fault_range: [
    'EINVAL',
    '{length} bytes from {start} on are not within {first} to {size}: the header is not mapped',
  ],
  nesting_irq_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  nesting_irq_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  nesting_irq_caps_unwritable: ['EFAULT', 'the {length} bytes of capabilities at {at} cannot be written'],
  nesting_irq_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],
  nesting_fault_action: ['EINVAL', 'the fault interrupt has no action {action} but TRIGGER'],
  nesting_fault_eventfd: ['EINVAL', '{count} from {start} on: the fault interrupt takes one eventfd'],
});
