/** Why a container refuses to bind a guest's page table. */
import { catalogue } from '../../base/errno.js';

export const rules = catalogue({
  nesting_unreadable: ['EFAULT', 'the {length} bytes at {at} cannot be read'],
  nesting_size: ['EINVAL', 'argsz {argsz} is below {least}'],
  nesting_pasid_size: ['EINVAL', 'argsz {argsz} is below {least}'],

  nesting_groups: ['EINVAL', 'a nesting container has a group already, and takes one'],

  // VFIO_IOMMU_PASID_REQUEST
  nesting_pasid_flags: ['EINVAL', 'flags {flags} is neither ALLOC nor FREE'],
  nesting_pasid_range: ['EINVAL', '{min} to {max} is no range of PASIDs'],
  nesting_pasid_none: [
    'ENOSPC',
    'no PASID from {min} to {max} is free that every device of the container has',
  ],
  nesting_pasid_quota: ['ENOSPC', 'the container has {count} PASIDs, the most that it may have'],
  nesting_pasid_bound: ['EBUSY', 'PASID {pasid} is bound to a page table'],

  // VFIO_IOMMU_BIND
  nesting_bind_flags: ['EINVAL', 'flags {flags} is neither BIND_GUEST_PGTBL nor UNBIND_GUEST_PGTBL'],
  nesting_bind_version: ['EINVAL', 'version {version} of the payload is not 1'],
  nesting_bind_payload: [
    'EINVAL',
    'the payload of {length} bytes is shorter than {least}, as version and format say',
  ],
  nesting_bind_format: ['EINVAL', 'format {format} is not IOMMU_PASID_FORMAT_INTEL_VTD'],
  nesting_bind_payload_flags: ['EINVAL', 'flags {flags} of the payload has more than IOMMU_SVA_GPASID_VAL'],
  nesting_bind_padding: ['EINVAL', 'the padding of the payload is not 0'],
  nesting_bind_old_padding: ['EINVAL', 'the padding behind addr_width is not 0'],
  nesting_bind_vtd_flags: ['EINVAL', 'vendor flags {flags} has more than SRE, EAFE and WPE'],
  nesting_bind_pasid: ['EINVAL', 'PASID {pasid} was not allocated by this container'],
  nesting_bind_twice: ['EBUSY', 'PASID {pasid} is bound already'],
  nesting_bind_guest_pasid: [
    'EINVAL',
    'guest PASID {gpasid} is not {hpasid}: on this hardware they are the same',
  ],
  nesting_bind_unit: ['EOPNOTSUPP', '{unit} cannot nest'],
  nesting_unbind_pasid: ['EINVAL', 'PASID {pasid} is bound to nothing'],

  // VFIO_IOMMU_CACHE_INVALIDATE
  nesting_cache_flags: ['EINVAL', 'flags is {flags}, and there are none'],
  nesting_cache_version: ['EINVAL', 'version {version} of the payload is not 1'],
  nesting_cache_payload: ['EINVAL', 'the payload of {length} bytes is shorter than {least}'],
  nesting_cache_types: ['EINVAL', 'cache {cache} names no cache, or one that there is not'],
  nesting_cache_granularity: ['EINVAL', 'granularity {granularity} is not DOMAIN, PASID or ADDR'],
  nesting_cache_padding: ['EINVAL', 'the padding of the payload is not 0'],
  nesting_cache_pair: ['EINVAL', 'granularity {granularity} is not for cache {cache}'],
  nesting_cache_granu_flags: ['EINVAL', 'flags {flags} of the granule has more than is defined'],
  nesting_cache_archid: ['EINVAL', 'there are no architectural ids here'],
  nesting_cache_pasid: ['EINVAL', 'PASID {pasid} is bound to nothing'],
  nesting_cache_granule: ['EINVAL', '{count} granules of {size} bytes at {addr} are no range of pages'],
});
