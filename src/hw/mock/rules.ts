/** Why the selftest's mock IOMMU refuses. */
import { catalogue } from '../../base/errno.js';

export const rules = catalogue({
  mock_hw_info_type: ['EOPNOTSUPP', 'the mock IOMMU has no hardware information of type {type}'],
  mock_paging_flags: ['EOPNOTSUPP', 'the mock IOMMU makes no page table with flags {flags}'],
  mock_paging_no_dirty: ['EOPNOTSUPP', '{device} cannot track dirty pages, and flags {flags} ask for it'],
  mock_paging_data_type: ['EOPNOTSUPP', 'data type {type} is not IOMMU_HWPT_DATA_SELFTEST'],
  mock_pagetable_type: ['EOPNOTSUPP', 'the mock IOMMU has no page table of type {pagetable_type}'],
  mock_nested_flags: ['EOPNOTSUPP', 'a nested table of the mock IOMMU takes no flags {flags}'],
  mock_nested_data_type: ['EOPNOTSUPP', 'nested data type {type} is not IOMMU_HWPT_DATA_SELFTEST'],
  mock_viommu_nested_flags: ['EOPNOTSUPP', 'a nested table of a mock vIOMMU takes no flags {flags}'],
  mock_attach_dirty: ['EINVAL', '{device} cannot track dirty pages, and the page table does'],
  mock_attach_no_vdevice: ['ENOENT', '{device} has no vDEVICE in the vIOMMU of the nested page table'],
  mock_pasid_1024: ['ENOMEM', 'the second attachment in a row to PASID 1024 is made to fail'],
  mock_invalidate_type: ['EINVAL', 'invalidation type {type} is not IOMMU_HWPT_INVALIDATE_DATA_SELFTEST'],
  mock_invalidate_flags: ['EOPNOTSUPP', 'entry {index}: invalidation flags {flags}'],
  mock_invalidate_id: ['EINVAL', 'entry {index}: iotlb_id {iotlb_id} is above 3'],
  mock_viommu_invalidate_memory: ['ENOMEM', '{entries} entries take {bytes} bytes at once'],
  mock_viommu_invalidate_flags: ['EOPNOTSUPP', 'entry {index}: vIOMMU invalidation flags {flags}'],
  mock_viommu_invalidate_id: ['EINVAL', 'entry {index}: cache_id {cache_id} is above 3'],
  mock_viommu_invalidate_device: ['EINVAL', 'entry {index}: no vDEVICE has the virtual id {vdev_id}'],
  mock_hw_queue_index: ['EINVAL', 'hardware queue index {index} is not below 2'],
  mock_hw_queue_exists: ['EEXIST', 'hardware queue {index} exists'],
  mock_hw_queue_order: ['EIO', 'hardware queue {index} needs the one before it'],
  mock_hw_queue_hpa: ['EFAULT', 'the queue lies at {hpa}, and the nesting parent says {expected}'],
});
