/** Dirty tracking of a page table, and the bitmap that programs read it into. */
import { refuse } from '../base/errno.js';
import {
  IOMMU_HWPT_DIRTY_TRACKING_ENABLE,
  IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR,
  type IommuHwptGetDirtyBitmap,
  type IommuHwptSetDirtyTracking,
} from '../wire/uapi/iommufd.gen.js';
import type { AddressSpace } from '../mem/client.js';
import type { DirtyOps } from '../hw/unit.js';
import type { Call } from './call.js';
import type { HwptPaging } from './hwpt.js';
import type { IoPagetable } from './io-pagetable.js';
import { U64_MAX, misaligned, pageDown, PAGE_SIZE } from './units.js';
import { rules } from './rules.js';

/** IOMMU_HWPT_SET_DIRTY_TRACKING. Turning it on starts from a clean state. */
export function setDirtyTracking(call: Call, cmd: IommuHwptSetDirtyTracking): void {
  if ((cmd.flags & ~IOMMU_HWPT_DIRTY_TRACKING_ENABLE) !== 0)
    refuse(rules.dirty_tracking_flags, { flags: cmd.flags });
  const hwpt = call.context.find<HwptPaging>(call, cmd.hwpt_id, 'HWPT_PAGING', rules.dirty_tracking_hwpt);
  const ops = hwpt.domain.dirtyOps;
  if (ops === null) refuse(rules.dirty_tracking_ops, { hwpt_id: hwpt.id });
  const enable = cmd.flags !== 0;
  if (enable) {
    for (const area of hwpt.ioas.table.areas()) ops.readAndClear(area.iova, area.length, false, () => {});
  }
  ops.setTracking(enable);
}

/**
 * IOMMU_HWPT_GET_DIRTY_BITMAP. A hole in the range, or a bitmap that cannot be written, ends the reading silently:
 * Linux answers 0 then, and so does this.
 */
export function getDirtyBitmap(call: Call, cmd: IommuHwptGetDirtyBitmap): void {
  const { flags, iova, length, page_size: page } = cmd;
  if ((flags & ~IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR) !== 0) refuse(rules.dirty_bitmap_flags, { flags });
  if (cmd.__reserved !== 0) refuse(rules.dirty_bitmap_reserved, { __reserved: cmd.__reserved });
  const hwpt = call.context.find<HwptPaging>(call, cmd.hwpt_id, 'HWPT_PAGING', rules.dirty_bitmap_hwpt);
  const { table } = hwpt.ioas;
  const last = iova + BigInt.asUintN(64, length - 1n);
  if (last > U64_MAX) refuse(rules.dirty_bitmap_wraps, { iova, length });
  const end = BigInt.asUintN(64, last + 1n);
  if (misaligned(iova, table.alignment) || misaligned(end, table.alignment)) {
    refuse(rules.dirty_bitmap_alignment, { iova, last, alignment: table.alignment });
  }
  if (page === 0n) refuse(rules.dirty_bitmap_page_zero, {});
  if (misaligned(iova, page) || misaligned(end, page))
    refuse(rules.dirty_bitmap_page, { iova, last, page_size: page });
  const ops = hwpt.domain.dirtyOps;
  if (ops === null) refuse(rules.dirty_bitmap_ops, { hwpt_id: hwpt.id });
  call.alloc('iova_bitmap');
  const bitmap = new UserBitmap(call.task.mm, cmd.data, iova, last, page);
  readDirty(table, ops, bitmap, (flags & IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR) !== 0);
  bitmap.flush();
}

function readDirty(table: IoPagetable, ops: DirtyOps, bitmap: UserBitmap, noClear: boolean): void {
  let at = bitmap.iova;
  for (;;) {
    const area = table.areaAt(at);
    if (area === null) return;
    const last = bitmap.last < area.last ? bitmap.last : area.last;
    ops.readAndClear(at, last - at + 1n, noClear, (iova, length) => bitmap.set(iova, length));
    if (area.last >= bitmap.last) return;
    at = area.last + 1n;
  }
}

/**
 * The caller's bitmap: bit n stands for the n-th page from `iova`. Bits are only ever set. One page of it is held
 * at a time, which is also how much Linux gives up on when it cannot be written.
 */
export class UserBitmap {
  readonly #shift: bigint;
  readonly #bits: bigint;
  readonly #window = new Uint8Array(Number(PAGE_SIZE));
  /** Address of the page in the window; -1: none. */
  #windowAt = -1n;
  #dirty = false;

  constructor(
    readonly mm: AddressSpace,
    readonly at: bigint,
    readonly iova: bigint,
    readonly last: bigint,
    page: bigint,
  ) {
    this.#shift = BigInt((page & -page).toString(2).length - 1);
    this.#bits = ((last - iova) >> this.#shift) + 1n;
  }

  set(iova: bigint, length: bigint): void {
    const from = iova < this.iova ? this.iova : iova;
    const firstBit = (from - this.iova) >> this.#shift;
    const wanted = (iova + length - 1n - this.iova) >> this.#shift;
    const lastBit = wanted < this.#bits ? wanted : this.#bits - 1n;
    for (let bit = firstBit; bit <= lastBit; bit++) {
      const byteAt = this.at + (bit >> 3n);
      if (!this.#hold(pageDown(byteAt))) return;
      const index = Number(byteAt & (PAGE_SIZE - 1n));
      this.#window[index]! |= 1 << Number(bit & 7n);
      this.#dirty = true;
    }
  }

  /** Brings the page at `page` into the window. */
  #hold(page: bigint): boolean {
    if (this.#windowAt === page) return true;
    this.flush();
    // The page has to be writable even if no bit of it changes.
    const held = this.mm.read(page, this.#window) && this.mm.write(page, this.#window);
    this.#windowAt = held ? page : -1n;
    return held;
  }

  flush(): void {
    if (this.#dirty) this.mm.write(this.#windowAt, this.#window);
    this.#dirty = false;
  }
}
