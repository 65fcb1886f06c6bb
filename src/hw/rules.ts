/** Why the shared IOMMU core (groups, page requests) refuses. */
import { catalogue } from '../base/errno.js';

export const rules = catalogue({
  group_busy: ['EBUSY', 'group of {device} already has a domain attached to its requester id'],
  group_foreign_domain: ['EINVAL', 'the domain belongs to {domain}, the device {device} is behind {unit}'],
  group_other_owner: ['EPERM', 'DMA of the group of {device} is owned by somebody else'],
  pasid_foreign_domain: [
    'EINVAL',
    'the domain belongs to {domain}, PASID {pasid} of {device} is behind {unit}',
  ],
  pasid_too_large: ['EINVAL', 'PASID {pasid} is not below the limit {maxPasids} of {device}'],
  pasid_busy: ['EBUSY', 'PASID {pasid} of {device} already has a domain'],
  pasid_not_attached: ['EINVAL', 'PASID {pasid} of {device} has no domain to replace'],
  iopf_device_busy: ['EBUSY', '{device} already reports page requests'],
});
