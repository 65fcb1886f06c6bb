/** Why /dev/ioasid refuses, and the calls of a device file that belong to it. */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  ioasid_ioctl: ['ENOTTY', '/dev/ioasid has no ioctl {cmd}'],
  ioasid_operation: ['EOPNOTSUPP', '{operation} is not for ioasid {ioasid}, whose table is of kind {kind}'],

  // Allocation
  ioasid_alloc_flags: ['EOPNOTSUPP', 'flags {flags} has more than this call knows'],
  ioasid_alloc_reserved: ['EOPNOTSUPP', '__reserved is {__reserved}, not 0'],
  ioasid_alloc_no_device: ['ENODEV', 'no device is bound to this file: whose format should it be?'],
  kvm_alloc_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  kvm_alloc_size: ['EINVAL', 'size {size} is below {least}'],
  kvm_alloc_fd: ['EBADF', 'descriptor {fd} is not open'],
  kvm_alloc_file: ['EINVAL', 'descriptor {fd} is no /dev/ioasid'],
  ioasid_alloc_data: ['EINVAL', 'a page table of a program needs data that says where it is'],
  ioasid_alloc_parent: ['ENOENT', 'there is no ioasid {id}'],
  ioasid_alloc_fault: ['ENOENT', 'there is no fault file {id}'],
  ioasid_fault_flags: ['EOPNOTSUPP', 'flags {flags} has more than FAULT_RING'],
  ioasid_fault_eventfd: ['EBADF', 'descriptor {fd} is not open'],
  ioasid_fault_eventfd_kind: ['EINVAL', 'descriptor {fd} is no eventfd'],
  ioasid_fault_memory: ['ENOMEM', 'no memory for a ring'],
  ring_read: ['EINVAL', 'faults are in the ring that is mapped from this file'],
  ring_write: ['EINVAL', 'responses go into the ring that is mapped from this file'],
  ring_private: ['EINVAL', 'a private mapping: only MAP_SHARED is possible'],
  ring_range: ['EINVAL', '{length} bytes at {offset} are not all {size} from 0 on'],

  // Use
  ioasid_destroy: ['ENOENT', 'there is no ioasid and no fault file {id}'],
  ioasid_destroy_busy: ['EBUSY', '{type} {id} is in use: {users} users'],
  ioasid_map: ['ENOENT', 'there is no ioasid {id} to map into'],
  ioasid_map_flags: ['EOPNOTSUPP', 'flags {flags} has more than READ and WRITE'],
  ioasid_map_reserved: ['EOPNOTSUPP', '__reserved is {__reserved}, not 0'],
  ioasid_map_access: ['EINVAL', 'flags {flags} permits nothing'],
  ioasid_map_wraps: ['EOVERFLOW', '{length} bytes from {iova} on are beyond 2^64'],
  ioasid_unmap: ['ENOENT', 'there is no ioasid {id} to unmap from'],
  ioasid_unmap_length: ['EINVAL', 'length is 0'],
  ioasid_unmap_wraps: ['EOVERFLOW', '{length} bytes from {iova} on are beyond 2^64'],
  ioasid_unmap_nothing: ['ENOENT', 'nothing is mapped from {iova} to {last}'],
  ioasid_invalidate: ['ENOENT', 'there is no ioasid {id} to invalidate'],
  ioasid_invalidate_reserved: ['EOPNOTSUPP', '__reserved is {__reserved}, not 0'],
  ioasid_info: ['ENOENT', 'there is no ioasid {id}'],

  // AUTHORIZE_IOASID, DEAUTHORIZE_IOASID
  ioasid_authorize_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  ioasid_authorize_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  ioasid_authorize_flags: ['EINVAL', 'flags {flags} has more than PASID'],
  ioasid_authorize_file: ['EINVAL', '{device} is not bound to a /dev/ioasid'],
  ioasid_authorize_ioasid: ['ENOENT', 'there is no ioasid {id} in the file that {device} is bound to'],
  ioasid_authorize_pasid: ['EINVAL', 'PASID {pasid} is 0 or not below the limit {limit} of {device}'],
  ioasid_authorize_needless_pasid: ['EINVAL', 'pasid is {pasid}, and flags says that there is none'],
  ioasid_authorize_busy: ['EBUSY', '{device} has an ioasid already, for PASID {pasid}'],
  ioasid_deauthorize_other: ['EINVAL', '{device} does not have ioasid {ioasid}, for PASID {pasid}'],
});
