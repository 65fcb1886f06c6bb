/**
 * The type1 IOMMU driver (struct vfio_iommu): one address space for all groups of a container. The areas, pins, tables
 * and valid ranges are those of an IOAS of iommufd; here is what type1 does otherwise: which domains there are, who is
 * attached to which, and what a mapping may not do.
 * Invariants: there is a domain as long as there is a group, so every mapping is pinned; what is mapped is valid for
 * every group.
 */
import { Errno, invariant, refuse } from '../base/errno.js';
import type { IommuGroup } from '../hw/group.js';
import type { DmaDevice, PagingDomain } from '../hw/unit.js';
import type { Area } from '../iommufd/area.js';
import { Call } from '../iommufd/call.js';
import { Context } from '../iommufd/context.js';
import { finish } from '../iommufd/dispatch.js';
import type { Env } from '../iommufd/env.js';
import { iommufdIoctls } from '../iommufd/ioctls.js';
import { IoPagetable } from '../iommufd/io-pagetable.js';
import { PAGE_SIZE, U64_MAX } from '../iommufd/units.js';
import type { Task } from '../mem/task.js';
import { IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_PASID } from '../wire/uapi/iommufd.gen.js';
import { Nesting } from './nesting/nesting.js';
import { rules as nestingRules } from './nesting/rules.js';
import { rules } from './type1-rules.js';

interface Type1Domain {
  readonly domain: PagingDomain;
  readonly enforcesCoherency: boolean;
  readonly groups: IommuGroup[];
}

/** dma_entry_limit: mappings that a container may have. */
export const ENTRY_LIMIT = 0xffff;

export class Type1 {
  /** Nobody opened it: it is what the tables of an IOAS are part of. */
  readonly context: Context;
  readonly table: IoPagetable;
  /** Whose user address is to come (VFIO_DMA_UNMAP_FLAG_VADDR). */
  readonly withoutAddress = new Set<Area>();
  tracksDirty = false;
  /** Guests' page tables on top of this address space; null: a container without. */
  readonly nesting: Nesting | null;
  /** The newest first. */
  readonly #domains: Type1Domain[] = [];

