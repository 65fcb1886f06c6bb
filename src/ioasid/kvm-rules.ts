/** Why the stand-in for /dev/kvm refuses, in KVM's order. */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  kvm_ioctl: ['ENOTTY', '{file} has no ioctl {cmd}: only memory slots are served, nothing runs'],
  kvm_argument: ['EINVAL', 'the argument is {arg}, not 0'],
  kvm_type: ['EINVAL', 'there is no machine of type {type}'],
  kvm_descriptors: ['EMFILE', 'the caller has no free descriptor for a machine'],
  kvm_other_process: ['EIO', 'the machine belongs to another process'],
  kvm_machine_ioctl: [
    'ENOTTY',
    'a virtual machine has no ioctl {cmd}: only memory slots are served, nothing runs',
  ],
  kvm_read: ['EINVAL', '{file} cannot be read'],
  kvm_write: ['EINVAL', '{file} cannot be written'],
  kvm_no_mmap: ['ENODEV', '{file} cannot be mapped'],
  kvm_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  kvm_slot: ['EINVAL', 'slot {slot} is not below {slots}'],
  kvm_flags: ['EINVAL', 'flags {flags} has more than LOG_DIRTY_PAGES and READONLY'],
  kvm_size: ['EINVAL', 'memory_size {memory_size} is not a multiple of the page size'],
  kvm_guest_address: ['EINVAL', 'guest_phys_addr {guest_phys_addr} is not a multiple of the page size'],
  kvm_user_address: [
    'EINVAL',
    'the {memory_size} bytes at userspace_addr {userspace_addr} are no user addresses, or not aligned',
  ],
  kvm_address_space: ['EINVAL', 'slot {slot} is in an address space that the machine has not'],
  kvm_wraps: ['EINVAL', 'the {memory_size} bytes at guest_phys_addr {guest_phys_addr} wrap around'],
  kvm_too_large: ['EINVAL', 'memory_size {memory_size} is above 2^31 - 1 pages'],
  kvm_nothing: ['EINVAL', 'there is no slot {slot} to delete'],
  kvm_change: [
    'EINVAL',
    'slot {slot} has another address, size or READONLY: it can only be moved or deleted',
  ],
  kvm_overlap: ['EEXIST', 'slot {slot} would lie over slot {other}'],
});
