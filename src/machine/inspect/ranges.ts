/**
 * A page table as ranges: neighbours that lead to neighbours in the same way are one. Reads bytes, as a unit does.
 * Invariant: ends soon whatever the bytes are, since a table can lead to itself: so many tables and ranges, no more.
 */
import type { PhysicalMemory } from '../../mem/physical.js';
import { hex } from './report.js';

/** How one kind of table is read. */
export interface TableShape {
  readonly levels: number;
  /** Whether an entry leads anywhere, is a leaf at `level` (1: 4 KiB), and what it permits: `rw`. */
  readonly isPresent: (entry: bigint) => boolean;
  readonly isLeaf: (entry: bigint, level: number) => boolean;
  readonly permits: (entry: bigint) => string;
  /** Where the table at an address is; null: nowhere. Of a nested table, by the second stage. */
  readonly host: (address: bigint) => bigint | null;
}

export interface TableRange {
  readonly start: string;
  readonly last: string;
  readonly target: string;
  readonly permits: string;
  readonly pageSize: string;
}

const ADDRESS = 0x000f_ffff_ffff_f000n;
const MAX_TABLES = 20_000;
const MAX_RANGES = 2_000;

interface Run {
  start: bigint;
  last: bigint;
  target: bigint;
  permits: string;
  size: bigint;
}

class Reader {
  readonly runs: Run[] = [];
  isCut = false;
  #tables = 0;

  constructor(
    readonly memory: PhysicalMemory,
    readonly shape: TableShape,
  ) {}

  read(table: bigint, level: number, base: bigint): void {
    const at = this.shape.host(table);
    const bytes = new Uint8Array(4096);
    this.#tables += 1;
    if (this.#tables > MAX_TABLES || this.runs.length >= MAX_RANGES) {
      this.isCut = true;
      return;
    }
    if (at === null || !this.memory.read(at, bytes)) return;
    const view = new DataView(bytes.buffer);
    const size = 1n << BigInt(12 + (level - 1) * 9);
    for (let index = 0; index < 512; index++) {
      const entry = view.getBigUint64(index * 8, true);
      if (entry === 0n || !this.shape.isPresent(entry)) continue;
      const start = base + BigInt(index) * size;
      if (level === 1 || this.shape.isLeaf(entry, level)) this.#leaf(entry, start, size);
      else this.read(entry & ADDRESS, level - 1, start);
    }
  }

  #leaf(entry: bigint, start: bigint, size: bigint): void {
    const target = entry & ADDRESS & ~(size - 1n);
    const permits = this.shape.permits(entry);
    const last = this.runs.at(-1);
    const follows =
      last !== undefined &&
      last.last + 1n === start &&
      last.target + (start - last.start) === target &&
      last.permits === permits &&
      last.size === size;
    if (follows) last.last = start + size - 1n;
    else this.runs.push({ start, last: start + size - 1n, target, permits, size });
  }
}

/** The ranges of the table at `root`; `isCut` when there were more than are shown. */
export function tableRanges(
  memory: PhysicalMemory,
  root: bigint,
  shape: TableShape,
): { ranges: TableRange[]; isCut: boolean } {
  const reader = new Reader(memory, shape);
  reader.read(root, shape.levels, 0n);
  const ranges = reader.runs.map(({ start, last, target, permits, size }) => ({
    start: hex(start),
    last: hex(last),
    target: hex(target),
    permits,
    pageSize: hex(size),
  }));
  return { ranges, isCut: reader.isCut };
}

const flag = (entry: bigint, bit: number, letter: string): string =>
  ((entry >> BigInt(bit)) & 1n) === 1n ? letter : '-';
const PS = 0x80n;

/** First stage: `levels` 4 or 5; `host` finds a guest's tables. */
export function firstStage(levels: number, host: TableShape['host']): TableShape {
  return {
    levels,
    isPresent: (entry) => (entry & 1n) !== 0n,
    isLeaf: (entry, level) => level <= 3 && (entry & PS) !== 0n,
    permits: (entry) => `r${flag(entry, 1, 'w')}${flag(entry, 5, 'A')}${flag(entry, 6, 'D')}`,
    host,
  };
}

export function secondStage(levels: number): TableShape {
  return {
    levels,
    isPresent: (entry) => (entry & 3n) !== 0n,
    isLeaf: (entry, level) => level <= 3 && (entry & PS) !== 0n,
    permits: (entry) =>
      `${flag(entry, 0, 'r')}${flag(entry, 1, 'w')}${flag(entry, 8, 'A')}${flag(entry, 9, 'D')}`,
    host: (address) => address,
  };
}
