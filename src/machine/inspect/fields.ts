/** Fields of VT-d's structures by their names, as [lowest bit, width] of the whole structure, for people to read. */

export type Layout = Readonly<Record<string, readonly [lowest: number, width: number]>>;

export const rootHalf: Layout = { P: [0, 1], CTP: [12, 52] };

export const contextEntry: Layout = {
  P: [0, 1],
  FPD: [1, 1],
  DTE: [2, 1],
  PASIDE: [3, 1],
  PRE: [4, 1],
  PDTS: [9, 3],
  PASIDDIRPTR: [12, 52],
  RID_PASID: [64, 20],
  RID_PRIV: [84, 1],
};

export const directoryEntry: Layout = { P: [0, 1], FPD: [1, 1], SMPTBLPTR: [12, 52] };

export const pasidEntry: Layout = {
  P: [0, 1],
  FPD: [1, 1],
  AW: [2, 3],
  PGTT: [6, 3],
  SSADE: [9, 1],
  SSPTPTR: [12, 52],
  DID: [64, 16],
  PWSNP: [87, 1],
  PGSNP: [88, 1],
  SRE: [128, 1],
  ERE: [129, 1],
  FSPM: [130, 2],
  WPE: [132, 1],
  NXE: [133, 1],
  SMEP: [134, 1],
  EAFE: [135, 1],
  FSPTPTR: [140, 52],
};

const firstStageBits: Layout = {
  P: [0, 1],
  RW: [1, 1],
  US: [2, 1],
  PWT: [3, 1],
  PCD: [4, 1],
  A: [5, 1],
  D: [6, 1],
  PS: [7, 1],
  G: [8, 1],
  EA: [10, 1],
  XD: [63, 1],
};

const secondStageBits: Layout = {
  R: [0, 1],
  W: [1, 1],
  X: [2, 1],
  EMT: [3, 3],
  IPAT: [6, 1],
  PS: [7, 1],
  A: [8, 1],
  D: [9, 1],
  SNP: [11, 1],
};

export const firstStageEntry: Layout = { ...firstStageBits, ADDR: [12, 40] };
export const secondStageEntry: Layout = { ...secondStageBits, ADDR: [12, 40] };

/** Fields that are addresses: bits 11:0 are zero. */
const ADDRESSES = new Set(['CTP', 'PASIDDIRPTR', 'SMPTBLPTR', 'SSPTPTR', 'FSPTPTR', 'ADDR']);

/** The fields of an entry, its first word in the lowest bits, that are not zero. */
export function decode(layout: Layout, words: readonly bigint[]): Record<string, string | number> {
  const whole = words.reduceRight((high, word) => (high << 64n) | word, 0n);
  const fields: Record<string, string | number> = {};
  for (const [name, [lowest, width]] of Object.entries(layout)) {
    const value = (whole >> BigInt(lowest)) & ((1n << BigInt(width)) - 1n);
    if (value === 0n) continue;
    fields[name] = ADDRESSES.has(name) ? `0x${(value << 12n).toString(16)}` : Number(value);
  }
  return fields;
}
