/** Page tables of the mock IOMMU: AMD v1 with a 2 KiB granule, in memory and walked. */
import { IOMMU_HWPT_ALLOC_DIRTY_TRACKING } from '../../wire/uapi/iommufd.gen.js';
import {
  MOCK_APERTURE_LAST,
  MOCK_APERTURE_START,
  MOCK_HUGE_PAGE_SIZE,
  MOCK_IOMMUPT_DEFAULT,
  MOCK_IOMMUPT_HUGE,
} from '../../wire/uapi/iommufd_test.gen.js';
import { refuse } from '../../base/errno.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import { amdv1Mock } from '../../pt/formats/amdv1.js';
import type { MapStatus } from '../../pt/map.js';
import { PageTable } from '../../pt/page-table.js';
import type { PageFaultGroup } from '../iopf.js';
import type { DirtyOps, PagingDomain } from '../unit.js';
import type { MockUnit } from './unit.js';
import { rules } from './rules.js';

/** What the selftest data of the allocation says of the table. */
export interface TableShape {
  /** MOCK_IOMMUPT_*. */
  readonly pagetableType: number;
  /** IOMMU_HWPT_ALLOC_*. */
  readonly flags: number;
}

const domainOps = { name: 'mock_domain_ops' };

export class MockDomain implements PagingDomain {
  readonly kind = 'paging';
  readonly ops = domainOps;
  readonly pgsizeBitmap: bigint;
  readonly apertureStart: bigint;
  readonly apertureLast: bigint;
  readonly dirtyOps: DirtyOps | null;
  iopfHandler: ((group: PageFaultGroup) => void) | null = null;
  /** Dirty tracking is on. */
  tracking = false;
  readonly table: PageTable;

  constructor(
    readonly unit: MockUnit,
    memory: PhysicalMemory,
    { pagetableType, flags }: TableShape,
  ) {
    if (pagetableType !== MOCK_IOMMUPT_DEFAULT && pagetableType !== MOCK_IOMMUPT_HUGE) {
      refuse(rules.mock_pagetable_type, { pagetable_type: pagetableType });
    }
    const isHuge = pagetableType === MOCK_IOMMUPT_HUGE;
    // Huge mode keeps the CPU's page, or no IOAS would take the table.
    const sizes = isHuge ? { pgsizeBitmap: BigInt(MOCK_HUGE_PAGE_SIZE) | 4096n } : {};
    this.table = new PageTable(memory, amdv1Mock, { maxVaLg2: 56, maxOaLg2: 51, startingLevel: 2, ...sizes });
    this.pgsizeBitmap = this.table.pgsizeBitmap;
    this.apertureStart = isHuge ? this.table.apertureStart : BigInt(MOCK_APERTURE_START);
    this.apertureLast = isHuge ? this.table.apertureLast : BigInt(MOCK_APERTURE_LAST);
    this.dirtyOps = (flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING) !== 0 ? this.#makeDirtyOps() : null;
  }

  #makeDirtyOps(): DirtyOps {
    return {
      setTracking: (enable) => (this.tracking = enable),
      readAndClear: (iova, length, noClear, visit) =>
        this.table.readAndClearDirty(iova, length, noClear, visit),
    };
  }

  map(iova: bigint, hpa: bigint, length: bigint, prot: number): MapStatus {
    return this.table.map(iova, hpa, length, prot);
  }

  unmap(iova: bigint, length: bigint): void {
    this.table.unmap(iova, length);
  }

  iovaToPhys(iova: bigint): bigint {
    const hpa = this.table.iovaToPhys(iova);
    return hpa < 0n ? 0n : hpa;
  }

  free(): void {
    this.table.destroy();
  }
}
