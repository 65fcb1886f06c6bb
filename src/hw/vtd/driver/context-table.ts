/**
 * The root table and the context tables below it, in scalable mode (VT-d 9.1 and 9.3; Linux: iommu_context_addr,
 * context_entry_set_pasid_table). A root entry has a pointer for each half of its bus; tables are made on demand.
 */
import { Bug } from '../../../base/errno.js';
import type { PhysicalMemory } from '../../../mem/physical.js';
import type { TableArena } from '../../../mem/table-store.js';
import {
  PRESENT,
  ROOT_ENTRY,
  SM_CONTEXT_ENTRY,
  SM_CTX_DTE,
  SM_CTX_PASIDE,
  SM_CTX_PDTS_SHIFT,
  SM_CTX_PRE,
} from '../structures.js';
import type { VtdDevice } from './device.js';

const PAGE_LG2 = 12;
const HALF_BUS = 128;

export class ContextTable {
  readonly #memory: PhysicalMemory;
  readonly #arena: TableArena;
  readonly #root: number;

  constructor(memory: PhysicalMemory, arena: TableArena) {
    this.#memory = memory;
    this.#arena = arena;
    this.#root = arena.allocate(PAGE_LG2);
    if (this.#root === 0) throw new Bug('no memory for a root table');
  }

  get rootHpa(): bigint {
    return BigInt(this.#root) << BigInt(PAGE_LG2);
  }

  /** Points the requester id at the device's PASID directory. Requests without PASID use PASID 0 of it. */
  set(device: VtdDevice): void {
    const { pasids, sourceId } = device;
    const table = this.#tableFor(sourceId);
    const at = entryLo(table, sourceId);
    const flags =
      PRESENT |
      (device.atsEnabled ? SM_CTX_DTE : 0) |
      (device.maxPasids > 0 ? SM_CTX_PASIDE : 0) |
      (device.priEnabled ? SM_CTX_PRE : 0) |
      (pasids.pdts << SM_CTX_PDTS_SHIFT);
    this.#writeRest(table, at);
    this.#memory.store64(table >>> 20, at, pasids.directoryHi, pasids.directoryLo | flags);
  }

  /** Blocks the requester id; the entry stays as it is until {@link clear}. */
  clearPresent(sourceId: number): void {
    const table = this.#tableFor(sourceId);
    const at = entryLo(table, sourceId);
    this.#memory.load64(table >>> 20, at);
    const { loadedHi, loadedLo } = this.#memory;
    this.#memory.store64(table >>> 20, at, loadedHi, loadedLo & ~PRESENT);
  }

  clear(sourceId: number): void {
    const table = this.#tableFor(sourceId);
    const at = entryLo(table, sourceId);
    this.#writeRest(table, at);
    this.#memory.store64(table >>> 20, at, 0, 0);
  }

  #writeRest(table: number, at: number): void {
    for (let rest = 8; rest < SM_CONTEXT_ENTRY; rest += 8)
      this.#memory.store64(table >>> 20, at + rest, 0, 0);
  }

  /** Frame of the context table of `sourceId`, made if there is none. */
  #tableFor(sourceId: number): number {
    const isUpper = (sourceId & 0xff) >= HALF_BUS;
    const lo = (this.#root << PAGE_LG2) + (sourceId >>> 8) * ROOT_ENTRY + (isUpper ? 8 : 0);
    const hi = this.#root >>> 20;
    this.#memory.load64(hi, lo);
    const { loadedHi, loadedLo } = this.#memory;
    if ((loadedLo & PRESENT) !== 0) return (loadedHi << 20) | (loadedLo >>> PAGE_LG2);
    const frame = this.#arena.allocate(PAGE_LG2);
    if (frame === 0) throw new Bug('no memory for a context table');
    this.#memory.store64(hi, lo, frame >>> 20, (frame << PAGE_LG2) | PRESENT);
    return frame;
  }
}

function entryLo(table: number, sourceId: number): number {
  return (table << PAGE_LG2) + (sourceId & (HALF_BUS - 1)) * SM_CONTEXT_ENTRY;
}
