/**
 * What Linux' driver of VT-d shows of itself for debugging (drivers/iommu/intel/debugfs.c), in its words and columns: there
 * are programs that read them. Everything is read from registers and memory when a file is opened.
 * Invariant: ends soon whatever the tables say, since a table can lead to itself.
 */
import { prefixedHex as hex } from '../../base/hex.js';
import { bytesOf } from '../../base/text.js';
import * as reg from '../../hw/vtd/registers.js';
import * as st from '../../hw/vtd/structures.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import type { BuiltUnit } from '../build.js';
import type { SysDevice } from './device.js';
import type { SysTree } from './tree.js';
import { registersAt } from './iommu.js';
import { TableText, type TableEntries } from './vtd-table-text.js';

const AT = '/sys/kernel/debug/iommu/intel';
const PAGE_MASK = ~0xfffn;
/** PASID of what is sent by requester id alone. */
const NO_PASID = 0;

const registers32: readonly (readonly [name: string, offset: number])[] = [
  ['VER', reg.VER_REG],
  ['GCMD', reg.GCMD_REG],
  ['GSTS', reg.GSTS_REG],
  ['FSTS', reg.FSTS_REG],
  ['FECTL', reg.FECTL_REG],
  ['FEDATA', reg.FEDATA_REG],
  ['FEADDR', reg.FEADDR_REG],
  ['FEUADDR', reg.FEUADDR_REG],
  ['ICS', reg.ICS_REG],
  ['PRS', reg.PRS_REG],
  ['PECTL', reg.PECTL_REG],
  ['PEDATA', reg.PEDATA_REG],
  ['PEADDR', reg.PEADDR_REG],
  ['PEUADDR', reg.PEUADDR_REG],
];
const registers64: readonly (readonly [name: string, offset: number])[] = [
  ['CAP', reg.CAP_REG],
  ['ECAP', reg.ECAP_REG],
  ['RTADDR', reg.RTADDR_REG],
  ['IQH', reg.IQH_REG],
  ['IQT', reg.IQT_REG],
  ['IQA', reg.IQA_REG],
  ['PQH', reg.PQH_REG],
  ['PQT', reg.PQT_REG],
  ['PQA', reg.PQA_REG],
];

export function describeDebug(
  tree: SysTree,
  memory: PhysicalMemory,
  units: readonly BuiltUnit[],
  devices: readonly SysDevice[],
): void {
  tree.directory('/sys/kernel/debug', 'shared');
  tree.directory('/sys/kernel/debug/iommu', 'shared');
  const file = (path: string, read: () => string): void => {
    tree.file(`${AT}/${path}`, { mode: 0o444, size: 0, read: () => bytesOf(read()) });
  };
  const tables = units.map((unit) => new UnitTables(memory, unit));
  file('iommu_regset', () => units.map(registerText).join(''));
  file('dmar_translation_struct', () => tables.map((each, index) => each.text(`dmar${index}`)).join(''));
  for (const { name, bus, built } of devices) {
    if (bus !== 'pci') continue;
    const own = tables[units.findIndex((unit) => unit.name === built.unit.name)]!;
    file(`${name}/domain_translation_struct`, () => own.domainText(name, built.plan.sourceId));
  }
}

const registerLine = (name: string, offset: number, value: bigint | number): string =>
  `${name.padEnd(16)}\t${hex(offset, 2)}\t\t${hex(value)}\n`;

function registerText({ hardware }: BuiltUnit, index: number): string {
  return [
    `IOMMU: dmar${index} Register Base Address: ${registersAt(index)}\n`,
    'Name\t\t\tOffset\t\tContents\n',
    ...registers32.map(([name, offset]) => registerLine(name, offset, hardware.read32(offset) >>> 0)),
    ...registers64.map(([name, offset]) => registerLine(name, offset, hardware.read64(offset))),
    '\n',
  ].join('');
}

interface PasidEntry {
  readonly pasid: number;
  readonly words: readonly bigint[];
}

/** The tables of one unit, from the root on. */
class UnitTables implements TableEntries {
  readonly #memory: PhysicalMemory;
  readonly #unit: BuiltUnit;

  constructor(memory: PhysicalMemory, unit: BuiltUnit) {
    this.#memory = memory;
    this.#unit = unit;
  }

  words(at: bigint, count: number): readonly bigint[] | null {
    const bytes = new Uint8Array(count * 8);
    if (!this.#memory.read(at, bytes)) return null;
    const view = new DataView(bytes.buffer);
    return Array.from({ length: count }, (_, index) => view.getBigUint64(index * 8, true));
  }

  get #isOn(): boolean {
    return (this.#unit.hardware.read32(reg.GSTS_REG) & reg.GCMD_TE) !== 0;
  }

  get #root(): bigint {
    return this.#unit.hardware.read64(reg.RTADDR_REG) & PAGE_MASK;
  }

