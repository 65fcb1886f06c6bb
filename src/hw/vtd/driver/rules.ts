/** Why the driver of Intel VT-d refuses: the checks of Linux' drivers/iommu/intel, in its order, and ioasis' own. */
import { catalogue } from '../../../base/errno.js';

export const rules = catalogue({
  vtd_no_width: ['EINVAL', '{unit} has no address width for its stages: SAGAW {sagaw}'],
  vtd_hw_info_type: ['EOPNOTSUPP', '{unit} has no hardware information of type {type}'],

  // Kernel-managed tables
  vtd_paging_data: ['EOPNOTSUPP', 'a page table of VT-d takes no data, and there is some of type {type}'],
  vtd_paging_flags: ['EOPNOTSUPP', 'VT-d makes no page table with flags {flags}'],
  vtd_paging_no_nesting: ['EOPNOTSUPP', '{unit} cannot nest (ECAP.NEST), so it has no nesting parents'],
  vtd_paging_no_dirty: ['EOPNOTSUPP', '{unit} cannot track dirty pages (ECAP.SSADS and SMPWCS)'],
  vtd_paging_no_second_stage: ['EOPNOTSUPP', '{unit} has no second stage (ECAP.SSTS)'],
  vtd_paging_width: ['EOPNOTSUPP', '{unit} has no second stage of MGAW {mgaw} and SAGAW {sagaw}'],
  vtd_provided_no_first_stage: ['EOPNOTSUPP', '{unit} has no first stage (ECAP.FSTS) for {name}'],

  // Tables at addresses of a process
  vtd_user_table_no_nesting: ['EOPNOTSUPP', '{unit} has no second stage below a first (ECAP.NEST)'],
  vtd_user_table_format: ['EOPNOTSUPP', 'format {format} is not IOMMU_HWPT_DATA_VTD_S1'],
  vtd_user_table_width: ['EINVAL', '{unit} has no second stage of a width that it says it has'],
  vtd_user_stage_nesting: ['EINVAL', '{unit} has no second stage below a first (ECAP.NEST)'],
  vtd_user_stage_coherency: [
    'EINVAL',
    '{unit} walks without snooping (ECAP.SMPWCS), and the entry asks for it',
  ],
  vtd_user_stage_levels: ['EINVAL', '{unit} has no second stage of {levels} levels (CAP.SAGAW)'],

  // Nested tables
  vtd_nested_no_nesting: ['EOPNOTSUPP', '{unit} cannot nest (ECAP.NEST)'],
  vtd_nested_flags: ['EOPNOTSUPP', 'a nested page table of VT-d takes no flags {flags}'],
  vtd_nested_data_type: ['EOPNOTSUPP', 'data type {type} is not IOMMU_HWPT_DATA_VTD_S1'],
  vtd_nested_parent: ['EINVAL', 'the parent is no second stage that was made to be one'],
  vtd_nested_no_five_levels: ['EINVAL', '{unit} has no first stage of 57 bits (CAP.FS5LP)'],
  vtd_nested_width: ['EINVAL', 'addr_width {addr_width} is neither 48 nor 57'],
  vtd_nested_supervisor: [
    'EINVAL',
    '{unit} knows no supervisor requests (ECAP.SRS), and flags {flags} have SRE',
  ],
  vtd_nested_accessed: [
    'EINVAL',
    '{unit} has no extended accessed flag (ECAP.EAFS), and flags {flags} have EAFE',
  ],

  // Invalidation
  vtd_invalidate_type: ['EINVAL', 'invalidation type {type} is not IOMMU_HWPT_INVALIDATE_DATA_VTD_S1'],
  vtd_invalidate_flags: ['EOPNOTSUPP', 'entry {index}: flags {flags} are not IOMMU_VTD_INV_FLAGS_LEAF'],
  vtd_invalidate_reserved: ['EOPNOTSUPP', 'entry {index}: __reserved is {__reserved}'],
  vtd_invalidate_alignment: ['EINVAL', 'entry {index}: addr {addr} is no multiple of 4096'],
  vtd_invalidate_everything: ['EINVAL', 'entry {index}: npages says everything, and addr {addr} is not 0'],
  ioasis_invalidate_type: ['EOPNOTSUPP', 'ioasis has no invalidation of type {type}'],
  ioasis_invalidate_flags: [
    'EOPNOTSUPP',
    'entry {index}: flags {flags} are not IOASIS_INVALIDATE_RANGE_LEAF',
  ],
  ioasis_invalidate_reserved: ['EOPNOTSUPP', 'entry {index}: __reserved is {__reserved}'],
  ioasis_invalidate_order: ['EINVAL', 'entry {index}: last {last} is below start {start}'],

  // Attachment
  vtd_first_stage_missing: ['EINVAL', '{unit} has no first stage (ECAP.FSTS)'],
  vtd_first_stage_coherency: [
    'EINVAL',
    '{unit} walks without snooping (ECAP.SMPWCS), and the table counts on it',
  ],
  vtd_first_stage_levels: [
    'EINVAL',
    '{unit} has no first stage of 57 bits (CAP.FS5LP), and the table is one',
  ],
  vtd_first_stage_pages: [
    'EINVAL',
    '{unit} has no first-stage pages of 1 GiB (CAP.FS1GP), and the table may',
  ],
  vtd_second_stage_dirty: ['EINVAL', '{unit} cannot track dirty pages, and the table does'],
  vtd_second_stage_nesting: ['EINVAL', '{unit} cannot nest, and the table is a nesting parent'],
  vtd_second_stage_missing: ['EINVAL', '{unit} has no second stage (ECAP.SSTS)'],
  vtd_second_stage_coherency: [
    'EINVAL',
    '{unit} walks without snooping (ECAP.SMPWCS), and the table counts on it',
  ],
  vtd_second_stage_width: ['EINVAL', '{unit} has {mgaw} bits (CAP.MGAW), and the table {width}'],
  vtd_second_stage_levels: ['EINVAL', '{unit} starts no walk of {levels} levels (CAP.SAGAW)'],
  vtd_second_stage_2m: ['EINVAL', '{unit} has no second-stage pages of 2 MiB (CAP.SSLPS), and the table may'],
  vtd_second_stage_1g: ['EINVAL', '{unit} has no second-stage pages of 1 GiB (CAP.SSLPS), and the table may'],
  vtd_second_stage_sync: [
    'EINVAL',
    '{unit} caches what is not there (CAP.CM), and the table does not invalidate it',
  ],
  vtd_second_stage_snoop: ['EINVAL', '{unit} cannot force snooping (ECAP.SC), and the table does'],
  vtd_provided_missing: ['EINVAL', '{unit} has no first stage (ECAP.FSTS) for {name}'],
  vtd_provided_busy: ['EBUSY', 'somebody else is told when {name} changes'],
  vtd_no_pasid: ['EOPNOTSUPP', '{unit} knows no PASIDs (ECAP.PASID)'],
  vtd_no_domain_id: ['ENOSPC', '{unit} has no domain id left of {count}'],
  vtd_no_page_requests: ['ENODEV', '{device} makes no page requests, and the page table waits for them'],
  vtd_pasid_table_memory: ['ENODEV', 'no memory for the table of PASID {pasid} of {device}'],

  // ioasis' own vIOMMU
  vtd_viommu_data: ['EOPNOTSUPP', 'a vIOMMU of VT-d takes no data, and there is some of {length} bytes'],
  vtd_viommu_parent: ['EINVAL', 'the parent is no second stage that was made to be one'],
});
