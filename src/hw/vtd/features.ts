/**
 * What a VT-d unit can do, by name, and the CAP_REG and ECAP_REG that say it (sections 11.4.2 and 11.4.3). A field of a
 * register that no name here covers, or that has to differ from what the names say, is given by its own name.
 */
import { CAP, ECAP } from './registers.js';

export type CapField = keyof typeof CAP;
export type EcapField = keyof typeof ECAP;

/** Bits of an address that devices may emit: tables of 3, 4 or 5 levels. */
export type AddressWidth = 39 | 48 | 57;
export type LargePage = '2M' | '1G';

export interface VtdFeatures {
  readonly addressWidth: AddressWidth;
  /** Beside 4 KiB. */
  readonly largePages: readonly LargePage[];
  readonly firstStage: boolean;
  readonly secondStage: boolean;
  /** First stage on top of second stage. */
  readonly nesting: boolean;
  readonly passThrough: boolean;
  /** 0: no PASIDs. */
  readonly pasidBits: number;
  /** Device-TLBs: translation requests are answered. */
  readonly ats: boolean;
  /** Page requests are taken. */
  readonly pri: boolean;
  /** Accessed and dirty bits in second-stage tables. */
  readonly dirtyTracking: boolean;
  /** SNP in second-stage tables: a domain can enforce coherency. */
  readonly snoopControl: boolean;
  /** Walks see the caches of the CPU. */
  readonly coherentWalks: boolean;
  readonly faultRecords: number;
  readonly domainIdBits: number;
  /** Host address width: bits of an address that the unit can emit. */
  readonly hostAddressWidth: number;
  readonly registers: {
    readonly CAP?: Readonly<Partial<Record<CapField, number>>>;
    readonly ECAP?: Readonly<Partial<Record<EcapField, number>>>;
  };
}

/** A unit that can do all that ioasis can. */
export const vtdDefaults: VtdFeatures = {
  addressWidth: 48,
  largePages: ['2M', '1G'],
  firstStage: true,
  secondStage: true,
  nesting: true,
  passThrough: true,
  pasidBits: 20,
  ats: true,
  pri: true,
  dirtyTracking: true,
  snoopControl: true,
  coherentWalks: true,
  faultRecords: 8,
  domainIdBits: 16,
  hostAddressWidth: 52,
  registers: {},
};

/** CAP_REG.SAGAW: a unit that takes long tables takes the shorter ones too. */
const SAGAW: Readonly<Record<AddressWidth, number>> = { 39: 0b0010, 48: 0b0110, 57: 0b1110 };

/** Where IOTLB and fault recording registers lie, in units of 16 bytes. */
const IOTLB_OFFSET = 0x0f;
const FAULT_OFFSET = 0x22;
/** lg2 of the pages that one invalidation covers at most: 2^18 pages are a GiB. */
const MAX_ADDRESS_MASK = 18;

const bit = (set: boolean): number => (set ? 1 : 0);

function capFields(can: VtdFeatures): Partial<Record<CapField, number>> {
  const huge = can.largePages.includes('1G');
  return {
    ND: (can.domainIdBits - 4) / 2,
    // Versions from 6.0 on say that there is no second stage by having no width for it.
    SAGAW: can.secondStage ? SAGAW[can.addressWidth] : 0,
    MGAW: can.addressWidth - 1,
    FRO: FAULT_OFFSET,
    SSLPS: bit(can.largePages.includes('2M')) | (bit(huge) << 1),
    PSI: 1,
    NFR: can.faultRecords - 1,
    MAMV: MAX_ADDRESS_MASK,
    DWD: 1,
    DRD: 1,
    FS1GP: bit(huge),
    FS5LP: bit(can.addressWidth === 57),
    ...can.registers.CAP,
  };
}

function ecapFields(can: VtdFeatures): Partial<Record<EcapField, number>> {
  return {
    C: bit(can.coherentWalks),
    QI: 1,
    DT: bit(can.ats),
    PT: bit(can.passThrough),
    SC: bit(can.snoopControl),
    IRO: IOTLB_OFFSET,
    NEST: bit(can.nesting),
    PRS: bit(can.pri),
    SRS: 1,
    EAFS: bit(can.firstStage && can.coherentWalks),
    PSS: Math.max(0, can.pasidBits - 1),
    PASID: bit(can.pasidBits > 0),
    PDS: bit(can.pri),
    SMTS: 1,
    SSADS: bit(can.dirtyTracking),
    SSTS: bit(can.secondStage),
    FSTS: bit(can.firstStage),
    SMPWCS: bit(can.coherentWalks),
    ...can.registers.ECAP,
  };
}

function assemble<F extends string>(
  layout: Readonly<Record<F, readonly [number, number]>>,
  fields: Readonly<Partial<Record<F, number>>>,
): bigint {
  let value = 0n;
  for (const [name, field] of Object.entries(fields) as [F, number][]) {
    const [lowest, width] = layout[name];
    value |= (BigInt(field) & ((1n << BigInt(width)) - 1n)) << BigInt(lowest);
  }
  return value;
}

/** CAP_REG and ECAP_REG of a unit that can do this. */
export function capabilityRegisters(can: VtdFeatures): { readonly cap: bigint; readonly ecap: bigint } {
  return { cap: assemble(CAP, capFields(can)), ecap: assemble(ECAP, ecapFields(can)) };
}
