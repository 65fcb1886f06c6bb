/**
 * An I/O page table that the kernel side fills: the bytes lie in physical memory, this class writes them.
 * Geometry, leaf choice, partial unmap and dirty reports are those of Linux' generic_pt, because programs see them.
 */
import { invariant, refuse } from '../base/errno.js';
import type { PhysicalMemory } from '../mem/physical.js';
import type { TableArena, TableQuota } from '../mem/table-store.js';
import { readAndClearDirty } from './dirty.js';
import { EMPTY, ITEMS_LG2, LEAF, READ, TABLE, WRITE, itemLg2, type PageTableFormat } from './format.js';
import { MapJob, mapRange, type MapStatus } from './map.js';
import { PageSizes } from './page-sizes.js';
import { Table } from './table.js';
import { UnmapJob, unmapRange } from './unmap.js';
import { Walk, walk, UNREADABLE, type WalkRoot } from './walk.js';
import { highWord, joinWords, lowWord, pow2 } from './words.js';

const rootNeedsMemory = {
  id: 'page-table.root-needs-memory',
  errno: 'ENOMEM',
  sentence: 'no memory for the root of a page table ({format})',
} as const;

export interface PageTableConfig {
  /** Width of the input and output addresses that the hardware can do. */
  readonly maxVaLg2: number;
  readonly maxOaLg2: number;
  readonly startingLevel: number;
  /** The leaf sizes that {@link PageTable.map} may use instead of all that the format has. */
  readonly pgsizeBitmap?: bigint;
  readonly quota?: TableQuota;
}

/** One entry on the way to a translation, for people. */
export interface WalkStep {
  readonly level: number;
  /** HPA of the entry. */
  readonly hpa: bigint;
  readonly entry: bigint;
  readonly kind: 'empty' | 'table' | 'leaf' | 'invalid' | 'unreadable';
  /** READ | WRITE of this entry and those above it. */
  readonly prot: number;
}

export class PageTable implements WalkRoot {
  readonly pgsizeBitmap: bigint;
  /** Inclusive. */
  readonly apertureStart = 0n;
  readonly apertureLast: bigint;
  readonly format: PageTableFormat;
  /** Called when the root has moved up: units that hold it have to load {@link rootHpa} and {@link topLevel} anew. */
  onRootChange: (() => void) | null = null;

  readonly #memory: PhysicalMemory;
  readonly #arena: TableArena;
  readonly #table: Table;
  readonly #oaLimit: bigint;
  readonly #mapJob = new MapJob();
  readonly #unmapJob = new UnmapJob();
  readonly #walk = new Walk();

