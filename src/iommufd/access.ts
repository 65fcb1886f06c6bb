/**
 * Software that reads, writes or pins the memory behind an IOAS without a page table (IOMMUFD_OBJ_ACCESS): mediated
 * devices, hardware queues. It is told before an area that it has pinned is unmapped.
 */
import { refuse, Errno } from '../base/errno.js';
import { IOMMU_READ, IOMMU_WRITE } from '../hw/unit.js';
import type { Area } from './area.js';
import type { Call } from './call.js';
import type { Context } from './context.js';
import type { Ioas } from './ioas.js';
import { IommufdObject } from './object.js';
import { accessPages, AccessFlags } from './page-access.js';
import { PAGE_SIZE, U64_MAX, misaligned, pageIndex, pageToBytes } from './units.js';
import { rules } from './rules.js';

/** What the owner of an access offers. Null: nobody can make it let go. */
interface AccessOps {
  /** Unpin what you have pinned in this range. */
  readonly unmap: (iova: bigint, length: bigint) => void;
  readonly needsPinPages: boolean;
}

export class Access extends IommufdObject {
  readonly type = 'ACCESS';
  ioas: Ioas | null = null;
  /** What areas have to be aligned to while this access is attached. */
  readonly alignment: bigint;

  private constructor(
    readonly context: Context,
    readonly ops: AccessOps | null,
  ) {
    super();
    this.alignment = ops === null || ops.needsPinPages ? PAGE_SIZE : 1n;
  }

  /** iommufd_access_create: for a driver, which holds the context open. */
  static create(call: Call, ops: AccessOps): Access {
    const access = Access.#make(call, ops);
    call.context.get();
    call.tx.onAbort(() => call.context.put());
    return access;
  }

  /** For the object model's own use: it refuses to let go. */
  static createInternal(call: Call): Access {
    return Access.#make(call, null);
  }

