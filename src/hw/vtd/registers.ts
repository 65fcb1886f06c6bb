/**
 * Registers of Intel VT-d (Virtualization Technology for Directed I/O, chapter 11, "Register Descriptions"): offsets
 * and bits, for the hardware and for the driver, which meet in nothing else but memory. Names as in the specification.
 */

/** Offsets in bytes. */
export const VER_REG = 0x00;
export const CAP_REG = 0x08;
export const ECAP_REG = 0x10;
export const GCMD_REG = 0x18;
export const GSTS_REG = 0x1c;
export const RTADDR_REG = 0x20;
export const FSTS_REG = 0x34;
export const FECTL_REG = 0x38;
export const FEDATA_REG = 0x3c;
export const FEADDR_REG = 0x40;
export const FEUADDR_REG = 0x44;
export const IQH_REG = 0x80;
export const IQT_REG = 0x88;
export const IQA_REG = 0x90;
export const ICS_REG = 0x9c;
export const IECTL_REG = 0xa0;
export const IEDATA_REG = 0xa4;
export const IEADDR_REG = 0xa8;
export const IEUADDR_REG = 0xac;
export const IQERCD_REG = 0xb0;
export const PQH_REG = 0xc0;
export const PQT_REG = 0xc8;
export const PQA_REG = 0xd0;
export const PRS_REG = 0xdc;
export const PECTL_REG = 0xe0;
export const PEDATA_REG = 0xe4;
export const PEADDR_REG = 0xe8;
export const PEUADDR_REG = 0xec;

/** GCMD_REG and GSTS_REG. */
export const GCMD_TE = 1 << 31;
export const GCMD_SRTP = 1 << 30;
export const GCMD_QIE = 1 << 26;

/** RTADDR_REG[11:10]. */
export const TTM_SHIFT = 10;
export const TTM_LEGACY = 0;
export const TTM_SCALABLE = 1;

export const FSTS_PFO = 1 << 0;
export const FSTS_PPF = 1 << 1;
export const FSTS_IQE = 1 << 4;
export const FSTS_ICE = 1 << 5;
export const FSTS_ITE = 1 << 6;
export const FSTS_FRI_SHIFT = 8;

/** FECTL_REG, IECTL_REG, PECTL_REG. */
export const CTL_IM = 1 << 31;
export const CTL_IP = 1 << 30;

/** ICS_REG: a wait descriptor asked for an interrupt. */
export const ICS_IWC = 1 << 0;

export const PRS_PPR = 1 << 0;
export const PRS_PRO = 1 << 1;

/** IQA_REG: 256-bit descriptors; the queue has `1 << QS` pages. PQA_REG has its size in the same bits. */
export const IQA_DW = 1 << 11;
export const QUEUE_SIZE_MASK = 7;

/** IQERCD_REG: why the queue stopped, in bits 3:0; a device that did not answer, in the low half of the high word. */
export const IQEI_TAIL = 1;
export const IQEI_FETCH = 2;
export const IQEI_TYPE = 3;
export const IQEI_RESERVED = 4;
export const IQEI_WIDTH = 5;
export const IQEI_ALIGNMENT = 6;
export const IQEI_TTM = 7;

/** Fault record, word 2 (source id in bits 15:0) and word 3 (reason in 7:0, PASID in 27:8, AT in 29:28). */
export const FRCD_T2 = 1 << 28;
export const FRCD_PRIV = 1 << 29;
export const FRCD_EXE = 1 << 30;
export const FRCD_PP = 1 << 31;
export const FRCD_PASID_SHIFT = 8;
export const FRCD_AT_SHIFT = 28;
export const FRCD_T1 = 1 << 30;
export const FRCD_F = 1 << 31;

/** CAP_REG, as [lowest bit, width]. */
export const CAP = {
  ND: [0, 3],
  CM: [7, 1],
  SAGAW: [8, 5],
  MGAW: [16, 6],
  FRO: [24, 10],
  SSLPS: [34, 4],
  PSI: [39, 1],
  NFR: [40, 8],
  MAMV: [48, 6],
  DWD: [54, 1],
  DRD: [55, 1],
  FS1GP: [56, 1],
  FS5LP: [60, 1],
  ESRTPS: [63, 1],
} as const;

/** ECAP_REG, as [lowest bit, width]. */
export const ECAP = {
  C: [0, 1],
  QI: [1, 1],
  DT: [2, 1],
  PT: [6, 1],
  SC: [7, 1],
  IRO: [8, 10],
  MTS: [25, 1],
  NEST: [26, 1],
  PRS: [29, 1],
  ERS: [30, 1],
  SRS: [31, 1],
  NWFS: [33, 1],
  EAFS: [34, 1],
  PSS: [35, 5],
  PASID: [40, 1],
  DIT: [41, 1],
  PDS: [42, 1],
  SMTS: [43, 1],
  SSADS: [45, 1],
  SSTS: [46, 1],
  FSTS: [47, 1],
  SMPWCS: [48, 1],
  RPS: [49, 1],
  RPRIVS: [53, 1],
} as const;

/** The value of field `[lowest, width]` of a register. */
export function registerField(value: bigint, [lowest, width]: readonly [number, number]): number {
  return Number((value >> BigInt(lowest)) & ((1n << BigInt(width)) - 1n));
}
