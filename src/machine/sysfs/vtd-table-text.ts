/** A page table of VT-d as Linux prints it: a line for each leaf, with the entries that lead there. */
import { prefixedHex as hex } from '../../base/hex.js';

export interface TableEntries {
  /** 64-bit words; null where there is no memory. */
  words(at: bigint, count: number): readonly bigint[] | null;
}

const ENTRIES = 512;
const STRIDE = 9;
/** Of a page number. */
const PAGE_DIGITS = 13;
const LEVELS = 5;
const ADDRESS = 0x000f_ffff_ffff_f000n;
const PRESENT = 3n;
const LARGE = 1n << 7n;
/** Lines at most; OURS: Linux has no limit, and a table that leads to itself has no end. */
const MAX_LINES = 1 << 18;

const header = ['PML5E', 'PML4E', 'PDPE', 'PDE'].map((name) => name.padEnd(18)).join('\t');

export class TableText {
  readonly #entries: TableEntries;
  readonly #root: bigint;
  readonly #levels: number;
  readonly #lines: string[] = [];
  /** Entries by level, from 1. */
  readonly #path: bigint[] = Array.from({ length: LEVELS + 1 }, () => 0n);

  constructor(entries: TableEntries, root: bigint, levels: number) {
    this.#entries = entries;
    this.#root = root;
    this.#levels = Math.min(levels, LEVELS);
  }

  text(): string {
    this.#lines.push(`${'IOVA_PFN'.padEnd(17)}\t${header}\tPTE\n`);
    this.#walk(this.#root, this.#levels, 0n);
    return this.#lines.join('');
  }

  /** `page`: the page number that the table begins at. */
  #walk(table: bigint, level: number, page: bigint): void {
    const entries = this.#entries.words(table, ENTRIES) ?? [];
    const step = 1n << BigInt((level - 1) * STRIDE);
    for (const [index, entry] of entries.entries()) {
      if ((entry & PRESENT) === 0n || this.#lines.length > MAX_LINES) continue;
      const at = page + step * BigInt(index);
      this.#path[level] = entry;
      if (level === 1 || (entry & LARGE) !== 0n) this.#leaf(at);
      else this.#walk(entry & ADDRESS, level - 1, at);
      this.#path[level] = 0n;
    }
  }

  #leaf(page: bigint): void {
    const [, pte = 0n, pde = 0n, pdpe = 0n, pml4e = 0n, pml5e = 0n] = this.#path;
    const columns = [pml5e, pml4e, pdpe].map((entry) => hex(entry));
    if (pde !== 0n) columns.push(hex(pde));
    if (pde !== 0n && pte !== 0n) columns.push(hex(pte));
    this.#lines.push(`${hex(page, PAGE_DIGITS)} |\t${columns.join('\t')}\n`);
  }
}
