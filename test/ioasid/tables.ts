/** Every byte of table that a VT-d unit reads: root, contexts, PASID directories and entries, both stages that are ours. */
import { createHash } from 'node:crypto';
import type { Machine } from '../../src/machine/machine.js';

const ADDRESS = 0x000f_ffff_ffff_f000n;
const RTADDR_REG = 0x20;
const PAGE = 4096;
const [FIRST_STAGE, SECOND_STAGE, NESTED] = [1, 2, 3];

/** One table: what it is, and a hash of its bytes. */
export interface TableBytes {
  readonly what: string;
  readonly hash: string;
}

const hash = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

const words = (bytes: Uint8Array): BigUint64Array =>
  new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);

/** Where present entries of `width` words lead to. */
function* children(table: Uint8Array, width = 1): Generator<[index: number, entry: BigUint64Array]> {
  const all = words(table);
  for (let at = 0; at < all.length; at += width)
    if ((all[at]! & 3n) !== 0n) yield [at / width, all.subarray(at, at + width)];
}

class Reader {
  readonly found: TableBytes[] = [];

  constructor(readonly machine: Machine) {}

  take(what: string, at: bigint, length = PAGE): Uint8Array {
    const bytes = this.machine.physical.read(at & ADDRESS, length);
    // What somebody is asked for page by page has a root and no table.
    this.found.push(bytes === null ? { what: 'no table', hash: '' } : { what, hash: hash(bytes) });
    return bytes ?? new Uint8Array(0);
  }

  /** The tables of a stage, down to those of pages. */
  stage(what: string, at: bigint, level: number): void {
    const table = this.take(`${what} level ${level}`, at);
    if (level === 1) return;
    for (const [, [entry = 0n]] of children(table))
      if ((entry & 0x80n) === 0n) this.stage(what, entry, level - 1);
  }

  pasid([low = 0n, , first = 0n]: BigUint64Array): void {
    const type = Number((low >> 6n) & 7n);
    const levels = Number((low >> 2n) & 7n) + 2;
    if (type === SECOND_STAGE || type === NESTED) this.stage('second stage', low, levels);
    if (type === FIRST_STAGE) this.stage('first stage', first, 4);
  }

  unit(root: bigint): void {
    for (const [bus, half] of children(this.take('root', root)))
      for (const [, context] of children(this.take(`context table ${bus}`, half[0]!), 4)) {
        const pages = 2 ** (Number((context[0]! >> 9n) & 7n) + 7) * 8;
        for (const [, [table = 0n]] of children(this.take('PASID directory', context[0]!, pages)))
          for (const [, entry] of children(this.take('PASID table', table), 8)) this.pasid(entry);
      }
  }
}

/** All of them, of every unit. */
export function tablesOf(machine: Machine): TableBytes[] {
  const reader = new Reader(machine);
  for (const { hardware } of machine.engine.built.units) reader.unit(hardware.read64(RTADDR_REG));
  return reader.found;
}

/** Of all of them together. */
export const hashOf = (tables: readonly TableBytes[]): string => hash(JSON.stringify(tables));
