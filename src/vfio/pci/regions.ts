/**
 * The BARs of a PCI device (vfio_pci_rdwr.c, and mmap of vfio_pci_core.c). The table of MSI-X is the kernel's: reads of
 * it find ones, writes are lost; a mapping shows it.
 */
import { refuse } from '../../base/errno.js';
import type { PciModel } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import type { StoreWidth } from '../../bus/region.js';
import type { UserMemory } from '../../iommufd/user-memory.js';
import type { MmapRequest, SharedPages } from '../../mem/task.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import { InfoCaps } from '../info-caps.js';
import { loadRegion, sharedPages, storeInto, storeRegion } from '../region-access.js';
import { indexOf, withinRegion, type RegionInfo } from '../region-info.js';
import { BARS, barLength, canMapBar, isMemoryBar } from './bars.js';
import { rules } from './rules.js';

const READ_WRITE = v.VFIO_REGION_INFO_FLAG_READ | v.VFIO_REGION_INFO_FLAG_WRITE;
/** A capability that is nothing but its header. */
const MSIX_MAPPABLE = new Uint8Array(v.vfio_info_cap_header.size);
v.vfio_info_cap_header.encode(
  { id: v.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, version: 1, next: 0 },
  MSIX_MAPPABLE,
);
const FILL = new Uint8Array(4096).fill(0xff);

export class PciRegions {
  readonly #model: PciModel;
  readonly #mapsRegisters: boolean;
  readonly #isMemoryEnabled: () => boolean;
  /** Which BAR has the table, -1: none; and where. */
  readonly msixBar: number;
  readonly msixStart: number;
  readonly msixEnd: number;

  constructor(model: PciModel, mapsRegisters: boolean, isMemoryEnabled: () => boolean) {
    this.#model = model;
    this.#mapsRegisters = mapsRegisters;
    this.#isMemoryEnabled = isMemoryEnabled;
    const { config } = model;
    const at = config.capability(r.PCI_CAP_ID_MSIX);
    const table = at === 0 ? 0 : config.read(at + r.PCI_MSIX_TABLE, 4);
    const entries = at === 0 ? 0 : (config.read(at + r.PCI_MSIX_FLAGS, 2) & r.PCI_MSIX_FLAGS_QSIZE) + 1;
    this.msixBar = at === 0 ? -1 : table & r.PCI_MSIX_TABLE_BIR;
    this.msixStart = (table & ~r.PCI_MSIX_TABLE_BIR) >>> 0;
    this.msixEnd = this.msixStart + entries * r.PCI_MSIX_ENTRY_SIZE;
  }

