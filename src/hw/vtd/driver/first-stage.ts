/** Kernel-managed first stages: x86 page tables (Linux: intel_iommu_domain_alloc_first_stage). What VT-d uses by default. */
import { refuse } from '../../../base/errno.js';
import type { PhysicalMemory } from '../../../mem/physical.js';
import { x86 } from '../../../pt/formats/x86.js';
import type { MapStatus } from '../../../pt/map.js';
import { PageTable } from '../../../pt/page-table.js';
import { IOMMU_NO_PASID } from '../../group.js';
import type { PageFaultGroup } from '../../iopf.js';
import type { PagingDomain } from '../../unit.js';
import type { VtdDevice } from './device.js';
import { firstStageEntry, forceEntrySnoop, type FirstStageRoot } from './entry.js';
import { flushFirstStage } from './flush.js';
import type { PasidEntry } from './pasid-table.js';
import { Places } from './places.js';
import type { VtdUnit } from './unit.js';
import { rules } from './rules.js';

export const SZ_2M = 1n << 21n;
export const SZ_1G = 1n << 30n;
/** What the tables of every unit can say. */
export const OUTPUT_LG2 = 52;

const domainOps = { name: 'intel_fs_paging_domain_ops' };

export class FirstStage implements PagingDomain {
  readonly kind = 'paging';
  readonly ops = domainOps;
  readonly dirtyOps = null;
  readonly places = new Places();
  readonly table: PageTable;
  readonly pgsizeBitmap: bigint;
  readonly apertureStart = 0n;
  readonly apertureLast: bigint;
  iopfHandler: ((group: PageFaultGroup) => void) | null = null;
  readonly #levels: 4 | 5;
  readonly #coherentWalk: boolean;
  #forceSnoop = false;

  constructor(
    readonly unit: VtdUnit,
    memory: PhysicalMemory,
  ) {
    const { capabilities } = unit;
    const { topLevel, maxVaLg2 } = capabilities.firstStageShape();
    const shape = { startingLevel: topLevel, maxVaLg2, maxOaLg2: OUTPUT_LG2 };
    const pgsizeBitmap = 4096n | SZ_2M | (capabilities.hasGibFirstStage ? SZ_1G : 0n);
    this.table = new PageTable(memory, x86, { ...shape, pgsizeBitmap });
    this.pgsizeBitmap = pgsizeBitmap;
    this.apertureLast = this.table.apertureLast;
    this.#levels = topLevel === 4 ? 5 : 4;
    this.#coherentWalk = capabilities.coherentWalk;
  }

  /** paging_domain_compatible_first_stage. */
  checkCompatible({ unit }: VtdDevice): void {
    const { capabilities, name } = unit;
    if (!capabilities.firstStage) refuse(rules.vtd_first_stage_missing, { unit: name });
    if (!capabilities.coherentWalk && this.#coherentWalk)
      refuse(rules.vtd_first_stage_coherency, { unit: name });
    if (!capabilities.hasFiveLevelFirstStage && this.#levels === 5)
      refuse(rules.vtd_first_stage_levels, { unit: name });
    if (!capabilities.hasGibFirstStage && (this.pgsizeBitmap & SZ_1G) !== 0n)
      refuse(rules.vtd_first_stage_pages, { unit: name });
  }

  checkEntry(): void {}

  entryFor({ unit }: VtdDevice): PasidEntry {
    const root: FirstStageRoot = {
      rootHi: this.table.rootHi,
      rootLo: this.table.rootLo,
      levels: this.#levels,
      flags: 0,
    };
    return firstStageEntry(root, unit.capabilities.agaw, {
      did: this.places.of(unit)!.did,
      coherentWalk: this.#coherentWalk,
      forceSnoop: this.#forceSnoop,
    });
  }

  /** Linux changes the entries of requester ids only; a PASID's is right when it is made next. */
  readonly enforceCacheCoherency = (): boolean => {
    if (this.#forceSnoop) return true;
    if (!this.places.byUnit.every(({ unit }) => unit.capabilities.snoopControl)) return false;
    this.#forceSnoop = true;
    for (const { devices } of this.places.byUnit) {
      for (const { device } of devices) {
        if (device.ridDomain === this) forceEntrySnoop(device, IOMMU_NO_PASID);
      }
    }
    return true;
  };

  map(iova: bigint, hpa: bigint, length: bigint, prot: number): MapStatus {
    return this.table.map(iova, hpa, length, prot);
  }

  unmap(iova: bigint, length: bigint): void {
    const { tables } = this.table.stats;
    const done = this.table.unmap(iova, length);
    if (done === 0n) return;
    // Only leaves have changed when no table was freed.
    flushFirstStage(this.places, iova, iova + done - 1n, this.table.stats.tables === tables);
  }

  iovaToPhys(iova: bigint): bigint {
    const hpa = this.table.iovaToPhys(iova);
    return hpa < 0n ? 0n : hpa;
  }

  free(): void {
    this.table.destroy();
  }
}
