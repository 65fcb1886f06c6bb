/**
 * Kernel-managed second stages (Linux: intel_iommu_domain_alloc_second_stage): for nesting parents, for dirty tracking,
 * and for units that have nothing else.
 */
import { refuse } from '../../../base/errno.js';
import type { PhysicalMemory } from '../../../mem/physical.js';
import { COHERENT, WRITE } from '../../../pt/format.js';
import { vtdss } from '../../../pt/formats/vtdss.js';
import type { MapStatus } from '../../../pt/map.js';
import { PageTable } from '../../../pt/page-table.js';
import {
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
  IOMMU_HWPT_ALLOC_NEST_PARENT,
} from '../../../wire/uapi/iommufd.gen.js';
import type { PageFaultGroup } from '../../iopf.js';
import type { DirtyOps, PagingDomain } from '../../unit.js';
import type { TableShape } from './capabilities.js';
import type { VtdDevice } from './device.js';
import { secondStageEntry, setEntryTracking, type SecondStageRoot } from './entry.js';
import { OUTPUT_LG2, SZ_1G, SZ_2M } from './first-stage.js';
import { flushNotPresent, flushSecondStage } from './flush.js';
import type { VtdNested } from './nested.js';
import type { PasidEntry } from './pasid-table.js';
import { Places } from './places.js';
import type { VtdUnit } from './unit.js';
import { rules } from './rules.js';

/** SSLPS. */
const HAS_2M = 1 << 0;
const HAS_1G = 1 << 1;

const READ_ONLY_PARENT =
  'DMAR: Read-only mapping is disallowed on the domain which serves as the parent in a nested configuration, ' +
  'due to HW errata (ERRATA_772415_SPR17)';

const domainOps = { name: 'intel_ss_paging_domain_ops' };

export class SecondStage implements PagingDomain {
  readonly kind = 'paging';
  readonly ops = domainOps;
  readonly places = new Places();
  /** The first stages on this one. */
  readonly nested = new Set<VtdNested>();
  readonly isNestParent: boolean;
  readonly dirtyOps: DirtyOps | null;
  readonly table: PageTable;
  readonly pgsizeBitmap: bigint;
  readonly apertureStart = 0n;
  readonly apertureLast: bigint;
  readonly coherentWalk: boolean;
  iopfHandler: ((group: PageFaultGroup) => void) | null = null;
  forceSnoop = false;
  #tracksDirty = false;
  readonly #width: number;
  readonly #syncsMap: boolean;

  constructor(
    readonly unit: VtdUnit,
    memory: PhysicalMemory,
    shape: TableShape,
    flags: number,
  ) {
    const { capabilities } = unit;
    const pages = capabilities.secondStagePages;
    const pgsizeBitmap =
      4096n | ((pages & HAS_2M) === 0 ? 0n : SZ_2M) | ((pages & HAS_1G) === 0 ? 0n : SZ_1G);
    this.isNestParent = (flags & IOMMU_HWPT_ALLOC_NEST_PARENT) !== 0;
    this.dirtyOps = (flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING) === 0 ? null : this.#makeDirtyOps();
    const { topLevel: startingLevel, maxVaLg2 } = shape;
    this.table = new PageTable(memory, vtdss, {
      startingLevel,
      maxVaLg2,
      maxOaLg2: OUTPUT_LG2,
      pgsizeBitmap,
    });
    this.pgsizeBitmap = pgsizeBitmap;
    this.apertureLast = this.table.apertureLast;
    this.coherentWalk = capabilities.coherentWalk;
    this.#width = maxVaLg2;
    this.#syncsMap = capabilities.cachingMode;
  }