  /** Throws ENOMEM. */
  constructor(memory: PhysicalMemory, format: PageTableFormat, config: PageTableConfig) {
    const { startingLevel, maxVaLg2: hardwareVaLg2 } = config;
    const { minTopLevel, maxTopLevel } = format;
    invariant(startingLevel >= minTopLevel && startingLevel <= maxTopLevel, 'page table starts at no level');
    const isBounded = !format.hasDynamicTop && startingLevel !== maxTopLevel;
    const formatVaLg2 = isBounded ? itemLg2(format, startingLevel) + ITEMS_LG2 : format.maxVaLg2;
    const maxVaLg2 = Math.min(formatVaLg2, hardwareVaLg2);
    const apertureLg2 = format.isSignExtended ? maxVaLg2 - 1 : maxVaLg2;
    const maxOaLg2 = Math.min(format.maxOaLg2, config.maxOaLg2);
    this.format = format;
    this.pgsizeBitmap = config.pgsizeBitmap ?? sizesOf(format, startingLevel, maxVaLg2, maxOaLg2);
    this.apertureLast = (1n << BigInt(apertureLg2)) - 1n;
    this.#oaLimit = 1n << BigInt(maxOaLg2);
    this.#memory = memory;
    this.#arena = memory.tables.openArena(config.quota ?? null);
    this.#table = new Table(memory, format, this.#arena, {
      maxVaLg2: apertureLg2,
      topLevel: startingLevel,
      sizes: new PageSizes(this.pgsizeBitmap),
    });
    if (this.#table.rootFrame === 0) refuse(rootNeedsMemory, { format: format.name });
  }

  get rootHpa(): bigint {
    return BigInt(this.#table.rootFrame) << 12n;
  }

  get rootHi(): number {
    return this.#table.rootFrame >>> 20;
  }

  get rootLo(): number {
    return this.#table.rootFrame << 12;
  }

  get topLevel(): number {
    return this.#table.topLevel;
  }

  /** Tables in use, and leaf items ever written or cleared. */
  get stats(): { readonly tables: number; readonly leafWrites: number } {
    return { tables: this.#arena.tables, leafWrites: this.#table.leafWrites };
  }

  /**
   * Maps `[iova, iova + length)` to `[hpa, hpa + length)`, in the largest leaves. All or nothing: what was mapped
   * before a failure is unmapped again (tables may stay). EADDRINUSE: something is mapped there. ERANGE: too wide
   * for the table. ENXIO: not aligned to the smallest leaf. EINVAL: no permission, or no length.
   */
  map(iova: bigint, hpa: bigint, length: bigint, prot: number): MapStatus {
    if ((prot & (READ | WRITE)) === 0 || length <= 0n) return 'EINVAL';
    if (iova > this.apertureLast || length > this.apertureLast - iova + 1n) return 'ERANGE';
    if (hpa > this.#oaLimit - length) return 'ERANGE';
    const table = this.#table;
    const { format } = table;
    const hpaHi = highWord(hpa);
    const hpaLo = lowWord(hpa);
    const smallest = (1 << table.sizes.smallestLg2) - 1;
    if (((lowWord(iova) | hpaLo | lowWord(length)) & smallest) !== 0) return 'ENXIO';

    const job = this.#mapJob;
    const start = this.#granules(iova);
    job.next = start;
    job.left = this.#granules(length);
    job.done = 0;
    job.oaHi = hpaHi;
    job.oaLo = hpaLo;
    job.attrHi = format.attrHi(prot);
    job.attrLo = format.attrLo(prot);
    const root = table.rootFrame;
    const status = mapRange(table, job);
    if (table.rootFrame !== root) this.onRootChange?.();
    if (status !== 'ok' && job.done > 0) this.#unmap(start, job.done);
    return status;
  }

  /** Unmaps; returns how many bytes from `iova` on are now unmapped (see unmap.ts: more, or fewer, than asked). */
  unmap(iova: bigint, length: bigint): bigint {
    if (length <= 0n || iova > this.apertureLast || length > this.apertureLast - iova + 1n) return 0n;
    const start = this.#granules(iova);
    const last = this.#granules(iova + length - 1n);
    // OURS: an address within a granule is in the middle of a leaf, or of nothing; either way nothing is unmapped.
    if (iova !== BigInt(start) << BigInt(this.format.granuleLg2)) return 0n;
    if (last >= this.#table.spanGranules(this.#table.topLevel)) return 0n;
    return BigInt(this.#unmap(start, last - start + 1)) << BigInt(this.format.granuleLg2);
  }

  /** The output address of exactly that byte; -1n when nothing is mapped there. */
  iovaToPhys(iova: bigint): bigint {
    const found = this.#walk;
    return this.#find(iova) ? joinWords(found.oaHi, found.oaLo) : -1n;
  }

  /** READ | WRITE of what is mapped at `iova`; 0 when nothing is. */
  protAt(iova: bigint): number {
    return this.#find(iova) ? this.#walk.prot & (READ | WRITE) : 0;
  }

  /** Reports dirty leaves (see dirty.ts for how much of one) and cleans them unless `noClear`. */
  readAndClearDirty(
    iova: bigint,
    length: bigint,
    noClear: boolean,
    visit: (iova: bigint, length: bigint) => void,
  ): void {
    const table = this.#table;
    const shift = BigInt(this.format.granuleLg2);
    const start = this.#granules(iova);
    const last = this.#granules(iova + length - 1n);
    if (length <= 0n || last >= table.spanGranules(table.topLevel)) return;
    readAndClearDirty(table, {
      start,
      last,
      noClear,
      visit: (at, count) => {
        visit(BigInt(at) << shift, BigInt(count) << shift);
      },
    });
  }

  /** Does to the leaf at `iova` what a device's write does; false when nothing is mapped there. */
  setDirty(iova: bigint): boolean {
    if (!this.#find(iova)) return false;
    const { atHi, atLo, entryHi, entryLo } = this.#walk;
    const { dirtyHi, dirtyLo } = this.format;
    return this.#memory.store64(atHi, atLo, entryHi | dirtyHi, entryLo | dirtyLo);
  }

  /** Every entry that a walk reads, from the root down. */
  trace(iova: bigint): WalkStep[] {
    const steps: WalkStep[] = [];
    const found = this.#walk;
    for (let stop = this.topLevel; stop >= 0; stop = found.level - 1) {
      walk(this.#memory, this.format, this, highWord(iova), lowWord(iova), found, stop);
      steps.push({
        level: found.level,
        hpa: joinWords(found.atHi, found.atLo),
        entry: joinWords(found.entryHi, found.entryLo),
        kind: kindName(found.kind),
        prot: found.prot & (READ | WRITE),
      });
      if (found.kind !== TABLE) break;
    }
    return steps;
  }

  /** Frees every table. The hardware must not use them any more. */
  destroy(): void {
    this.#arena.release();
  }

  #find(iova: bigint): boolean {
    const table = this.#table;
    if (this.#granules(iova) >= table.spanGranules(table.topLevel)) return false;
    return walk(this.#memory, this.format, this, highWord(iova), lowWord(iova), this.#walk);
  }

  #unmap(start: number, count: number): number {
    const job = this.#unmapJob;
    job.next = start;
    job.left = count;
    job.done = 0;
    unmapRange(this.#table, job);
    this.#arena.bump();
    return job.done;
  }

  /** Whole granules in a 64-bit value. */
  #granules(value: bigint): number {
    const { granuleLg2 } = this.format;
    return (highWord(value) >>> 0) * pow2[32 - granuleLg2]! + (lowWord(value) >>> granuleLg2);
  }
}

/** Every leaf size that a table of this shape can hold, as generic_pt computes a domain's pgsize_bitmap. */
function sizesOf(format: PageTableFormat, startingLevel: number, maxVaLg2: number, maxOaLg2: number): bigint {
  const levels = format.hasDynamicTop ? format.maxTopLevel : startingLevel;
  let bitmap = 0n;
  for (let level = 0; level <= levels && itemLg2(format, level) < maxVaLg2; level += 1) {
    bitmap |= format.possibleSizes(level);
  }
  // A leaf as large as the whole table is not allowed.
  return bitmap & ((1n << BigInt(Math.min(maxVaLg2 - 1, maxOaLg2))) - 1n);
}

function kindName(kind: number): WalkStep['kind'] {
  if (kind === LEAF) return 'leaf';
  if (kind === TABLE) return 'table';
  if (kind === EMPTY) return 'empty';
  return kind === UNREADABLE ? 'unreadable' : 'invalid';
}
