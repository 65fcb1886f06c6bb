/** Why a container refuses to bind a guest's page table. */
import { catalogue } from '../../base/errno.js';

export const rules = catalogue({
  nesting_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  nesting_size: ['EINVAL', 'argsz {argsz} is below {least}'],

  nesting_groups: ['EINVAL', 'a nesting container has a group already, and takes one'],

  // VFIO_IOMMU_PASID_REQUEST
  pasid_flags: ['EINVAL', 'flags {flags} is neither ALLOC nor FREE'],
  pasid_range: ['EINVAL', '{min} to {max} is no range of PASIDs'],
  pasid_none: ['ENOSPC', 'no PASID from {min} to {max} is free that every device of the container has'],
  pasid_quota: ['ENOSPC', 'the container has {count} PASIDs, the most that it may have'],
  pasid_bound: ['EBUSY', 'PASID {pasid} is bound to a page table'],

  // VFIO_IOMMU_BIND
  bind_flags: ['EINVAL', 'flags {flags} is neither BIND_GUEST_PGTBL nor UNBIND_GUEST_PGTBL'],
  bind_version: ['EINVAL', 'version {version} of the payload is not 1'],
  bind_payload: [
    'EINVAL',
    'the payload of {length} bytes is shorter than {least}, as version and format say',
  ],
  bind_format: ['EINVAL', 'format {format} is not IOMMU_PASID_FORMAT_INTEL_VTD'],
  bind_payload_flags: ['EINVAL', 'flags {flags} of the payload has more than IOMMU_SVA_GPASID_VAL'],
  bind_padding: ['EINVAL', 'the padding of the payload is not 0'],
  bind_vtd_flags: ['EINVAL', 'vendor flags {flags} has more than SRE, EAFE and WPE'],
  bind_pasid: ['EINVAL', 'PASID {pasid} was not allocated by this container'],
  bind_twice: ['EBUSY', 'PASID {pasid} is bound already'],
  bind_guest_pasid: ['EINVAL', 'guest PASID {gpasid} is not {hpasid}: on this hardware they are the same'],
  bind_unit: ['EOPNOTSUPP', '{unit} cannot nest'],
  unbind_pasid: ['EINVAL', 'PASID {pasid} is bound to nothing'],

  // VFIO_IOMMU_CACHE_INVALIDATE
  cache_flags: ['EINVAL', 'flags is {flags}, and there are none'],
  cache_version: ['EINVAL', 'version {version} of the payload is not 1'],
  cache_payload: ['EINVAL', 'the payload of {length} bytes is shorter than {least}'],
  cache_types: ['EINVAL', 'cache {cache} names no cache, or one that there is not'],
  cache_granularity: ['EINVAL', 'granularity {granularity} is not DOMAIN, PASID or ADDR'],
  cache_padding: ['EINVAL', 'the padding of the payload is not 0'],
  cache_pair: ['EINVAL', 'granularity {granularity} is not for cache {cache}'],
  cache_granu_flags: ['EINVAL', 'flags {flags} of the granule has more than is defined'],
  cache_archid: ['EINVAL', 'there are no architectural ids here'],
  cache_pasid: ['EINVAL', 'PASID {pasid} is bound to nothing'],
  cache_granule: ['EINVAL', '{count} granules of {size} bytes at {addr} are no range of pages'],
});
