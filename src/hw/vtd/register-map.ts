/**
 * The register table of a VT-d unit (section 11.4): what is in the window of {@link WINDOW} bytes. Interrupt remapping,
 * the register-based invalidation interface, protected memory and performance counters are not there: they read 0.
 */
import type { Abilities, VtdCapabilities } from './capabilities.js';
import type { RegisterSpec, RegisterTable } from './register-file.js';
import * as reg from './registers.js';

/** Bytes of a unit's registers. */
export const WINDOW = 0x1000;
/** Architecture version 6.0, as units with scalable mode have it. */
const VERSION = 0x60n;
const ADDRESS = 0xffff_ffff_ffff_f000n;
const ALL_32 = 0xffff_ffffn;
/** Interrupts are masked after a reset. */
const IM = BigInt(reg.CTL_IM >>> 0);
const FAULT_RECORD = 16;

function ro(offset: number, width: 32 | 64, reset = 0n): RegisterSpec {
  return { offset, width, reset };
}

function rw(offset: number, width: 32 | 64, writable: bigint): RegisterSpec {
  return { offset, width, writable };
}

function control(offset: number): RegisterSpec {
  return { offset, width: 32, reset: IM, writable: IM };
}

/** Data, address and upper address of a message; the address is that of a 32-bit word. */
function message(offset: number): RegisterSpec {
  return rw(offset, 32, offset % 8 === 0 ? 0xffff_fffcn : ALL_32);
}

function status(offset: number, clearedByOne: number): RegisterSpec {
  return { offset, width: 32, clearedByOne: BigInt(clearedByOne) };
}

export function registerTable({ cap, ecap }: VtdCapabilities, can: Abilities): RegisterTable {
  const errors = reg.FSTS_PFO | reg.FSTS_IQE | reg.FSTS_ICE | reg.FSTS_ITE;
  return {
    VER: ro(reg.VER_REG, 32, VERSION),
    CAP: ro(reg.CAP_REG, 64, cap),
    ECAP: ro(reg.ECAP_REG, 64, ecap),
    GCMD: ro(reg.GCMD_REG, 32),
    GSTS: ro(reg.GSTS_REG, 32),
    RTADDR: rw(reg.RTADDR_REG, 64, ADDRESS | 0xc00n),
    FSTS: status(reg.FSTS_REG, errors),
    FECTL: control(reg.FECTL_REG),
    FEDATA: message(reg.FEDATA_REG),
    FEADDR: message(reg.FEADDR_REG),
    FEUADDR: message(reg.FEUADDR_REG),
    IQH: ro(reg.IQH_REG, 64),
    IQT: rw(reg.IQT_REG, 64, 0x7fff0n),
    IQA: rw(reg.IQA_REG, 64, ADDRESS | 0x807n),
    ICS: status(reg.ICS_REG, reg.ICS_IWC),
    IECTL: control(reg.IECTL_REG),
    IEDATA: message(reg.IEDATA_REG),
    IEADDR: message(reg.IEADDR_REG),
    IEUADDR: message(reg.IEUADDR_REG),
    IQERCD: ro(reg.IQERCD_REG, 64),
    PQH: rw(reg.PQH_REG, 64, 0x7ffe0n),
    PQT: rw(reg.PQT_REG, 64, 0x7ffe0n),
    PQA: rw(reg.PQA_REG, 64, ADDRESS | 7n),
    PRS: status(reg.PRS_REG, reg.PRS_PPR | reg.PRS_PRO),
    PECTL: control(reg.PECTL_REG),
    PEDATA: message(reg.PEDATA_REG),
    PEADDR: message(reg.PEADDR_REG),
    PEUADDR: message(reg.PEUADDR_REG),
    ...faultRecords(can),
  };
}

/** `FRCD0_LO`, `FRCD0_HI` and so on: read-only but for F, the highest bit. */
function faultRecords(can: Abilities): Record<string, RegisterSpec> {
  const records: Record<string, RegisterSpec> = {};
  for (let index = 0; index < can.faultRecords; index += 1) {
    const offset = can.faultRecordOffset + index * FAULT_RECORD;
    records[`FRCD${index}_LO`] = { offset, width: 64 };
    records[`FRCD${index}_HI`] = { offset: offset + 8, width: 64, clearedByOne: 1n << 63n };
  }
  return records;
}
