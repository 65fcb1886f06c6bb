/**
 * An address space whose owner answers: the first-stage pointer of the PASID entry leads to the owner's place in HPA
 * (src/mem/providers.ts). What Linux does for a process (drivers/iommu/intel/svm.c), for any owner, and with or without
 * PASID. OURS: such a domain has an id of its own; Linux gives all of them one, because its PASIDs are the same for
 * every device.
 */
import { refuse } from '../../../base/errno.js';
import type { Providers, AddressSpaceProvider } from '../../../mem/providers.js';
import type { PageFaultGroup } from '../../iopf.js';
import type { ProvidedDomain } from '../../unit.js';
import type { VtdDevice } from './device.js';
import { firstStageEntry, type FirstStageRoot } from './entry.js';
import { flushFirstStage } from './flush.js';
import type { PasidEntry } from './pasid-table.js';
import { Places } from './places.js';
import type { VtdUnit } from './unit.js';
import { rules } from './rules.js';

export class VtdProvided implements ProvidedDomain {
  readonly kind = 'provided';
  readonly places = new Places();
  iopfHandler: ((group: PageFaultGroup) => void) | null = null;
  readonly #frame: number;

  constructor(
    readonly unit: VtdUnit,
    readonly provider: AddressSpaceProvider,
    readonly providers: Providers,
  ) {
    this.#frame = providers.add(provider);
  }

  checkCompatible({ unit }: VtdDevice): void {
    const { name, onInvalidate } = this.provider;
    if (!unit.capabilities.firstStage) refuse(rules.vtd_provided_missing, { unit: unit.name, name });
    if (onInvalidate !== null && onInvalidate !== this.#flush) refuse(rules.vtd_provided_busy, { name });
  }

  checkEntry(): void {}

  entryFor({ unit }: VtdDevice): PasidEntry {
    const { capabilities } = unit;
    const root: FirstStageRoot = {
      rootHi: this.#frame >>> 20,
      rootLo: this.#frame << 12,
      levels: capabilities.hasFiveLevelFirstStage ? 5 : 4,
      flags: 0,
    };
    const { did } = this.places.of(unit)!;
    const { agaw, coherentWalk } = capabilities;
    return firstStageEntry(root, agaw, { did, coherentWalk, forceSnoop: false });
  }

  /** The owner is told whom to tell while the space is attached anywhere. */
  placesChanged(): void {
    this.provider.onInvalidate = this.places.byUnit.length === 0 ? null : this.#flush;
  }

  readonly #flush = (start: bigint, last: bigint): void => flushFirstStage(this.places, start, last, false);

  free(): void {
    this.providers.remove(this.#frame);
  }
}
