/** Why a VFIO container refuses. The order within a call is Linux' (drivers/vfio/container.c). */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  container_ioctl: ['EINVAL', 'ioctl {cmd} is the IOMMU driver’s, and none is set'],
  container_set_empty: ['EINVAL', 'there is no group in the container'],
  container_set_twice: ['EINVAL', 'the container has its IOMMU already'],
  container_set_type: ['ENODEV', 'no IOMMU driver knows type {type}'],
  container_read: ['EINVAL', '/dev/vfio/vfio cannot be read'],
  container_write: ['EINVAL', '/dev/vfio/vfio cannot be written'],
  container_mmap: ['ENODEV', '/dev/vfio/vfio cannot be mapped'],
});
