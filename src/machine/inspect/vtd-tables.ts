/** Registers and tables of a VT-d unit, from the root table on, as they are in memory. */
import type { Mmio } from '../../bus/mmio.js';
import * as reg from '../../hw/vtd/registers.js';
import * as st from '../../hw/vtd/structures.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import * as layouts from './fields.js';
import { firstStage, secondStage, tableRanges, type TableRange } from './ranges.js';
import { bitsOf, hex } from './report.js';

type Fields = Readonly<Record<string, string | number>>;

export interface PasidReport {
  readonly pasid: number;
  readonly type: string;
  readonly fields: Fields;
  readonly firstStage?: readonly TableRange[];
  readonly secondStage?: readonly TableRange[];
  /** There was more in the tables than is listed. */
  readonly isCut?: true;
}

export interface ContextReport {
  readonly sourceId: string;
  readonly fields: Fields;
  readonly pasids: readonly PasidReport[];
  readonly isCut?: true;
}

const ADDRESS = 0x000f_ffff_ffff_f000n;
const PAGE_MASK = 0xfffn;
const MAX_PASIDS = 4096;
/** By PGTT. */
export const translationTypes = ['none', 'first stage', 'second stage', 'nested', 'pass-through'];

const names: readonly (readonly [name: string, offset: number, width: 32 | 64])[] = [
  ['VER', reg.VER_REG, 32],
  ['CAP', reg.CAP_REG, 64],
  ['ECAP', reg.ECAP_REG, 64],
  ['GSTS', reg.GSTS_REG, 32],
  ['RTADDR', reg.RTADDR_REG, 64],
  ['FSTS', reg.FSTS_REG, 32],
  ['FECTL', reg.FECTL_REG, 32],
  ['IQH', reg.IQH_REG, 64],
  ['IQT', reg.IQT_REG, 64],
  ['IQA', reg.IQA_REG, 64],
  ['ICS', reg.ICS_REG, 32],
  ['PQH', reg.PQH_REG, 64],
  ['PQT', reg.PQT_REG, 64],
  ['PQA', reg.PQA_REG, 64],
  ['PRS', reg.PRS_REG, 32],
];

/** Registers by name; CAP and ECAP also field by field. */
export function registersOf(mmio: Mmio): Record<string, string | Fields> {
  const values: Record<string, string | Fields> = {};
  for (const [name, offset, width] of names) {
    values[name] = hex(width === 64 ? mmio.read64(offset) : mmio.read32(offset));
  }
  values['CAP fields'] = layouts.decode(reg.CAP, [mmio.read64(reg.CAP_REG)]);
  values['ECAP fields'] = layouts.decode(reg.ECAP, [mmio.read64(reg.ECAP_REG)]);
  return values;
}

/** Every context entry that is present, with its PASIDs. */
export class VtdTables {
  readonly #memory: PhysicalMemory;
  readonly #mmio: Mmio;

  constructor(memory: PhysicalMemory, mmio: Mmio) {
    this.#memory = memory;
    this.#mmio = mmio;
  }

  contexts(): ContextReport[] {
    const reports: ContextReport[] = [];
    const root = this.#mmio.read64(reg.RTADDR_REG) & ~PAGE_MASK;
    for (let bus = 0; bus < 256; bus++) {
      for (const half of [0, 1]) {
        const [table] = this.#words(root + BigInt(bus * st.ROOT_ENTRY + half * 8), 1);
        if (table === undefined || (table & 1n) === 0n) continue;
        for (let index = 0; index < 128; index++) {
          const entry = this.#words((table & ADDRESS) + BigInt(index * st.SM_CONTEXT_ENTRY), 4);
          if (entry.length > 0 && (entry[0]! & 1n) !== 0n) {
            reports.push(this.#context(bus * 256 + half * 128 + index, entry));
          }
        }
      }
    }
    return reports;
  }

  #context(sourceId: number, entry: readonly bigint[]): ContextReport {
    const pdts = bitsOf(entry[0]!, st.SM_CTX_PDTS_SHIFT, st.SM_CTX_PDTS_MASK);
    const directory = entry[0]! & ADDRESS;
    const pasids: PasidReport[] = [];
    let isCut = false;
    for (let index = 0; index < 2 ** (pdts + 7) && !isCut; index++) {
      const [table] = this.#words(directory + BigInt(index * st.PASID_DIR_ENTRY), 1);
      if (table === undefined || (table & 1n) === 0n) continue;
      for (let at = 0; at < 2 ** st.PASID_TABLE_LG2; at++) {
        const words = this.#words((table & ADDRESS) + BigInt(at * st.PASID_ENTRY), 3);
        if (words.length === 0 || (words[0]! & 1n) === 0n) continue;
        if (pasids.length === MAX_PASIDS) isCut = true;
        else pasids.push(this.#pasid(index * 2 ** st.PASID_TABLE_LG2 + at, words));
      }
    }
    const fields = layouts.decode(layouts.contextEntry, entry);
    return { sourceId: hex(sourceId), fields, pasids, ...(isCut ? { isCut } : {}) };
  }

  #pasid(pasid: number, words: readonly bigint[]): PasidReport {
    const type = bitsOf(words[0]!, st.PE_PGTT_SHIFT, st.PE_PGTT_MASK);
    const isNested = type === st.PGTT_NESTED;
    const hasFirst = type === st.PGTT_FIRST_STAGE || isNested;
    const hasSecond = type === st.PGTT_SECOND_STAGE || isNested;
    const shape = secondStage(bitsOf(words[0]!, st.PE_AW_SHIFT, st.PE_AW_MASK) + 2);
    const second = hasSecond ? tableRanges(this.#memory, words[0]! & ADDRESS, shape) : null;
    const host = (address: bigint): bigint | null =>
      isNested ? this.#throughSecond(words[0]! & ADDRESS, shape.levels, address) : address;
    const levels = 4 + bitsOf(words[2]!, st.PE_FSPM_SHIFT, 1);
    const first = hasFirst ? tableRanges(this.#memory, words[2]! & ADDRESS, firstStage(levels, host)) : null;
    return {
      pasid,
      type: translationTypes[type] ?? `reserved (${type})`,
      fields: layouts.decode(layouts.pasidEntry, words),
      ...(first === null ? {} : { firstStage: first.ranges }),
      ...(second === null ? {} : { secondStage: second.ranges }),
      ...(first?.isCut === true || second?.isCut === true ? { isCut: true } : {}),
    };
  }

  /** Where a guest's page is; null: nowhere. */
  #throughSecond(root: bigint, levels: number, address: bigint): bigint | null {
    let table = root;
    for (let level = levels; level > 0; level--) {
      const shift = BigInt(12 + (level - 1) * 9);
      const [entry] = this.#words(table + ((address >> shift) & 511n) * 8n, 1);
      if (entry === undefined || (entry & 3n) === 0n) return null;
      const low = (1n << shift) - 1n;
      if (level === 1 || (entry & 0x80n) !== 0n)
        return (entry & ADDRESS & ~low) | (address & low & ~PAGE_MASK);
      table = entry & ADDRESS;
    }
    return null;
  }

  /** 64-bit words; none where there is no memory. */
  #words(at: bigint, count: number): bigint[] {
    const bytes = new Uint8Array(count * 8);
    if (!this.#memory.read(at, bytes)) return [];
    const view = new DataView(bytes.buffer);
    return Array.from({ length: count }, (_, index) => view.getBigUint64(index * 8, true));
  }
}