  static #make(call: Call, ops: AccessOps | null): Access {
    const access = call.reserve(new Access(call.context, ops));
    access.users += 1;
    return access;
  }

  get isInternal(): boolean {
    return this.ops === null;
  }

  attach(call: Call, ioas: Ioas): void {
    ioas.table.addAccess(call, this);
    ioas.users += 1;
    this.ioas = ioas;
    call.tx.onAbort(() => this.detach());
  }

  /** iommufd_access_replace. What is pinned in the old IOAS is let go. */
  replace(call: Call, ioas: Ioas): void {
    const old = this.ioas;
    if (old === ioas) return;
    ioas.table.addAccess(call, this);
    ioas.users += 1;
    this.#leave();
    this.ioas = ioas;
  }

  detach(): void {
    this.#leave();
  }

  #leave(): void {
    const { ioas } = this;
    if (ioas === null) return;
    this.ops?.unmap(0n, U64_MAX);
    ioas.table.removeAccess(this);
    ioas.users -= 1;
    this.ioas = null;
  }

  notifyUnmap(iova: bigint, length: bigint): void {
    this.ops?.unmap(iova, length);
  }

  /** iommufd_access_destroy: the driver gives it up. */
  destroyByDriver(): void {
    this.context.objects.putAndDestroy(this);
  }

  destroy(): void {
    this.#leave();
    if (!this.isInternal) this.context.put();
  }

  /** HPA of every page of `iova`..`iova+length-1`, which stay pinned until {@link unpinPages}. */
  pinPages(call: Call, iova: bigint, length: bigint, write: boolean): bigint[] {
    if (length === 0n) refuse(rules.access_pin_length, {});
    const last = iova + length - 1n;
    if (last > U64_MAX) refuse(rules.access_pin_wraps, { iova, length });
    if (this.ioas === null) refuse(rules.access_pin_detached, {});
    const { areas, gap } = this.ioas.table.contiguous(iova, last);
    const hpas: bigint[] = [];
    let pinnedLast = iova - 1n;
    try {
      for (const area of areas) {
        this.#pinArea(call, area, iova > area.iova ? iova : area.iova, last, write, hpas);
        pinnedLast = last < area.last ? last : area.last;
      }
      if (gap !== null) refuse(rules.access_pin_gap, { iova, last, gap });
    } catch (error) {
      if (error instanceof Errno && pinnedLast >= iova) this.unpinPages(iova, pinnedLast - iova + 1n);
      throw error;
    }
    return hpas;
  }

  #pinArea(call: Call, area: Area, from: bigint, last: bigint, write: boolean, hpas: bigint[]): void {
    const until = last < area.last ? last : area.last;
    if (area.preventAccess) refuse(rules.access_pin_unmapping, { iova: area.iova });
    const endsInside = last > area.last && misaligned(area.byteOf(area.last) + 1n, PAGE_SIZE);
    if (misaligned(area.byteOf(from), PAGE_SIZE) || endsInside) {
      refuse(rules.access_pin_alignment, { iova: from, byte: area.byteOf(from) });
    }
    const needed = write ? IOMMU_WRITE : IOMMU_READ;
    if ((area.prot & needed) === 0) refuse(rules.access_pin_permission, { iova: area.iova, prot: area.prot });
    const first = pageIndex(area.byteOf(from));
    const lastIndex = pageIndex(area.byteOf(until));
    const { pages } = area;
    if (pages.isDmaBuf) refuse(rules.access_pin_dma_buf, { iova: area.iova });
    if (pages.accessSpans.countOf(first, lastIndex) === 0) {
      call.alloc('iopt_pages_access');
      call.alloc('pinned_pfns node');
      call.alloc('access span');
      let refusal = pages.pin(first, lastIndex);
      if (refusal === null && call.shouldFail('pinned_pfns'))
        refusal = { rule: rules.pfn_store_failed, values: {} };
      refusal ??= pages.pay();
      if (refusal !== null) {
        pages.unpinUnused(first, lastIndex);
        refuse(refusal.rule, refusal.values);
      }
    }
    pages.accessSpans.add(first, lastIndex);
    area.accesses += 1;
    if (this.isInternal) area.locks += 1;
    pages.eachPiece(first, lastIndex, (_index, hpa, count) => {
      for (let page = 0; page < count; page++) hpas.push(hpa + pageToBytes(page));
      return true;
    });
  }

  /** Undoes one {@link pinPages} of exactly this range. */
  unpinPages(iova: bigint, length: bigint): void {
    if (this.ioas === null) return;
    const last = iova + length - 1n;
    for (const area of this.ioas.table.contiguous(iova, last).areas) {
      const from = iova > area.iova ? iova : area.iova;
      const until = last < area.last ? last : area.last;
      const first = pageIndex(area.byteOf(from));
      const lastIndex = pageIndex(area.byteOf(until));
      area.accesses -= 1;
      if (this.isInternal) area.locks -= 1;
      area.pages.accessSpans.remove(first, lastIndex);
      area.pages.unpinUnused(first, lastIndex);
    }
  }

  /** iommufd_access_rw: copies `data` to or from the memory behind `iova`. */
  copy(call: Call, iova: bigint, data: Uint8Array, flags: number): void {
    if (data.length === 0) refuse(rules.access_rw_length, {});
    const last = iova + BigInt(data.length) - 1n;
    if (last > U64_MAX) refuse(rules.access_rw_wraps, { iova, length: data.length });
    if (this.ioas === null) refuse(rules.access_rw_detached, {});
    const { areas, gap } = this.ioas.table.contiguous(iova, last);
    const needed = (flags & AccessFlags.WRITE) !== 0 ? IOMMU_WRITE : IOMMU_READ;
    for (const area of areas) {
      if (area.preventAccess) refuse(rules.access_rw_unmapping, { iova: area.iova });
      if ((area.prot & needed) === 0)
        refuse(rules.access_rw_permission, { iova: area.iova, prot: area.prot });
      const from = iova > area.iova ? iova : area.iova;
      const until = last < area.last ? last : area.last;
      const piece = data.subarray(Number(from - iova), Number(until - iova) + 1);
      accessPages(call, area.pages, area.byteOf(from), piece, flags);
    }
    if (gap !== null) refuse(rules.access_rw_gap, { iova, last, gap });
  }
}
