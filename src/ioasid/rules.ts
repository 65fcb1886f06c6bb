/** Why /dev/ioasid refuses, and the calls of a device file that belong to it. */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  ioasid_ioctl: ['ENOTTY', '/dev/ioasid has no ioctl {cmd}'],
  operation_kind: ['EOPNOTSUPP', '{operation} is not for ioasid {ioasid}, whose table is of kind {kind}'],

  // Allocation
  alloc_flags: ['EOPNOTSUPP', 'flags {flags} has more than this call knows'],
  alloc_reserved: ['EOPNOTSUPP', '__reserved is {__reserved}, not 0'],
  alloc_no_device: ['ENODEV', 'no device is bound to this file: whose format should it be?'],
  kvm_alloc_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  kvm_alloc_size: ['EINVAL', 'size {size} is below {least}'],
  kvm_alloc_fd: ['EBADF', 'descriptor {fd} is not open'],
  kvm_alloc_file: ['EINVAL', 'descriptor {fd} is no /dev/ioasid'],
  alloc_data: ['EINVAL', 'a page table of a program needs data that says where it is'],
  alloc_parent: ['ENOENT', 'there is no ioasid {id}'],
  alloc_fault: ['ENOENT', 'there is no fault file {id}'],
  fault_flags: ['EOPNOTSUPP', 'flags {flags} has more than FAULT_RING'],
  fault_eventfd: ['EBADF', 'descriptor {fd} is not open'],
  fault_eventfd_kind: ['EINVAL', 'descriptor {fd} is no eventfd'],
  fault_memory: ['ENOMEM', 'no memory for a ring'],
  ring_read: ['EINVAL', 'faults are in the ring that is mapped from this file'],
  ring_write: ['EINVAL', 'responses go into the ring that is mapped from this file'],
  ring_private: ['EINVAL', 'a private mapping: only MAP_SHARED is possible'],
  ring_range: ['EINVAL', '{length} bytes at {offset} are not all {size} from 0 on'],

  // Use
  destroy: ['ENOENT', 'there is no ioasid and no fault file {id}'],
  destroy_busy: ['EBUSY', '{type} {id} is in use: {users} users'],
  map: ['ENOENT', 'there is no ioasid {id} to map into'],
  map_flags: ['EOPNOTSUPP', 'flags {flags} has more than READ and WRITE'],
  map_reserved: ['EOPNOTSUPP', '__reserved is {__reserved}, not 0'],
  map_access: ['EINVAL', 'flags {flags} permits nothing'],
  map_wraps: ['EOVERFLOW', '{length} bytes from {iova} on are beyond 2^64'],
  unmap: ['ENOENT', 'there is no ioasid {id} to unmap from'],
  unmap_length: ['EINVAL', 'length is 0'],
  unmap_wraps: ['EOVERFLOW', '{length} bytes from {iova} on are beyond 2^64'],
  unmap_nothing: ['ENOENT', 'nothing is mapped from {iova} to {last}'],
  invalidate: ['ENOENT', 'there is no ioasid {id} to invalidate'],
  invalidate_reserved: ['EOPNOTSUPP', '__reserved is {__reserved}, not 0'],
  info: ['ENOENT', 'there is no ioasid {id}'],

  // AUTHORIZE_IOASID, DEAUTHORIZE_IOASID
  authorize_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  authorize_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  authorize_flags: ['EINVAL', 'flags {flags} has more than PASID'],
  authorize_file: ['EINVAL', '{device} is not bound to a /dev/ioasid'],
  authorize_ioasid: ['ENOENT', 'there is no ioasid {id} in the file that {device} is bound to'],
  authorize_pasid: ['EINVAL', 'PASID {pasid} is 0 or not below the limit {limit} of {device}'],
  authorize_needless_pasid: ['EINVAL', 'pasid is {pasid}, and flags says that there is none'],
  authorize_busy: ['EBUSY', '{device} has an ioasid already, for PASID {pasid}'],
  deauthorize_other: ['EINVAL', '{device} does not have ioasid {ioasid}, for PASID {pasid}'],
});
