/**
 * A guest's first stage on a kernel-managed second one (Linux: drivers/iommu/intel/nested.c). Its tables are the
 * guest's, at guest-physical addresses; the guest says what it changed, and the driver knows where that is attached.
 */
import { refuse } from '../../../base/errno.js';
import { highWord, lowWord } from '../../../base/words.js';
import {
  IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
  IOMMU_VTD_INV_FLAGS_LEAF,
  IOMMU_VTD_S1_EAFE,
  IOMMU_VTD_S1_SRE,
  IOMMU_VTD_S1_WPE,
  iommu_hwpt_vtd_s1_invalidate,
  type IommuHwptVtdS1,
} from '../../../wire/uapi/iommufd.gen.js';
import {
  IOASIS_HWPT_INVALIDATE_DATA_RANGE,
  IOASIS_INVALIDATE_RANGE_LEAF,
  ioasis_hwpt_invalidate_range,
  isIoasisNumber,
} from '../../../wire/uapi/ioasis.js';
import type { PageFaultGroup } from '../../iopf.js';
import type { NestedDomain, UserDataArray, ViommuCore } from '../../unit.js';
import { PE_EAFE, PE_SRE, PE_WPE } from '../structures.js';
import type { VtdDevice } from './device.js';
import { nestedEntry, type FirstStageRoot } from './entry.js';
import { flushEachPlace, flushFirstStage } from './flush.js';
import type { PasidEntry } from './pasid-table.js';
import { Places } from './places.js';
import type { UserStage } from './user-stage.js';
import type { SecondStage } from './second-stage.js';
import type { VtdUnit } from './unit.js';
import { rules } from './rules.js';

const ADDR_WIDTH_4LEVEL = 48;
const ADDR_WIDTH_5LEVEL = 57;
const U64_MAX = (1n << 64n) - 1n;
const PAGE_LG2 = 12n;

export class VtdNested implements NestedDomain {
  readonly kind = 'nested';
  readonly places = new Places();
  iopfHandler: ((group: PageFaultGroup) => void) | null = null;

  constructor(
    readonly unit: VtdUnit,
    readonly parent: SecondStage | UserStage,
    /** Null: nested directly on its parent. */
    readonly viommu: ViommuCore | null,
    readonly config: IommuHwptVtdS1,
  ) {
    parent.nested.add(this);
  }

  /** The second stage has to suit the unit; the first is looked at when its entry is made. */
  checkCompatible(device: VtdDevice): void {
    this.parent.checkCompatible(device);
  }

  /** intel_pasid_setup_nested. */
  checkEntry({ unit }: VtdDevice): void {
    const { capabilities, name } = unit;
    const { addr_width, flags } = this.config;
    if (addr_width === ADDR_WIDTH_5LEVEL) {
      if (!capabilities.hasFiveLevelFirstStage) refuse(rules.vtd_nested_no_five_levels, { unit: name });
    } else if (addr_width !== ADDR_WIDTH_4LEVEL) {
      refuse(rules.vtd_nested_width, { addr_width });
    }
    if ((flags & BigInt(IOMMU_VTD_S1_SRE)) !== 0n && !capabilities.supervisorRequests)
      refuse(rules.vtd_nested_supervisor, { unit: name, flags });
    if ((flags & BigInt(IOMMU_VTD_S1_EAFE)) !== 0n && !capabilities.extendedAccessed)
      refuse(rules.vtd_nested_accessed, { unit: name, flags });
  }

  entryFor({ unit }: VtdDevice): PasidEntry {
    const { parent } = this;
    return nestedEntry(this.#root(), parent.root, {
      did: this.places.of(unit)!.did,
      coherentWalk: parent.coherentWalk,
      forceSnoop: parent.forceSnoop,
    });
  }

  /** OURS: the low bits of pgtbl_addr are dropped; Linux lets them through into SRE and its neighbours. */
  #root(): FirstStageRoot {
    const { pgtbl_addr, addr_width } = this.config;
    const flags = lowWord(this.config.flags);
    const hasSupervisor = (flags & IOMMU_VTD_S1_SRE) !== 0;
    return {
      rootHi: highWord(pgtbl_addr),
      rootLo: lowWord(pgtbl_addr) & -4096,
      levels: addr_width === ADDR_WIDTH_5LEVEL ? 5 : 4,
      flags:
        (hasSupervisor ? PE_SRE : 0) |
        (hasSupervisor && (flags & IOMMU_VTD_S1_WPE) !== 0 ? PE_WPE : 0) |
        ((flags & IOMMU_VTD_S1_EAFE) !== 0 ? PE_EAFE : 0),
    };
  }

  /** Entries before a bad one take effect and are counted. */
  readonly invalidate = (array: UserDataArray): void => {
    if (array.type === IOASIS_HWPT_INVALIDATE_DATA_RANGE) this.#invalidateRanges(array);
    else if (isIoasisNumber(array.type)) refuse(rules.ioasis_invalidate_type, { type: array.type });
    else this.#invalidatePages(array);
  };

  /** intel_nested_cache_invalidate_user. */
  #invalidatePages(array: UserDataArray): void {
    const type = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1;
    if (array.type !== type) refuse(rules.vtd_invalidate_type, { type: array.type });
    for (let index = 0; index < array.entryCount; index += 1) {
      const entry = array.readEntry(index, iommu_hwpt_vtd_s1_invalidate, type, '__reserved');
      const { addr, npages, flags, __reserved } = entry;
      if ((flags & ~IOMMU_VTD_INV_FLAGS_LEAF) !== 0) refuse(rules.vtd_invalidate_flags, { index, flags });
      if (__reserved !== 0) refuse(rules.vtd_invalidate_reserved, { index, __reserved });
      if ((addr & 0xfffn) !== 0n) refuse(rules.vtd_invalidate_alignment, { index, addr });
      if (npages === U64_MAX && addr !== 0n) refuse(rules.vtd_invalidate_everything, { index, addr });
      const last = BigInt.asUintN(64, addr + (npages << PAGE_LG2) - 1n);
      flushFirstStage(this.places, addr, last, flags !== 0);
      array.done = index + 1;
    }
  }

  /** ioasis' own: a range of the address space, wherever it is attached. */
  #invalidateRanges(array: UserDataArray): void {
    for (let index = 0; index < array.entryCount; index += 1) {
      const entry = array.readGrowing(index, ioasis_hwpt_invalidate_range, '__reserved');
      const { start, last, flags, __reserved } = entry;
      if ((flags & ~IOASIS_INVALIDATE_RANGE_LEAF) !== 0)
        refuse(rules.ioasis_invalidate_flags, { index, flags });
      if (__reserved !== 0) refuse(rules.ioasis_invalidate_reserved, { index, __reserved });
      if (last < start) refuse(rules.ioasis_invalidate_order, { index, start, last });
      flushEachPlace(this.places, start, last, flags !== 0);
      array.done = index + 1;
    }
  }

  free(): void {
    this.parent.nested.delete(this);
    // A table at addresses of a process stands on a stage of its own.
    if ('space' in this.parent) this.parent.free();
  }
}
