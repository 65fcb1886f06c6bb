/** What a unit can do, as Linux' driver reads its capability registers (cap_*, ecap_*, iommu_calculate_agaw). */
import { CAP, ECAP, registerField } from '../registers.js';
import { invariant } from '../../../base/errno.js';

const WIDTH_39 = 1 << 1;
const WIDTH_48 = 1 << 2;
const WIDTH_57 = 1 << 3;

/** How large a page table is: bits of its input address, and the level of its root (levels - 1). */
export interface TableShape {
  readonly maxVaLg2: number;
  readonly topLevel: number;
}

export class Capabilities {
  readonly mgaw: number;
  readonly sagaw: number;
  readonly domainIds: number;
  readonly cachingMode: boolean;
  readonly secondStagePages: number;
  readonly hasGibFirstStage: boolean;
  readonly hasFiveLevelFirstStage: boolean;
  readonly faultRecordsAt: number;
  readonly faultRecords: number;
  readonly flushesAtRootChange: boolean;

  readonly hasDeviceTlb: boolean;
  readonly snoopControl: boolean;
  readonly nesting: boolean;
  readonly pageRequests: boolean;
  readonly supervisorRequests: boolean;
  readonly extendedAccessed: boolean;
  readonly pasid: boolean;
  readonly maxPasids: number;
  readonly pageRequestDrain: boolean;
  readonly secondStage: boolean;
  readonly firstStage: boolean;
  /** SMPWC. */
  readonly coherentWalk: boolean;
  readonly dirtyTracking: boolean;
  /** AW where an entry has no second stage: the largest that both stages can. */
  readonly agaw: number;

  constructor(
    readonly cap: bigint,
    readonly ecap: bigint,
  ) {
    const c = (field: readonly [number, number]): number => registerField(cap, field);
    const e = (field: readonly [number, number]): boolean => registerField(ecap, field) === 1;
    invariant(e(ECAP.SMTS) && e(ECAP.QI), 'the driver of VT-d needs scalable mode and queued invalidation');
    this.mgaw = c(CAP.MGAW) + 1;
    this.sagaw = c(CAP.SAGAW);
    this.domainIds = 2 ** (4 + 2 * c(CAP.ND));
    this.cachingMode = c(CAP.CM) === 1;
    this.secondStagePages = c(CAP.SSLPS);
    this.hasGibFirstStage = c(CAP.FS1GP) === 1;
    this.hasFiveLevelFirstStage = c(CAP.FS5LP) === 1;
    this.faultRecordsAt = c(CAP.FRO) * 16;
    this.faultRecords = c(CAP.NFR) + 1;
    this.flushesAtRootChange = cap >> 63n === 1n;
    this.hasDeviceTlb = e(ECAP.DT);
    this.snoopControl = e(ECAP.SC);
    this.nesting = e(ECAP.NEST);
    this.pageRequests = e(ECAP.PRS);
    this.supervisorRequests = e(ECAP.SRS);
    this.extendedAccessed = e(ECAP.EAFS);
    this.pasid = e(ECAP.PASID);
    this.maxPasids = 2 * 2 ** registerField(ecap, ECAP.PSS);
    this.pageRequestDrain = e(ECAP.PDS);
    this.secondStage = e(ECAP.SSTS);
    this.firstStage = e(ECAP.FSTS);
    this.coherentWalk = e(ECAP.SMPWCS);
    this.dirtyTracking = e(ECAP.SSADS) && this.coherentWalk;
    this.agaw = this.#agaw();
  }

  /** -1: none. */
  #agaw(): number {
    const first = WIDTH_48 | (this.hasFiveLevelFirstStage ? WIDTH_57 : 0);
    const both = this.firstStage ? (this.secondStage ? first & this.sagaw : first) : this.sagaw;
    for (let agaw = 3; agaw >= 0; agaw -= 1) if ((both & (1 << agaw)) !== 0) return agaw;
    return -1;
  }

  /** compute_vasz_lg2_fs. */
  firstStageShape(): TableShape {
    if (this.mgaw > 48 && this.hasFiveLevelFirstStage) {
      return { topLevel: 4, maxVaLg2: Math.min(57, this.mgaw) };
    }
    return { topLevel: 3, maxVaLg2: Math.min(48, this.mgaw) };
  }

  /** compute_vasz_lg2_ss: the largest that is also walked from a level that the unit starts at; null: there is none. */
  secondStageShape(): TableShape | null {
    const { mgaw, sagaw } = this;
    if (mgaw > 48 && sagaw >= WIDTH_57) return { topLevel: 4, maxVaLg2: Math.min(57, mgaw) };
    if (mgaw > 39 && sagaw >= WIDTH_48) {
      return { topLevel: 3 + lowestBit(sagaw >> 3), maxVaLg2: Math.min(48, mgaw) };
    }
    if (mgaw > 30 && sagaw >= WIDTH_39) {
      return { topLevel: 2 + lowestBit(sagaw >> 2), maxVaLg2: Math.min(39, mgaw) };
    }
    return null;
  }
}

/** ffs(): 1 for bit 0, and 0 for no bit. */
function lowestBit(value: number): number {
  return value === 0 ? 0 : 32 - Math.clz32(value & -value);
}
