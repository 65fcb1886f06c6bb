/** Why a page table that belongs to somebody else is refused. */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  owned_target: ['EINVAL', 'pt_id is {pt_id}, and a table of this type stands on none'],
  owned_flags: ['EOPNOTSUPP', 'flags {flags} has more than FAULT_ID_VALID and PASID'],
  owned_fault: ['EOPNOTSUPP', 'what is missing in the address space of a process is asked of the process'],
  owned_reserved: ['EOPNOTSUPP', '__reserved is {__reserved}, not 0'],
  owned_unit: ['EOPNOTSUPP', '{unit} takes no tables but those that ioasis fills'],
  owned_user_unit: ['EOPNOTSUPP', '{unit} takes no tables at addresses of a process'],
  owned_kvm_fd: ['EBADF', 'descriptor {kvm_fd} is not open'],
  owned_kvm_file: ['EINVAL', 'descriptor {kvm_fd} is no virtual machine'],
  owned_kvm_kind: ['EINVAL', 'descriptor {kvm_fd} is {file}, no virtual machine'],
  owned_kvm_process: ['EIO', 'the virtual machine of descriptor {kvm_fd} belongs to another process'],
  owned_process: ['EBADF', 'descriptor {pidfd} names no process that is known here'],
  owned_process_forbidden: [
    'EPERM',
    'the caller may not have the memory of the process of descriptor {pidfd}',
  ],
  owned_spaces: ['ENOMEM', 'no place for {name} beside a million address spaces that have owners'],
});
