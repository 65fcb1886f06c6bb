/**
 * What a unit can do, read once from CAP_REG and ECAP_REG (sections 11.4.2, 11.4.3): fields that are asked for on every
 * walk, as plain numbers and masks.
 */
import { CAP, ECAP, registerField } from './registers.js';

export interface VtdCapabilities {
  readonly cap: bigint;
  readonly ecap: bigint;
  /** Host address width: bits of an address that the unit can emit. */
  readonly haw: number;
}

export class Abilities {
  readonly haw: number;
  /** Bits of the high word that an address within HAW leaves 0. */
  readonly beyondHaw: number;
  /** Width of the largest second-stage input. */
  readonly mgaw: number;
  readonly sagaw: number;
  readonly sslps: number;
  readonly has1GibFirst: boolean;
  readonly has5LevelFirst: boolean;
  readonly hasPageSelective: boolean;
  readonly mamv: number;
  readonly faultRecordOffset: number;
  readonly faultRecords: number;
  /** SRTP drops every cache. */
  readonly flushesOnSrtp: boolean;

  readonly deviceTlb: boolean;
  readonly passThrough: boolean;
  readonly snoopControl: boolean;
  readonly nesting: boolean;
  readonly pageRequests: boolean;
  readonly execute: boolean;
  readonly supervisor: boolean;
  readonly extendedAccessed: boolean;
  readonly pasid: boolean;
  readonly pasidLimit: number;
  readonly scalable: boolean;
  readonly secondAccessedDirty: boolean;
  readonly secondStage: boolean;
  readonly firstStage: boolean;
  readonly ridPasid: boolean;
  readonly ridPriv: boolean;
  readonly memoryTypes: boolean;
  /** PWSNP may be set: walks see the caches of the CPU. */
  readonly coherentScalable: boolean;
  readonly drainsPageRequests: boolean;
  /** Bits of a domain id. */
  readonly domainIdBits: number;
  /** Device-TLB invalidations name a physical function (PFSID). */
  readonly throttles: boolean;

  constructor({ cap, ecap, haw }: VtdCapabilities) {
    const has = (field: readonly [number, number]): boolean => registerField(ecap, field) !== 0;
    this.haw = haw;
    this.beyondHaw = haw >= 64 ? 0 : -1 << (haw - 32);
    this.mgaw = registerField(cap, CAP.MGAW) + 1;
    this.sagaw = registerField(cap, CAP.SAGAW);
    this.sslps = registerField(cap, CAP.SSLPS);
    this.has1GibFirst = registerField(cap, CAP.FS1GP) !== 0;
    this.has5LevelFirst = registerField(cap, CAP.FS5LP) !== 0;
    this.hasPageSelective = registerField(cap, CAP.PSI) !== 0;
    this.mamv = registerField(cap, CAP.MAMV);
    this.faultRecordOffset = registerField(cap, CAP.FRO) * 16;
    this.faultRecords = registerField(cap, CAP.NFR) + 1;
    this.flushesOnSrtp = registerField(cap, CAP.ESRTPS) !== 0;
    this.deviceTlb = has(ECAP.DT);
    this.passThrough = has(ECAP.PT);
    this.snoopControl = has(ECAP.SC);
    this.nesting = has(ECAP.NEST);
    this.pageRequests = has(ECAP.PRS);
    this.execute = has(ECAP.ERS);
    this.supervisor = has(ECAP.SRS);
    this.extendedAccessed = has(ECAP.EAFS);
    this.pasid = has(ECAP.PASID);
    this.pasidLimit = 2 ** (registerField(ecap, ECAP.PSS) + 1);
    this.scalable = has(ECAP.SMTS);
    this.secondAccessedDirty = has(ECAP.SSADS);
    this.secondStage = has(ECAP.SSTS);
    this.firstStage = has(ECAP.FSTS);
    this.ridPasid = has(ECAP.RPS);
    this.ridPriv = has(ECAP.RPRIVS);
    this.memoryTypes = has(ECAP.MTS);
    this.coherentScalable = has(ECAP.SMPWCS);
    this.drainsPageRequests = has(ECAP.PDS);
    this.domainIdBits = Math.min(16, 4 + 2 * registerField(cap, CAP.ND));
    this.throttles = has(ECAP.DIT);
  }

  /** Width in bits of the longest table: of the second stage (AGAW), without one of the first. */
  get largestWidth(): number {
    if (this.sagaw === 0) return this.has5LevelFirst ? 57 : 48;
    return 30 + 9 * (31 - Math.clz32(this.sagaw));
  }

  /** Width in bits of a second stage whose AW field says `aw`; 0 when the unit has no such tables. */
  secondWidth(aw: number): number {
    if (aw < 1 || aw > 3 || ((this.sagaw >>> aw) & 1) === 0) return 0;
    return 30 + aw * 9;
  }
}
