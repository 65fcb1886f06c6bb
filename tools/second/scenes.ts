/**
 * Tables for three devices, built by ioasis' own page-table code, and the addresses to try on them. Some scenes are
 * spoiled in a few places afterwards: reserved bits, misaligned large pages, pointers to nowhere, entries that are gone.
 */
import type { PhysicalMemory } from '#ioasis/mem/physical.js';
import type { TableArena } from '#ioasis/mem/table-store.js';
import { READ, WRITE } from '#ioasis/pt/format.js';
import { vtdss } from '#ioasis/pt/formats/vtdss.js';
import { x86 } from '#ioasis/pt/formats/x86.js';
import { PageTable } from '#ioasis/pt/page-table.js';
import type { Random } from '../differential/random.js';
import { ACCESS_BYTES, MEMORY_BYTES, READERS, REQUESTERS, WRITERS, type Access } from './side.js';

/** How a unit is used: what its root table and its page tables are. */
export type Mode = 'legacy' | 'second' | 'first';

export interface Scene {
  readonly mode: Mode;
  /** Of RTADDR_REG. */
  readonly root: bigint;
  /** What was put over entries. */
  readonly spoils: readonly bigint[];
  readonly accesses: readonly Access[];
  /** Gives the memory back. */
  free(): void;
}

interface Range {
  readonly iova: bigint;
  readonly length: bigint;
}

/** Data lies from here on. */
export const DATA = 0x40_0000n;
const PAGE = 0x1000n;
const MEGA = 0x20_0000n;
const GIGA = 0x4000_0000n;
const NOWHERE = 0x7_0000_0000n;
const SCALABLE = 1n << 10n;
/** PASID entry: PWSNP, without which the unit may set no bits. */
const PWSNP = 1n << 23n;
const RANGES = 6;
const ACCESSES = 40;

const address = (random: Random, bits: number): bigint =>
  BigInt.asUintN(bits, (BigInt(random.next()) << 32n) | BigInt(random.next()));

class Builder {
  readonly #arena: TableArena;
  readonly #tables: PageTable[] = [];
  /** What each requester's table maps. */
  readonly #ranges = new Map<number, readonly Range[]>();
  /** Entries that requests meet. */
  readonly #path: bigint[] = [];
  readonly #width: 39 | 48;

  constructor(
    readonly mode: Mode,
    readonly memory: PhysicalMemory,
    readonly random: Random,
  ) {
    this.#arena = memory.tables.openArena();
    this.#width = mode === 'first' || random.chance(60) ? 48 : 39;
  }