  get root(): SecondStageRoot {
    const { rootHi, rootLo, topLevel } = this.table;
    return { rootHi, rootLo, addressWidth: topLevel - 1, tracksDirty: this.#tracksDirty };
  }

  /** paging_domain_compatible_second_stage. */
  checkCompatible({ unit }: VtdDevice): void {
    const { capabilities, name } = unit;
    if (this.dirtyOps !== null && !capabilities.dirtyTracking)
      refuse(rules.vtd_second_stage_dirty, { unit: name });
    if (this.isNestParent && !capabilities.nesting) refuse(rules.vtd_second_stage_nesting, { unit: name });
    if (!capabilities.secondStage) refuse(rules.vtd_second_stage_missing, { unit: name });
    if (!capabilities.coherentWalk && this.coherentWalk)
      refuse(rules.vtd_second_stage_coherency, { unit: name });
    this.#checkGeometry(unit);
    if (capabilities.cachingMode && !this.#syncsMap) refuse(rules.vtd_second_stage_sync, { unit: name });
    if (this.forceSnoop && !capabilities.snoopControl) refuse(rules.vtd_second_stage_snoop, { unit: name });
  }

  #checkGeometry({ capabilities, name }: VtdUnit): void {
    const { mgaw, sagaw, secondStagePages } = capabilities;
    if (mgaw < this.#width) refuse(rules.vtd_second_stage_width, { unit: name, mgaw, width: this.#width });
    const { topLevel } = this.table;
    if ((sagaw & (1 << (topLevel - 1))) === 0)
      refuse(rules.vtd_second_stage_levels, { unit: name, levels: topLevel + 1 });
    if ((secondStagePages & HAS_2M) === 0 && (this.pgsizeBitmap & SZ_2M) !== 0n)
      refuse(rules.vtd_second_stage_2m, { unit: name });
    if ((secondStagePages & HAS_1G) === 0 && (this.pgsizeBitmap & SZ_1G) !== 0n)
      refuse(rules.vtd_second_stage_1g, { unit: name });
  }

  checkEntry(): void {}

  entryFor({ unit }: VtdDevice): PasidEntry {
    const { did } = this.places.of(unit)!;
    return secondStageEntry(this.root, { did, coherentWalk: this.coherentWalk, forceSnoop: false });
  }

  readonly enforceCacheCoherency = (): boolean => {
    if (!this.places.byUnit.every(({ unit }) => unit.capabilities.snoopControl)) return false;
    this.forceSnoop = true;
    return true;
  };

  map(iova: bigint, hpa: bigint, length: bigint, prot: number): MapStatus {
    if (this.isNestParent && (prot & WRITE) === 0) {
      this.unit.events.emit({ kind: 'log', level: 'err', text: READ_ONLY_PARENT });
      return 'EINVAL';
    }
    const status = this.table.map(iova, hpa, length, this.forceSnoop ? prot | COHERENT : prot);
    if (status === 'ok' && this.#syncsMap) {
      flushNotPresent(this.places, this.nested, iova, iova + length - 1n);
    }
    return status;
  }

  unmap(iova: bigint, length: bigint): void {
    const { tables } = this.table.stats;
    const done = this.table.unmap(iova, length);
    if (done > 0n) this.#flush(iova, iova + done - 1n, this.table.stats.tables === tables);
  }

  iovaToPhys(iova: bigint): bigint {
    const hpa = this.table.iovaToPhys(iova);
    return hpa < 0n ? 0n : hpa;
  }

  free(): void {
    this.table.destroy();
  }

  #flush(start: bigint, last: bigint, leafOnly: boolean): void {
    flushSecondStage(this.places, this.nested, start, last, leafOnly);
  }

  #makeDirtyOps(): DirtyOps {
    return {
      setTracking: (enable) => {
        if (this.#tracksDirty === enable) return;
        trackAt(this.places, enable);
        for (const first of this.nested) trackAt(first.places, enable);
        this.#tracksDirty = enable;
      },
      readAndClear: (iova, length, noClear, visit) => {
        let start = -1n;
        let last = 0n;
        this.table.readAndClearDirty(iova, length, noClear, (at, bytes) => {
          if (start < 0n) start = at;
          last = at + bytes - 1n;
          visit(at, bytes);
        });
        // What has the dirty bit cached would not set it again.
        if (start >= 0n && !noClear) this.#flush(start, last, true);
      },
    };
  }
}

function trackAt(places: Places, enable: boolean): void {
  for (const { unit, first } of places.byUnit) {
    for (let place = first; place !== 0; place = unit.places.nextOf(place)) {
      setEntryTracking(unit.deviceOf(unit.places.deviceIndexAt(place)), unit.places.pasidAt(place), enable);
    }
  }
}
