/**
 * A container whose domain is a nesting parent (VFIO_TYPE1_NESTING_IOMMU): PASIDs that it was given, and the guest's page
 * tables that are bound to them, on every device of the container at once. The guest's tables lie at addresses of the
 * container's address space, and their faults go to the device's own regions. A table may also be bound to no PASID but to
 * the requester id: as PASID 0, which nobody is given.
 */
import { refuse } from '../../base/errno.js';
import { IOMMU_NO_PASID, type AttachHandle, type IommuGroup } from '../../hw/group.js';
import { respondGroup, type PageFaultGroup } from '../../hw/iopf.js';
import { PageResponseCode, type DmaDevice, type NestedDomain, type PagingDomain } from '../../hw/unit.js';
import type { UserData, UserDataArray } from '../../hw/unit.js';
import type { Call } from '../../iommufd/call.js';
import type { Env } from '../../iommufd/env.js';
import { PAGE_SIZE, U64_MAX } from '../../iommufd/units.js';
import {
  IOMMU_HWPT_DATA_VTD_S1,
  IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
  IOMMU_VTD_INV_FLAGS_LEAF,
  IOMMU_VTD_S1_EAFE,
  IOMMU_VTD_S1_SRE,
  IOMMU_VTD_S1_WPE,
  iommu_hwpt_vtd_s1,
  type IommuHwptVtdS1,
} from '../../wire/uapi/iommufd.gen.js';
import * as u from '../../wire/uapi/vfio-nesting.js';
import { FaultRegions } from './fault-regions.js';
import type { BindData, InvalidateInfo } from './payload.js';
import { rules } from './rules.js';

/** As many as the proposals let a process have. */
const QUOTA = 1000;
const VTD_FLAGS = u.IOMMU_SVA_VTD_GPASID_SRE | u.IOMMU_SVA_VTD_GPASID_EAFE | u.IOMMU_SVA_VTD_GPASID_WPE;

/** Where the tables of one container's devices stand. */
export interface NestingParents {
  /** Groups, with the domain that each of them is in. */
  places(): Iterable<{ readonly group: IommuGroup; readonly domain: PagingDomain }>;
}

interface Binding {
  readonly pasid: number;
  /** One for each group, since units may differ. */
  readonly tables: BoundTable[];
}

interface BoundTable {
  readonly group: IommuGroup;
  readonly parent: PagingDomain;
  readonly handle: AttachHandle & { readonly domain: NestedDomain };
}

export class Nesting {
  readonly #pasids = new Set<number>();
  readonly #bindings = new Map<number, Binding>();
  /** Of devices that are open. */
  readonly #faults = new Map<DmaDevice, FaultRegions>();

  constructor(readonly parents: NestingParents) {}

  /** `device` has been opened: where its faults go. */
  openFaults(env: Env, device: DmaDevice): FaultRegions {
    const made = FaultRegions.open(env, device.name);
    this.#faults.set(device, made);
    return made;
  }

  closeFaults(device: DmaDevice): void {
    this.#faults.get(device)?.end();
    this.#faults.delete(device);
  }

