/**
 * Why a VFIO device file refuses, whatever the driver of the device. The order within a call is Linux'
 * (drivers/vfio/device_cdev.c, vfio_main.c).
 */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  vfio_not_bound: ['EINVAL', '{device} is not bound to an iommufd through this file: ioctl {cmd}'],
  vfio_device_ioctl: ['ENOTTY', 'the driver of {device} has no ioctl {cmd}'],
  vfio_read_not_bound: ['EINVAL', '{device} is not bound to an iommufd through this file'],
  vfio_write_not_bound: ['EINVAL', '{device} is not bound to an iommufd through this file'],
  vfio_mmap_not_bound: ['EINVAL', '{device} is not bound to an iommufd through this file'],

  // VFIO_DEVICE_BIND_IOMMUFD
  bind_size_unreadable: ['EFAULT', 'argsz at {at} cannot be read'],
  bind_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  bind_flags: ['EINVAL', 'flags {flags} has more than VFIO_DEVICE_BIND_FLAG_TOKEN'],
  bind_fd_negative: ['EINVAL', 'iommufd {iommufd} is below 0'],
  bind_group_file: ['EINVAL', '{device} is open through its group, which has bound it if anybody has'],
  bind_twice: ['EINVAL', '{device} is bound already, through this file'],
  bind_token: ['EINVAL', 'the driver of {device} knows no tokens'],
  bind_token_unreadable: ['EFAULT', 'the {length} bytes of the token at {at} cannot be read'],
  bind_fd: ['EBADF', 'descriptor {fd} is not open'],
  bind_fd_kind: ['EBADFD', 'descriptor {fd} is no /dev/iommu'],
  bind_device_open: ['EINVAL', '{device} is bound already, through another file'],
  bind_unwritable: ['EFAULT', 'out_devid at {at} cannot be written'],

  // VFIO_DEVICE_ATTACH_IOMMUFD_PT, VFIO_DEVICE_DETACH_IOMMUFD_PT
  attach_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  attach_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  attach_flags: ['EINVAL', 'flags {flags} has more than VFIO_DEVICE_ATTACH_PASID'],
  attach_no_pasid: ['EOPNOTSUPP', 'the driver of {device} attaches no PASIDs'],
  attach_pasid_size: ['EINVAL', 'argsz {argsz} is below {least}, which a PASID needs'],
  attach_pasid_unreadable: ['EFAULT', 'the {length} bytes of the PASID at {at} cannot be read'],
  attach_pasid_range: ['ENOSPC', 'PASID {pasid} is above 2^31 - 1'],
  attach_unwritable: ['EFAULT', 'pt_id at {at} cannot be written: the device is detached'],
  detach_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  detach_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  detach_flags: ['EINVAL', 'flags {flags} has more than VFIO_DEVICE_DETACH_PASID'],
  detach_no_pasid: ['EOPNOTSUPP', 'the driver of {device} detaches no PASIDs'],
  detach_pasid_size: ['EINVAL', 'argsz {argsz} is below {least}, which a PASID needs'],
  detach_pasid_unreadable: ['EFAULT', 'the {length} bytes of the PASID at {at} cannot be read'],

  // IOASIS_DMA
  dma_size_unreadable: ['EFAULT', 'the size field at {at} cannot be read'],
  dma_size: ['EINVAL', 'size {size} is below {least}'],
  dma_flags: ['EOPNOTSUPP', 'flags {flags} has more than PASID, PRIV, EXEC, ATS and PRI'],
  dma_op: ['EOPNOTSUPP', 'there is no operation {op}'],
  dma_reserved: ['EOPNOTSUPP', '__reserved is {__reserved}, not 0'],
  dma_ats: ['EOPNOTSUPP', '{device} has no translation cache'],
  dma_pri: ['EOPNOTSUPP', '{device} cannot ask for pages'],
  dma_pri_without_ats: ['EINVAL', 'PRI without ATS: a device asks for what its own cache has missed'],
  dma_exec: ['EINVAL', 'EXEC is for reads, and operation {op} is none'],
  dma_pasid_flag: ['EINVAL', 'pasid {pasid} without the flag PASID'],
  dma_pasid: ['EINVAL', 'PASID {pasid} is not below the limit {maxPasids} of {device}'],
  dma_length: ['EINVAL', 'length {length} is 0 or above {most}'],
  dma_wraps: ['EOVERFLOW', '{length} bytes from {iova} on are beyond 2^64'],
  dma_target_wraps: ['EOVERFLOW', '{length} bytes from iova2 {iova} on are beyond 2^64'],
  dma_width: ['EINVAL', 'an atomic operation of {length} bytes at {iova}: 4 or 8, aligned'],
  dma_segment_count: ['EINVAL', '{segments} segments are none or more than {most}'],
  dma_segments_unreadable: ['EFAULT', 'the {length} bytes of segments at {at} cannot be read'],
  dma_segment: ['EINVAL', 'segment {index} has length 0, or {length} bytes from {iova} on are beyond 2^64'],
  dma_segment_sum: ['EINVAL', 'the segments have {sum} bytes together, and length is {length}'],
  dma_data_unreadable: ['EFAULT', 'the {length} bytes of data at {at} cannot be read'],
  dma_data_unwritable: ['EFAULT', 'the {length} bytes that were read cannot be written at {at}'],
  dma_busy: ['EBUSY', 'there are {jobs} operations that are not over or not read'],
  dma_answer_unwritable: ['EFAULT', 'the answer of {length} bytes cannot be written at {at}'],
  dma_read_count: ['EINVAL', 'count {count} is below {record}, the size of a completion record'],
  dma_read_unwritable: ['EFAULT', 'a completion record cannot be written at {at}'],
  dma_read_data_unwritable: ['EFAULT', 'the {length} bytes that job {job} read cannot be written at {at}'],
});
