/** What the numbers in calls about page tables are called, of /dev/iommu and of /dev/ioasid alike. */
import { named, type Names, type Pointer } from './ioctl-rows.js';
import * as ioasis from './uapi/ioasis.js';
import * as iommufd from './uapi/iommufd.gen.js';
import * as test from './uapi/iommufd_test.gen.js';

const testConstants: Names = test.declared.constants;

/** ioasis' own begin with this; they keep their whole name, so that nobody takes them for Linux'. */
export function ownNamed(prefix: string): Names {
  return Object.fromEntries(
    Object.entries(ioasis.declared.constants).filter(([name]) => name.startsWith(prefix)),
  );
}

export const hwptDataTypes = {
  ...named(iommufd.iommu_hwpt_data_type, 'IOMMU_HWPT_DATA_'),
  ...named(testConstants, 'IOMMU_HWPT_DATA_'),
  ...ownNamed('IOASIS_HWPT_DATA_'),
};

export const invalidateTypes = {
  ...named(iommufd.iommu_hwpt_invalidate_data_type, 'IOMMU_HWPT_INVALIDATE_DATA_'),
  ...named(iommufd.iommu_hwpt_invalidate_data_type, 'IOMMU_VIOMMU_INVALIDATE_DATA_'),
  ...named(testConstants, 'IOMMU_HWPT_INVALIDATE_DATA_'),
  ...ownNamed('IOASIS_HWPT_INVALIDATE_DATA_'),
};
export const invalidateEntries: Pointer = {
  length: 'entry_num',
  unit: 'elements',
  // SELFTEST is not here: a hwpt and a vIOMMU take different structs under that one number.
  element: {
    by: 'data_type',
    of: {
      [iommufd.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1]: iommufd.iommu_hwpt_vtd_s1_invalidate,
      [iommufd.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3]: iommufd.iommu_viommu_arm_smmuv3_invalidate,
      [ioasis.IOASIS_HWPT_INVALIDATE_DATA_RANGE]: ioasis.ioasis_hwpt_invalidate_range,
    },
  },
};
