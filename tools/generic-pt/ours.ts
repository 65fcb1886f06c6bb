/** ioasis' side: the same commands as oracle.c, answered in the same words. */
import { Injector } from '#ioasis/base/inject.js';
import { PhysicalMemory } from '#ioasis/mem/physical.js';
import { COHERENT, ITEMS, LEAF, TABLE, itemLg2 } from '#ioasis/pt/format.js';
import type { MapStatus } from '#ioasis/pt/map.js';
import { PageTable } from '#ioasis/pt/page-table.js';
import type { TableKind } from './tables.js';

const ADDRESS = 0x000f_ffff_ffff_f000n;
/** Linux' numbers. */
const errnos: Readonly<Record<MapStatus, number>> = {
  ok: 0,
  ENXIO: 6,
  ENOMEM: 12,
  EINVAL: 22,
  ERANGE: 34,
  EADDRINUSE: 98,
};

export class Ours {
  readonly #memory = new PhysicalMemory(new Injector());
  readonly #table: PageTable;
  readonly #extra: number;

  constructor(kind: TableKind) {
    const { format, maxVaLg2, startingLevel } = kind;
    this.#extra = kind.isCoherent ? COHERENT : 0;
    const maxOaLg2 = format.maxOaLg2;
    this.#table = new PageTable(this.#memory, format, { maxVaLg2, maxOaLg2, startingLevel });
  }

  answer(command: string): string {
    const [name, ...words] = command.split(' ');
    const [a, b, c, d] = words.map((word) => BigInt(`0x${word}`)) as [bigint, bigint, bigint, bigint];
    const table = this.#table;
    switch (name) {
      case 'i':
        return `${hex(table.pgsizeBitmap)} ${hex(table.apertureLast)}`;
      case 'm':
        return `${errnos[table.map(a, b, c, Number(d) | this.#extra)]}`;
      case 'u':
        return hex(table.unmap(a, b));
      case 'p': {
        const found = table.iovaToPhys(a);
        return found === -1n ? '0' : hex(found);
      }
      case 's':
        return table.setDirty(a) ? '1' : '0';
      case 'r': {
        let seen = '';
        table.readAndClearDirty(a, b, false, (iova, length) => {
          seen += ` ${hex(iova)}+${hex(length)}`;
        });
        return `${seen} 0`;
      }
      default:
        return `${table.topLevel}${this.#dump(table.rootHpa, table.topLevel, 0n)}`;
    }
  }

  #dump(tableHpa: bigint, level: number, va: bigint): string {
    const { format } = this.#table;
    let text = '';
    for (let index = 0; index < ITEMS; index += 1) {
      const hpa = tableHpa + BigInt(index * 8);
      this.#memory.load64(Number(hpa >> 32n), Number(BigInt.asIntN(32, hpa)));
      const { loadedHi, loadedLo } = this.#memory;
      const kind = format.kind(loadedHi, loadedLo, level);
      if (kind !== LEAF && kind !== TABLE) continue;
      const entry = (BigInt(loadedHi >>> 0) << 32n) | BigInt(loadedLo >>> 0);
      const at = va + (BigInt(index) << BigInt(itemLg2(format, level)));
      if (kind === LEAF) {
        text += ` ${level}:${hex(at)}=${hex(entry)}`;
        continue;
      }
      const below =
        (BigInt(format.tableHi(loadedHi, loadedLo)) << 32n) | lowOf(format.tableLo(loadedHi, loadedLo));
      text += ` ${level}:${hex(at)}>${hex(entry & ~ADDRESS)}${this.#dump(below, level - 1, at)}`;
    }
    return text;
  }
}

function lowOf(word: number): bigint {
  return BigInt(word >>> 0);
}

function hex(value: bigint): string {
  return value.toString(16);
}
