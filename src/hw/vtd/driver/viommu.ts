/**
 * A vIOMMU on VT-d, which Linux 7.2 has no type for: devices get the numbers that the guest knows them by, and faults of
 * the guest's tables reach it under these. PASIDs and page tables stay as they are without one.
 */
import type { NestedDomain, UserData, Viommu, ViommuCore } from '../../unit.js';
import type { SecondStage } from './second-stage.js';
import type { VtdUnit } from './unit.js';

export class VtdViommu implements Viommu {
  constructor(
    readonly unit: VtdUnit,
    readonly core: ViommuCore,
    readonly parent: SecondStage,
  ) {}

  allocNested(flags: number, data: UserData): NestedDomain {
    return this.unit.makeNested(this.parent, this.core, flags, data);
  }

  destroy(): void {}
}