  constructor(
    readonly env: Env,
    readonly isV2: boolean,
    isNesting = false,
  ) {
    this.nesting = isNesting ? new Nesting({ places: () => this.#places() }) : null;
    this.context = new Context(env, iommufdIoctls);
    this.table = new IoPagetable(this.context);
  }

  /** Every device that uses it. */
  get devices(): readonly DmaDevice[] {
    return this.#domains.flatMap(({ groups }) => groups.flatMap(({ devices }) => devices));
  }

  *#places(): Generator<{ group: IommuGroup; domain: PagingDomain }> {
    for (const { domain, groups } of this.#domains) for (const group of groups) yield { group, domain };
  }

  /** Every group's DMA snoops, whatever a device asks for. */
  get enforcesCoherency(): boolean {
    return this.#domains.every(({ enforcesCoherency }) => enforcesCoherency);
  }

  /** Mappings that there may be beside those that there are. */
  get room(): number {
    return ENTRY_LIMIT - this.table.areaCount;
  }

  /** Those in a range, in order; they may go meanwhile. Of v1 none at all where the first begins before it. */
  *mappings(start: bigint, last: bigint): Generator<Area> {
    for (let at = start; ;) {
      const area = this.table.firstArea(at, last);
      if (area === null || (!this.isV2 && area.iova < start)) return;
      yield area;
      if (area.last >= last) return;
      at = area.last + 1n;
    }
  }

  /** The smallest piece that can be mapped. */
  get pageSize(): bigint {
    const sizes = this.pageSizes;
    return sizes & -sizes;
  }

  /** vfio_update_pgsize_bitmap */
  get pageSizes(): bigint {
    let sizes = U64_MAX;
    for (const { domain } of this.#domains) sizes &= domain.pgsizeBitmap;
    return (sizes & (PAGE_SIZE - 1n)) === 0n ? sizes : (sizes & -PAGE_SIZE) | PAGE_SIZE;
  }

  /** vfio_iommu_type1_attach_group */
  attach(group: IommuGroup, task: Task): void {
    const call = new Call(this.context, task, 0n, 0);
    finish(call, () => {
      this.#attach(call, group);
      return 0;
    });
  }

  #attach(call: Call, group: IommuGroup): void {
    const { table, withoutAddress } = this;
    if (withoutAddress.size > 0) refuse(rules.type1_attach_vaddr, { count: withoutAddress.size });
    const [device] = group.devices;
    invariant(device !== undefined, 'a group has a device');
    call.alloc('vfio_domain');
    if (this.nesting !== null && this.#domains.length > 0) refuse(nestingRules.nesting_groups, {});
    const flags = this.nesting === null ? 0 : IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_PASID;
    const domain = device.unit.allocPaging(device, flags, null);
    call.tx.onAbort(() => domain.free());
    group.attach(domain, { domain });
    call.tx.onAbort(() => group.detach());
    this.#checkAperture(domain, device.name);
    this.#reserve(call, group);
    if (!this.#hasValid(domain)) refuse(rules.type1_attach_no_room, { device: device.name });
    const enforcesCoherency = domain.enforceCacheCoherency?.() ?? false;
    if (this.#join(call, group, domain, enforcesCoherency)) {
      call.commit();
      domain.free();
      return;
    }
    table.addDomain(call, domain);
    this.#domains.unshift({ domain, enforcesCoherency, groups: [group] });
  }

  /** vfio_iommu_aper_conflict */
  #checkAperture({ apertureStart: start, apertureLast: last }: PagingDomain, device: string): void {
    if (this.#domains.length === 0) return;
    const valid = [...this.table.reserved.holes()];
    const [first, end] = [valid[0]!.start, valid.at(-1)!.last];
    if (start > end || last < first) refuse(rules.type1_attach_aperture, { device, start, last });
    const below = start > first ? this.table.firstArea(first, start - 1n) : null;
    if (below !== null) refuse(rules.type1_attach_mapped_below, { device, start, iova: below.iova });
    const above = last < end ? this.table.firstArea(last + 1n, end) : null;
    if (above !== null) refuse(rules.type1_attach_mapped_above, { device, last, iova: above.iova });
  }

  /** vfio_iommu_resv_conflict, vfio_iommu_resv_exclude */
  #reserve(call: Call, group: IommuGroup): void {
    const { table } = this;
    for (const device of group.devices) {
      for (const { type, start, last } of device.resvRegions) {
        if (type === 'direct-relaxable') continue;
        const area = table.firstArea(start, last);
        if (area !== null)
          refuse(rules.type1_attach_reserved, { device: device.name, start, last, iova: area.iova });
      }
    }
    call.tx.onAbort(() => table.reserved.removeOwner(group));
    for (const device of group.devices) {
      for (const { type, start, last } of device.resvRegions) {
        if (type !== 'direct-relaxable') table.reserve(start, last, group);
      }
    }
  }

  #hasValid({ apertureStart, apertureLast }: PagingDomain): boolean {
    for (const { start, last } of this.table.reserved.holes()) {
      if (start <= apertureLast && last >= apertureStart) return true;
    }
    return false;
  }

  /** Into a domain that is there, if one is as the new one would be and takes the group. */
  #join(call: Call, group: IommuGroup, made: PagingDomain, enforcesCoherency: boolean): boolean {
    for (const known of this.#domains) {
      const { domain } = known;
      if (domain.ops !== made.ops || known.enforcesCoherency !== enforcesCoherency) continue;
      group.detach();
      const outcome = call.tx.attempt(() => group.attach(domain, { domain }));
      if (outcome instanceof Errno) {
        group.attach(made, { domain: made });
        continue;
      }
      known.groups.push(group);
      return true;
    }
    return false;
  }

  /** vfio_iommu_type1_detach_group: with the last group of a domain it goes, with the last domain all mappings. */
  detach(group: IommuGroup): void {
    this.nesting?.end();
    const index = this.#domains.findIndex(({ groups }) => groups.includes(group));
    const { domain, groups } = this.#domains[index]!;
    group.detach();
    groups.splice(groups.indexOf(group), 1);
    if (groups.length === 0) {
      if (this.#domains.length === 1) {
        this.table.removeAll();
        this.withoutAddress.clear();
      }
      this.table.removeDomain(domain);
      domain.free();
      this.#domains.splice(index, 1);
    }
    this.table.reserved.removeOwner(group);
  }
}
