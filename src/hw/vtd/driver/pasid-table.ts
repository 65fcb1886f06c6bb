/**
 * A device's PASID directory and tables (VT-d 9.4 to 9.6; Linux: intel_pasid_alloc_table, intel_pasid_get_entry): the
 * directory for as many PASIDs as the device has, the tables when a PASID of theirs is used first.
 * Invariant: which table holds an entry is read from the directory, as the hardware does.
 */
import { Bug } from '../../../base/errno.js';
import type { PhysicalMemory } from '../../../mem/physical.js';
import type { TableArena } from '../../../mem/table-store.js';
import { PASID_DIR_ENTRY, PASID_ENTRY, PASID_TABLE_LG2, PE_DID_MASK, PRESENT } from '../structures.js';

const PAGE_LG2 = 12;
const DIR_ENTRY_LG2 = 3;
/** A directory that PDTS calls 0 has this many entries, as lg2. */
const SMALLEST_DIR_LG2 = 7;

/** One PASID entry as the driver writes it: eight 64-bit words, of which it uses three. */
export interface PasidEntry {
  /** Words 0 to 5; the others are 0. */
  readonly w0: number;
  readonly w1: number;
  readonly w2: number;
  readonly w4: number;
  readonly w5: number;
}

export class PasidTable {
  /** PDTS: the directory has 2^(7 + PDTS) entries. */
  readonly pdts: number;
  readonly #memory: PhysicalMemory;
  readonly #arena: TableArena;
  readonly #directory: number;

  /** Room for PASIDs below `maxPasids`; 0 stands for the one that requests without PASID use. */
  constructor(memory: PhysicalMemory, maxPasids: number) {
    this.#memory = memory;
    this.#arena = memory.tables.openArena();
    const bytesLg2 = Math.ceil(Math.log2(Math.max(1, maxPasids))) - PASID_TABLE_LG2 + DIR_ENTRY_LG2;
    const sizeLg2 = Math.max(PAGE_LG2, bytesLg2);
    this.pdts = sizeLg2 - DIR_ENTRY_LG2 - SMALLEST_DIR_LG2;
    this.#directory = this.#arena.allocate(sizeLg2);
    if (this.#directory === 0) throw new Bug('no memory for a PASID directory');
  }

  /** Blocks of memory that directory and tables take. */
  get blocks(): number {
    return this.#arena.tables;
  }

  get directoryHi(): number {
    return this.#directory >>> 20;
  }

  get directoryLo(): number {
    return this.#directory << PAGE_LG2;
  }

  /** Makes the table of `pasid` if there is none yet; false when there is no memory. */
  reserve(pasid: number): boolean {
    if (this.#tableOf(pasid) !== 0) return true;
    const frame = this.#arena.allocate(PASID_TABLE_LG2 + 6);
    if (frame === 0) return false;
    const lo = this.#directoryEntryLo(pasid);
    this.#memory.store64(this.directoryHi, lo, frame >>> 20, (frame << PAGE_LG2) | PRESENT);
    return true;
  }

  /** Word `index` (of 16) of the entry; 0 where there is no table. */
  word(pasid: number, index: number): number {
    const table = this.#tableOf(pasid);
    if (table === 0) return 0;
    this.#memory.load64(table >>> 20, this.#entryLo(table, pasid) + (index >>> 1) * 8);
    return (index & 1) === 0 ? this.#memory.loadedLo : this.#memory.loadedHi;
  }

  isPresent(pasid: number): boolean {
    return (this.word(pasid, 0) & PRESENT) !== 0;
  }

  did(pasid: number): number {
    return this.word(pasid, 2) & PE_DID_MASK;
  }

  /** Writes a whole entry; what makes it present comes last. */
  write(pasid: number, entry: PasidEntry): void {
    const table = this.#tableOf(pasid);
    const hi = table >>> 20;
    const lo = this.#entryLo(table, pasid);
    for (let at = PASID_ENTRY - 8; at > 16; at -= 8) this.#memory.store64(hi, lo + at, 0, 0);
    this.#memory.store64(hi, lo + 16, entry.w5, entry.w4);
    this.#memory.store64(hi, lo + 8, 0, entry.w2);
    this.#memory.store64(hi, lo, entry.w1, entry.w0);
  }

  /** Replaces word `index` of an entry that is there. */
  setWord(pasid: number, index: number, value: number): void {
    const table = this.#tableOf(pasid);
    const hi = table >>> 20;
    const lo = this.#entryLo(table, pasid) + (index >>> 1) * 8;
    const isLow = (index & 1) === 0;
    this.#memory.load64(hi, lo);
    const { loadedHi, loadedLo } = this.#memory;
    this.#memory.store64(hi, lo, isLow ? loadedHi : value, isLow ? value : loadedLo);
  }

  free(): void {
    this.#arena.release();
  }

  #entryLo(table: number, pasid: number): number {
    return (table << PAGE_LG2) + (pasid & ((1 << PASID_TABLE_LG2) - 1)) * PASID_ENTRY;
  }

  /** A directory is aligned to its size, so only the low word changes. */
  #directoryEntryLo(pasid: number): number {
    return this.directoryLo + (pasid >>> PASID_TABLE_LG2) * PASID_DIR_ENTRY;
  }

  /** Frame of the table; 0 when there is none. */
  #tableOf(pasid: number): number {
    this.#memory.load64(this.directoryHi, this.#directoryEntryLo(pasid));
    const { loadedHi, loadedLo } = this.#memory;
    return (loadedLo & PRESENT) === 0 ? 0 : (loadedHi << 20) | (loadedLo >>> PAGE_LG2);
  }
}

/** No entry: requests with this PASID are blocked. */
export const NO_ENTRY: PasidEntry = { w0: 0, w1: 0, w2: 0, w4: 0, w5: 0 };
