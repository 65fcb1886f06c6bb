/** A nested page table of the mock IOMMU: no table at all, but four IOTLB words that invalidation clears. */
import { refuse } from '../../base/errno.js';
import {
  IOMMU_HWPT_DATA_SELFTEST,
  IOMMU_HWPT_INVALIDATE_DATA_SELFTEST,
  IOMMU_TEST_INVALIDATE_FLAG_ALL,
  MOCK_NESTED_DOMAIN_IOTLB_ID_MAX,
  iommu_hwpt_invalidate_selftest,
  iommu_hwpt_selftest,
} from '../../wire/uapi/iommufd_test.gen.js';
import type { PageFaultGroup } from '../iopf.js';
import type { NestedDomain, UserData, UserDataArray, ViommuCore } from '../unit.js';
import type { MockUnit } from './unit.js';
import { rules } from './rules.js';

export class MockNested implements NestedDomain {
  readonly kind = 'nested';
  readonly iotlb: Uint32Array;
  iopfHandler: ((group: PageFaultGroup) => void) | null = null;

  constructor(
    readonly unit: MockUnit,
    /** Null: nested directly on its parent. */
    readonly viommu: ViommuCore | null,
    data: UserData,
  ) {
    if (data.type !== IOMMU_HWPT_DATA_SELFTEST) refuse(rules.mock_nested_data_type, { type: data.type });
    const { iotlb } = data.read(iommu_hwpt_selftest, IOMMU_HWPT_DATA_SELFTEST, 'iotlb');
    this.iotlb = new Uint32Array(MOCK_NESTED_DOMAIN_IOTLB_ID_MAX + 1).fill(iotlb);
  }

  /** Entries before a bad one take effect and are counted. */
  invalidate(array: UserDataArray): void {
    const type = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
    if (array.type !== type) refuse(rules.mock_invalidate_type, { type: array.type });
    for (let index = 0; index < array.entryCount; index++) {
      const entry = array.readEntry(index, iommu_hwpt_invalidate_selftest, type, 'iotlb_id');
      const { flags, iotlb_id } = entry;
      if ((flags & ~IOMMU_TEST_INVALIDATE_FLAG_ALL) !== 0)
        refuse(rules.mock_invalidate_flags, { index, flags });
      if (iotlb_id > MOCK_NESTED_DOMAIN_IOTLB_ID_MAX) refuse(rules.mock_invalidate_id, { index, iotlb_id });
      if (flags !== 0) this.iotlb.fill(0);
      else this.iotlb[iotlb_id] = 0;
      array.done = index + 1;
    }
  }

  free(): void {}
}