  /** Some BAR is of I/O ports. */
  get hasIo(): boolean {
    for (let bar = 0; bar < BARS; bar++) {
      if (barLength(this.#model, bar) > 0 && !isMemoryBar(this.#model, bar)) return true;
    }
    return false;
  }

  /** vfio_pci_ioctl_get_region_info */
  info(index: number): RegionInfo {
    const model = this.#model;
    if (index < BARS) {
      const size = barLength(model, index);
      if (size === 0) return { size: 0, flags: 0 };
      if (!this.#canMap(index)) return { size, flags: READ_WRITE };
      const flags = READ_WRITE | v.VFIO_REGION_INFO_FLAG_MMAP;
      if (index !== this.msixBar) return { size, flags };
      const caps = new InfoCaps();
      caps.add(MSIX_MAPPABLE);
      return { size, flags, caps };
    }
    // No device here has a ROM.
    if (index === v.VFIO_PCI_ROM_REGION_INDEX) return { size: 0, flags: 0 };
    if (index === v.VFIO_PCI_CONFIG_REGION_INDEX) return { size: model.config.size, flags: READ_WRITE };
    if (index === v.VFIO_PCI_VGA_REGION_INDEX) refuse(rules.region_vga, {});
    refuse(rules.region_index, { index });
  }

  /** vfio_pci_bar_rw for reading: as many of `count` bytes as there are. */
  load(user: UserMemory, index: number, offset: number, at: bigint, count: number): number {
    const region = this.#model.regions[index] ?? refuse(rules.load_none, { index });
    const size = region.image.length;
    if (offset >= size) refuse(rules.load_offset, { index, offset, size });
    const length = Math.min(count, size - offset);
    if (!this.#meetsTable(index, offset, length)) this.#loadPart(user, index, offset, at, length);
    else {
      const [start, end] = this.#tableWithin(offset, length);
      if (start > offset) this.#loadPart(user, index, offset, at, start - offset);
      fill(user, at + BigInt(start - offset), end - start);
      if (end < offset + length)
        this.#loadPart(user, index, end, at + BigInt(end - offset), offset + length - end);
    }
    return length;
  }

  #loadPart(user: UserMemory, bar: number, offset: number, at: bigint, length: number): void {
    if (!this.#answers(bar)) refuse(rules.load_disabled, { bar });
    loadRegion(user, this.#model.regions[bar]!, offset, at, length, rules.load_unwritable);
  }

  /** The same for writing. */
  store(user: UserMemory, index: number, offset: number, at: bigint, count: number): number {
    const region = this.#model.regions[index] ?? refuse(rules.store_none, { index });
    const size = region.image.length;
    if (offset >= size) refuse(rules.store_offset, { index, offset, size });
    const length = Math.min(count, size - offset);
    if (!this.#meetsTable(index, offset, length)) this.#storePart(user, index, offset, at, length);
    else {
      const [start, end] = this.#tableWithin(offset, length);
      if (start > offset) this.#storePart(user, index, offset, at, start - offset);
      if (end < offset + length)
        this.#storePart(user, index, end, at + BigInt(end - offset), offset + length - end);
    }
    return length;
  }

  #canMap(bar: number): boolean {
    const isCaught = this.#mapsRegisters || this.#model.regions[bar]?.kind === 'memory';
    return isCaught && canMapBar(this.#model, bar);
  }

  #storePart(user: UserMemory, bar: number, offset: number, at: bigint, length: number): void {
    if (!this.#answers(bar)) return refuseStore(user, bar, at);
    storeRegion(user, this.#model.regions[bar]!, offset, at, length, 8, rules.store_unreadable);
  }

  #answers(bar: number): boolean {
    return this.#isMemoryEnabled() || !isMemoryBar(this.#model, bar);
  }

  /** A store that no call makes: lost where nothing answers. */
  storeOne(bar: number, offset: number, width: StoreWidth, lo: number): void {
    if (this.#answers(bar)) storeInto(this.#model.regions[bar]!, offset, width, lo);
  }

  #meetsTable(bar: number, offset: number, length: number): boolean {
    return bar === this.msixBar && offset < this.msixEnd && offset + length > this.msixStart;
  }

  /** What of a range is the table: start, and the byte behind it. */
  #tableWithin(offset: number, length: number): readonly [start: number, end: number] {
    return [Math.max(this.msixStart, offset), Math.min(this.msixEnd, offset + length)];
  }

  /** vfio_pci_core_mmap */
  map({ offset, length, shared }: MmapRequest): SharedPages {
    const index = indexOf(offset);
    if (index >= v.VFIO_PCI_NUM_REGIONS) refuse(rules.map_index, { index });
    if (!shared) refuse(rules.map_private, { index });
    if (index >= v.VFIO_PCI_ROM_REGION_INDEX) refuse(rules.map_kind, { index });
    if (!this.#canMap(index)) refuse(rules.map_bar, { index });
    const region = this.#model.regions[index]!;
    const start = withinRegion(offset);
    const size = region.image.length;
    if (BigInt(start) + length > BigInt(size)) refuse(rules.map_range, { start, length, size });
    return sharedPages(region, start, Number(length), () => this.#answers(index));
  }
}

/** Nothing answers; what the user has is looked at before that is found. */
function refuseStore(user: UserMemory, bar: number, at: bigint): never {
  if (!user.task.mm.read(at, new Uint8Array(1))) refuse(rules.store_disabled_unreadable, { at });
  refuse(rules.store_disabled, { bar });
}

/** Ones, as from an address where nothing answers. */
function fill(user: UserMemory, at: bigint, length: number): void {
  for (let done = 0; done < length; done += FILL.length) {
    const part = FILL.subarray(0, Math.min(FILL.length, length - done));
    user.copyOut(at + BigInt(done), part, rules.load_table_unwritable);
  }
}