  build(): Scene {
    const { random, mode } = this;
    const root = this.#frame();
    const tables = [this.#table(), this.#table()];
    for (const source of REQUESTERS) {
      const isPassThrough = random.chance(8);
      const index = random.below(tables.length);
      const { at, ranges } = tables[index]!;
      this.#ranges.set(source, ranges);
      const did = BigInt(index + 1);
      if (mode === 'legacy') this.#legacy(root, source, at, did, isPassThrough);
      else this.#scalable(root, source, at, did, isPassThrough);
    }
    const spoils = random.chance(50) ? Array.from({ length: 1 + random.below(4) }, () => this.#spoil()) : [];
    const accesses = Array.from({ length: ACCESSES }, () => this.#access());
    return {
      mode,
      root: mode === 'legacy' ? root : root | SCALABLE,
      spoils,
      accesses,
      free: () => {
        for (const table of this.#tables) table.destroy();
        this.#arena.release();
      },
    };
  }

  #frame(): bigint {
    return BigInt(this.#arena.allocate(12)) << 12n;
  }

  #put(hpa: bigint, value: bigint): void {
    const [hi, lo] = [Number(BigInt.asIntN(32, value >> 32n)), Number(BigInt.asIntN(32, value))];
    this.memory.store64(0, Number(hpa), hi, lo);
  }

  #get(hpa: bigint): bigint {
    this.memory.load64(0, Number(hpa));
    return (BigInt(this.memory.loadedHi >>> 0) << 32n) | BigInt(this.memory.loadedLo >>> 0);
  }

  /** Where the table below entry `at` is; makes one if there is none. */
  #below(at: bigint): bigint {
    if (this.#get(at) === 0n) this.#put(at, this.#frame() | 1n);
    this.#path.push(at);
    return this.#get(at) & ~0xfffn;
  }

  #legacy(root: bigint, source: number, at: bigint, did: bigint, isPassThrough: boolean): void {
    const entry = this.#below(root) + BigInt(source & 0xff) * 16n;
    this.#put(entry + 8n, BigInt((this.#width - 30) / 9) | (did << 8n));
    this.#put(entry, at | (isPassThrough ? 8n : 0n) | 1n);
    this.#path.push(entry, entry + 8n);
  }

  #scalable(root: bigint, source: number, at: bigint, did: bigint, isPassThrough: boolean): void {
    const half = root + ((source & 0x80) === 0 ? 0n : 8n);
    const context = this.#below(half) + BigInt(source & 0x7f) * 32n;
    const entry = this.#below(this.#below(context));
    this.#path.push(context + 8n, entry, entry + 16n);
    const isFirst = this.mode === 'first';
    const kind = isPassThrough ? 4n : isFirst ? 1n : 2n;
    const width = BigInt((this.#width - 30) / 9) << 2n;
    this.#put(entry + 16n, isFirst ? at : 0n);
    this.#put(entry + 8n, did | PWSNP);
    this.#put(entry, (isFirst ? 0n : at) | width | (kind << 6n) | 1n);
  }

  /** A page table with a few mappings; its root. */
  #table(): { at: bigint; ranges: Range[] } {
    const { random, memory, mode } = this;
    const isFirst = mode === 'first';
    const table = new PageTable(memory, isFirst ? x86 : vtdss, {
      startingLevel: this.#width === 39 ? 2 : 3,
      maxVaLg2: this.#width,
      maxOaLg2: 48,
      pgsizeBitmap: PAGE | MEGA | GIGA,
    });
    this.#tables.push(table);
    const ranges: Range[] = [];
    for (let count = 0; count < RANGES; count += 1) {
      const [size, most] = random.pick([
        [PAGE, 8],
        [PAGE, 8],
        [MEGA, 2],
        [GIGA, 1],
      ] as const);
      const room = size === GIGA ? GIGA : BigInt(MEMORY_BYTES) - DATA - size * BigInt(most);
      const length = size * BigInt(1 + random.below(most));
      const iova = address(random, this.#width - 1) & ~(size - 1n);
      const hpa = size === GIGA ? 0n : DATA + ((address(random, 32) % room) & ~(size - 1n));
      const prot = random.pick([READ, READ | WRITE, READ | WRITE, ...(isFirst ? [] : [WRITE])]);
      if (table.map(iova, hpa, length, prot) !== 'ok') continue;
      ranges.push({ iova, length });
      for (const step of table.trace(iova)) this.#path.push(step.hpa);
      if (isFirst && random.chance(50)) this.#makeFresh(table, iova);
    }
    return { at: table.rootHpa, ranges };
  }

  /** Clears accessed and dirty bits on the way to `iova`, for the unit to set. */
  #makeFresh(table: PageTable, iova: bigint): void {
    for (const { hpa } of table.trace(iova)) {
      if (this.random.chance(50)) this.#put(hpa, this.#get(hpa) & ~0x60n);
    }
  }

  /** Changes an entry; what it is now. */
  #spoil(): bigint {
    const { random } = this;
    const at = random.pick(this.#path);
    const old = this.#get(at);
    const changes: (() => bigint)[] = [
      () => 0n,
      () => old ^ (1n << BigInt(random.below(64))),
      () => old ^ (1n << BigInt(random.below(12))),
      () => old | 0x80n,
      () => old & ~3n,
      () => old & ~2n,
      () => old & ~4n,
      () => (old & 0xfffn) | NOWHERE,
      () => (old & 0xfffn) | 0xfee0_0000n,
      () => (old & 0xfffn) | (at & ~0xfffn),
    ];
    const value = random.pick(changes)();
    this.#put(at, value);
    return value;
  }

  #access(): Access {
    const { random } = this;
    const isWrite = random.chance(50);
    const source = random.pick<number>(isWrite ? WRITERS : READERS);
    const iova = this.#iova(random.pick(this.#ranges.get(source)!)) & ~BigInt(ACCESS_BYTES - 1);
    // The largest pages begin at HPA 0, and a PC has firmware at the end of its first MiB.
    const inGiga = iova & (GIGA - 1n);
    const isFirmware = inGiga >= 0xa_0000n && inGiga < 0x10_0000n;
    return { source, isWrite, iova: isFirmware ? iova | 0x10_0000n : iova };
  }

  #iova(range: Range): bigint {
    const { random } = this;
    const inside = address(random, 62) % range.length;
    if (random.chance(40)) return range.iova + (inside % (BigInt(MEMORY_BYTES) - DATA));
    return random.pick([
      () => range.iova,
      () => range.iova + range.length - 1n,
      () => range.iova + inside,
      () => range.iova + range.length,
      () => BigInt.asUintN(64, range.iova - 1n),
      () => address(random, random.pick([32, 39, 48, 57, 64])),
      () => 0xfee0_0000n | address(random, 20),
      () => BigInt.asUintN(64, range.iova | (-1n << BigInt(random.pick([39, 47, 48, 57])))),
    ])();
  }
}

/** A scene in `memory`, which already has the data. */
export function buildScene(mode: Mode, memory: PhysicalMemory, random: Random): Scene {
  return new Builder(mode, memory, random).build();
}