  /** The lowest from `min` to `max` that is free and that every device has. */
  allocPasid(min: number, max: number): number {
    let limit = max;
    for (const { group } of this.parents.places())
      for (const { maxPasids } of group.devices) limit = Math.min(limit, maxPasids - 1);
    if (this.#pasids.size >= QUOTA) refuse(rules.nesting_pasid_quota, { count: QUOTA });
    for (let pasid = Math.max(1, min); pasid <= limit; pasid++) {
      if (this.#pasids.has(pasid) || this.#isUsed(pasid)) continue;
      this.#pasids.add(pasid);
      return pasid;
    }
    refuse(rules.nesting_pasid_none, { min, max });
  }

  /** Somebody else has attached it, to one of these devices. */
  #isUsed(pasid: number): boolean {
    for (const { group } of this.parents.places()) if (group.handle(pasid) !== null) return true;
    return false;
  }

  freePasids(min: number, max: number): void {
    for (const pasid of this.#pasids) {
      if (pasid >= min && pasid <= max && this.#bindings.has(pasid))
        refuse(rules.nesting_pasid_bound, { pasid });
    }
    for (const pasid of [...this.#pasids]) if (pasid >= min && pasid <= max) this.#pasids.delete(pasid);
  }

  /** On all devices, or on none. */
  bind(call: Call, data: BindData): void {
    const pasid = checkBind(data);
    if (pasid !== IOMMU_NO_PASID && !this.#pasids.has(pasid)) refuse(rules.nesting_bind_pasid, { pasid });
    if (this.#bindings.has(pasid)) refuse(rules.nesting_bind_twice, { pasid });
    const binding: Binding = { pasid, tables: [] };
    call.tx.onAbort(() => this.#end(binding));
    for (const { group, domain: parent } of this.parents.places()) {
      // The devices of a group are behind one unit, and are attached together.
      const device = group.devices[0]!;
      const { unit } = device;
      if (unit.allocNested === undefined) refuse(rules.nesting_bind_unit, { unit: unit.name });
      const domain = unit.allocNested(device, parent, 0, new TableData(data));
      const handle = { domain };
      binding.tables.push({ group, parent, handle });
      this.#listen(domain, group);
      if (pasid === IOMMU_NO_PASID) group.replace(domain, handle);
      else group.attachPasid(domain, device, pasid, handle);
    }
    this.#bindings.set(pasid, binding);
  }

  /** Where all devices of a group can ask for pages, they may; faults that end a request are told in any case. */
  #listen(domain: NestedDomain, { devices }: IommuGroup): void {
    domain.faultHandler = (handle, fault) => this.#faults.get(fault.device)?.report(handle, fault);
    if (devices.every((device) => device.capable('PAGE_REQUESTS')))
      domain.iopfHandler = (group) => this.#deliver(group);
  }

  #deliver(group: PageFaultGroup): void {
    const faults = this.#faults.get(group.device);
    if (faults === undefined) respondGroup(group, PageResponseCode.INVALID);
    else faults.deliver(group);
  }

  unbind(pasid: number): void {
    const binding = this.#bindings.get(pasid);
    if (binding === undefined) refuse(rules.nesting_unbind_pasid, { pasid });
    this.#bindings.delete(pasid);
    this.#end(binding);
  }

  #end({ pasid, tables }: Binding): void {
    for (const { group, parent, handle } of tables) {
      const isAttached = group.handle(pasid) === handle;
      if (isAttached && pasid === IOMMU_NO_PASID) group.replace(parent, { domain: parent });
      else if (isAttached) group.detachPasid(pasid);
      for (const faults of this.#faults.values()) faults.abandon(handle);
      handle.domain.free();
    }
    tables.length = 0;
  }

  /** iommu_uapi_cache_invalidate: the checks in its order. */
  invalidate(info: InvalidateInfo): void {
    const { cache, granularity } = info;
    checkInvalidate(info);
    // The PASID table is the host's: what is cached of it goes when a table is bound and unbound.
    if (cache === u.IOMMU_CACHE_INV_TYPE_PASID) return;
    const wanted = granularity === u.IOMMU_INV_GRANU_DOMAIN ? null : this.#bindingOf(info);
    for (const binding of this.#bindings.values()) {
      if (wanted !== null && binding !== wanted) continue;
      for (const { handle } of binding.tables) handle.domain.invalidate?.(new OneEntry(info));
    }
  }

  /** Null: all of them, since the caller names none. */
  #bindingOf({ granu_flags, pasid }: InvalidateInfo): Binding | null {
    if ((granu_flags & u.IOMMU_INV_ADDR_FLAGS_PASID) === 0) return null;
    return this.#bindings.get(Number(pasid)) ?? refuse(rules.nesting_cache_pasid, { pasid });
  }

  /** A group leaves, or the container ends: nothing of the guest's stays behind. */
  end(): void {
    for (const binding of this.#bindings.values()) this.#end(binding);
    this.#bindings.clear();
    this.#pasids.clear();
  }
}

/** iommu_uapi_sva_bind_gpasid; returns the host's PASID. */
function checkBind({ format, flags, padding, vtd_flags, hpasid, gpasid }: BindData): number {
  if (format !== u.IOMMU_PASID_FORMAT_INTEL_VTD) refuse(rules.nesting_bind_format, { format });
  if ((flags & ~BigInt(u.IOMMU_SVA_GPASID_VAL)) !== 0n) refuse(rules.nesting_bind_payload_flags, { flags });
  if (padding !== 0n) refuse(rules.nesting_bind_padding, {});
  if ((vtd_flags & ~BigInt(VTD_FLAGS)) !== 0n) refuse(rules.nesting_bind_vtd_flags, { flags: vtd_flags });
  if (flags !== 0n && gpasid !== hpasid) refuse(rules.nesting_bind_guest_pasid, { gpasid, hpasid });
  return Number(hpasid);
}

function checkInvalidate(info: InvalidateInfo): void {
  const { cache, granularity, padding, padding_low, granu_flags } = info;
  const known =
    u.IOMMU_CACHE_INV_TYPE_IOTLB | u.IOMMU_CACHE_INV_TYPE_DEV_IOTLB | u.IOMMU_CACHE_INV_TYPE_PASID;
  if (cache === 0 || (cache & ~known) !== 0) refuse(rules.nesting_cache_types, { cache });
  if (padding !== 0 || padding_low !== 0) refuse(rules.nesting_cache_padding, {});
  const isAddress = granularity === u.IOMMU_INV_GRANU_ADDR;
  const isDomain = granularity === u.IOMMU_INV_GRANU_DOMAIN;
  const pasidByAddress = isAddress && (cache & u.IOMMU_CACHE_INV_TYPE_PASID) !== 0;
  const deviceByDomain = isDomain && (cache & u.IOMMU_CACHE_INV_TYPE_DEV_IOTLB) !== 0;
  if (pasidByAddress || deviceByDomain) refuse(rules.nesting_cache_pair, { granularity, cache });
  if (isDomain) return;
  const flags = u.IOMMU_INV_ADDR_FLAGS_PASID | u.IOMMU_INV_ADDR_FLAGS_ARCHID;
  const defined = isAddress ? flags | u.IOMMU_INV_ADDR_FLAGS_LEAF : flags;
  if ((granu_flags & ~defined) !== 0) refuse(rules.nesting_cache_granu_flags, { flags: granu_flags });
  if ((granu_flags & u.IOMMU_INV_ADDR_FLAGS_ARCHID) !== 0) refuse(rules.nesting_cache_archid, {});
  if (isAddress) checkGranules(info);
}

function checkGranules({ addr, granule_size: size, nb_granules: count }: InvalidateInfo): void {
  const isPages = size >= PAGE_SIZE && (size & (size - 1n)) === 0n && addr % PAGE_SIZE === 0n;
  if (!isPages || count === 0n || addr + size * count - 1n > U64_MAX)
    refuse(rules.nesting_cache_granule, { count, size, addr });
}

/** What binds, as the driver data of a nested table. */
class TableData implements UserData {
  readonly type = IOMMU_HWPT_DATA_VTD_S1;
  readonly length = iommu_hwpt_vtd_s1.size;
  readonly #value: IommuHwptVtdS1;

  constructor({ gpgd, addr_width, vtd_flags }: BindData) {
    const has = (from: number): boolean => (vtd_flags & BigInt(from)) !== 0n;
    const flags =
      (has(u.IOMMU_SVA_VTD_GPASID_SRE) ? IOMMU_VTD_S1_SRE : 0) |
      (has(u.IOMMU_SVA_VTD_GPASID_EAFE) ? IOMMU_VTD_S1_EAFE : 0) |
      (has(u.IOMMU_SVA_VTD_GPASID_WPE) ? IOMMU_VTD_S1_WPE : 0);
    this.#value = { flags: BigInt(flags), pgtbl_addr: gpgd, addr_width, __reserved: 0 };
  }

  read<T>(): T {
    return this.#value as T;
  }

  write(): void {}
}

/** One command for a nested table. */
class OneEntry implements UserDataArray {
  readonly type = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1;
  readonly entryCount = 1;
  done = 0;

  constructor(readonly info: InvalidateInfo) {}

  readEntry<T>(): T {
    return this.#entry() as T;
  }

  readGrowing<T>(): T {
    return this.#entry() as T;
  }

  readAll<T>(): T[] {
    return [this.#entry() as T];
  }

  #entry(): { addr: bigint; npages: bigint; flags: number; __reserved: number } {
    const { granularity, addr, granule_size, nb_granules, granu_flags } = this.info;
    if (granularity !== u.IOMMU_INV_GRANU_ADDR) return { addr: 0n, npages: U64_MAX, flags: 0, __reserved: 0 };
    const flags = (granu_flags & u.IOMMU_INV_ADDR_FLAGS_LEAF) === 0 ? 0 : IOMMU_VTD_INV_FLAGS_LEAF;
    return { addr, npages: (granule_size * nb_granules) / PAGE_SIZE, flags, __reserved: 0 };
  }
}