  /** The root entry of a bus, and the context entry of a requester that is present. */
  #context(sourceId: number): { root: readonly bigint[]; context: readonly bigint[] } | null {
    const root = this.words(this.#root + BigInt((sourceId >>> 8) * st.ROOT_ENTRY), 2);
    const half = root?.[(sourceId & 0xff) >>> 7];
    if (root === null || half === undefined || (half & 1n) === 0n) return null;
    const at = (half & PAGE_MASK) + BigInt((sourceId & 0x7f) * st.SM_CONTEXT_ENTRY);
    const context = this.words(at, 2);
    return context === null || (context[0]! & 1n) === 0n ? null : { root, context };
  }

  /** PASID entries that are present, in order. */
  *#entries(context: readonly bigint[]): Generator<PasidEntry> {
    const size = Number((context[0]! >> BigInt(st.SM_CTX_PDTS_SHIFT)) & BigInt(st.SM_CTX_PDTS_MASK));
    const directory = this.words(context[0]! & PAGE_MASK, 2 ** (size + 7)) ?? [];
    for (const [index, table] of directory.entries()) {
      if ((table & 1n) === 0n) continue;
      for (let at = 0; at < 2 ** st.PASID_TABLE_LG2; at++) {
        const words = this.words((table & PAGE_MASK) + BigInt(at * st.PASID_ENTRY), 3);
        if (words === null || (words[0]! & 1n) === 0n) continue;
        yield { pasid: index * 2 ** st.PASID_TABLE_LG2 + at, words };
      }
    }
  }

  /** dmar_translation_struct */
  text(name: string): string {
    if (!this.#isOn) return `DMA Remapping is not enabled on ${name}\n`;
    const lines = [
      `IOMMU ${name}: Root Table Address: 0x${this.#root.toString(16)}\n`,
      'B.D.F\tRoot_entry\t\t\t\tContext_entry\t\t\t\tPASID\tPASID_table_entry\n',
    ];
    for (let sourceId = 0; sourceId < 0x1_0000; sourceId++) {
      if ((sourceId & 0xff) === 0 && !this.#hasBus(sourceId >>> 8)) {
        sourceId += 0xff;
        continue;
      }
      const found = this.#context(sourceId);
      if (found === null) continue;
      const { root, context } = found;
      const head = `${place(sourceId)}\t${hex(root[1]!)}:${hex(root[0]!)}\t${hex(context[1]!)}:${hex(context[0]!)}\t`;
      for (const { pasid, words } of this.#entries(context)) {
        const entry = words.toReversed().map((word) => hex(word));
        lines.push(`${head}${String(pasid).padEnd(6)}\t${entry.join(':')}\n`);
      }
    }
    return `${lines.join('')}\n`;
  }

  #hasBus(bus: number): boolean {
    const root = this.words(this.#root + BigInt(bus * st.ROOT_ENTRY), 2);
    return root !== null && ((root[0]! | root[1]!) & 1n) !== 0n;
  }

  /** domain_translation_struct. OURS: Linux has one for each PASID that is attached, too. */
  domainText(name: string, sourceId: number): string {
    if (!this.#isOn) return `DMA Remapping is not enabled on ${this.#unit.name}\n`;
    const found = this.#context(sourceId);
    if (found === null) return '';
    const [entry] = this.#entries(found.context) as Iterable<PasidEntry | undefined>;
    if (entry?.pasid !== NO_PASID) return '';
    const type = Number((entry.words[0]! >> BigInt(st.PE_PGTT_SHIFT)) & BigInt(st.PE_PGTT_MASK));
    const isFirst = type === st.PGTT_FIRST_STAGE;
    if (!isFirst && type !== st.PGTT_SECOND_STAGE && type !== st.PGTT_NESTED) return '';
    const width = Number((entry.words[0]! >> BigInt(st.PE_AW_SHIFT)) & BigInt(st.PE_AW_MASK));
    const root = entry.words[isFirst ? 2 : 0]! & PAGE_MASK;
    const head = `Device ${name} with pasid ${NO_PASID} @0x${root.toString(16)}\n`;
    return head + new TableText(this, root, width + 2).text();
  }
}

const two = (value: number): string => value.toString(16).padStart(2, '0');

/** `00:04.0`, of a requester id. */
const place = (sourceId: number): string =>
  `${two(sourceId >>> 8)}:${two((sourceId >>> 3) & 31)}.${sourceId & 7}`;
