/** Why vfio-pci refuses. The order within a call is Linux' (drivers/vfio/pci). */
import { catalogue } from '../../base/errno.js';

export const rules = catalogue({
  // VFIO_DEVICE_GET_INFO, GET_REGION_INFO, GET_IRQ_INFO
  pci_info_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  pci_info_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  pci_info_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],
  region_vga: ['EINVAL', 'the device is no graphics adapter and has no VGA region'],
  region_index: ['EINVAL', 'there is no region {index}'],
  irq_info_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  irq_info_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  irq_info_index: ['EINVAL', 'there is no kind {index} of interrupts'],
  irq_info_err: ['EINVAL', 'the device is not of PCI Express and tells of no errors'],
  irq_info_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],

  // VFIO_DEVICE_SET_IRQS
  irqs_action: ['ENOTTY', 'interrupts of kind {index} have no action {action}'],
  intx_unmask: ['EINVAL', 'INTx is off, or it is not {count} from {start} on that it has'],
  intx_mask: ['EINVAL', 'INTx is off, or it is not {count} from {start} on that it has'],
  intx_mask_eventfd: ['ENOTTY', 'INTx cannot be masked by an eventfd'],
  intx_trigger: [
    'EINVAL',
    '{count} from {start} on is not the one INTx, or other interrupts are in use: {inUse}',
  ],
  intx_trigger_off: ['EINVAL', 'INTx is off'],
  messages_other: ['EINVAL', '{inUse} is in use, so {wanted} cannot be'],
  messages_none: ['ERANGE', 'no {kind} message to enable'],
  messages_power: ['EINVAL', 'the device is not in D0, and cannot be given {kind} messages'],
  messages_off: ['EINVAL', '{wanted} is off'],
  single_unset: ['EINVAL', 'there is no eventfd for {which}'],
  single_no_bool: ['EINVAL', 'no value for {which}'],
  single_no_eventfd: ['EINVAL', 'no eventfd for {which}'],
  single_eventfd: ['EINVAL', '{fd} for {which} is below -1'],

  // VFIO_DEVICE_FEATURE
  low_power_twice: ['EINVAL', 'the device is in low power already'],
  low_power_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  low_power_eventfd: ['EINVAL', 'wakeup_eventfd {fd} is below 0'],
  token_unreadable: ['EFAULT', 'the {length} bytes of the token at {at} cannot be read'],

  // Tokens
  token_needless: ['EINVAL', 'a token for {device}, which neither is a virtual function nor has any'],
  token_no_physical: [
    'EINVAL',
    'a token for {device}, whose physical function is not in the hands of vfio-pci',
  ],
  token_missing: ['EACCES', '{device} is a virtual function and needs the token of its physical one'],
  token_wrong: ['EACCES', 'the token is not that of the physical function of {device}'],
  token_missing_physical: ['EACCES', '{device} needs its token: {users} of its virtual functions are open'],
  token_wrong_physical: ['EACCES', 'the token is not that of {device}'],

  // read(2), write(2), mmap(2)
  read_index: ['EINVAL', 'there is no region {index}'],
  write_index: ['EINVAL', 'there is no region {index}'],
  read_vga: ['EINVAL', 'the device is no graphics adapter and has no VGA region'],
  write_vga: ['EINVAL', 'the device is no graphics adapter and has no VGA region'],
  write_rom: ['EINVAL', 'the ROM cannot be written'],
  config_range: ['EFAULT', '{length} bytes from {offset} on go beyond the {size} of configuration space'],
  config_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],
  config_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  load_none: ['EINVAL', 'the device has no region {index}'],
  load_offset: ['EINVAL', 'offset {offset} is not below {size}, the size of region {index}'],
  load_disabled: ['EIO', 'the device does not answer to BAR {bar}: its memory is disabled, or it is in D3'],
  load_unwritable: ['EFAULT', 'the {length} bytes at {at} cannot be written'],
  load_table_unwritable: ['EFAULT', 'the {length} bytes at {at}, of the MSI-X table, cannot be written'],
  store_none: ['EINVAL', 'the device has no region {index}'],
  store_offset: ['EINVAL', 'offset {offset} is not below {size}, the size of region {index}'],
  store_disabled: ['EIO', 'the device does not answer to BAR {bar}: its memory is disabled, or it is in D3'],
  store_disabled_unreadable: ['EFAULT', 'what is to be stored at {at} cannot be read'],
  store_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  map_index: ['EINVAL', 'there is no region {index}'],
  map_private: ['EINVAL', 'a private mapping of region {index}: only MAP_SHARED is possible'],
  map_kind: ['EINVAL', 'region {index} is no BAR, and only BARs can be mapped'],
  map_bar: ['EINVAL', 'BAR {index} is not there, of I/O ports, or smaller than a page'],
  map_range: ['EINVAL', '{length} bytes from {start} on go beyond the {size} of the BAR'],
});
