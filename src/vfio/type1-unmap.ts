/**
 * VFIO_IOMMU_UNMAP_DMA of type1 (vfio_dma_do_unmap). Mappings go as a whole. v2 refuses a range that cuts one; v1 ends
 * at one that begins before the range, and takes one that only begins in it. VADDR takes away nothing but the user
 * address.
 */
import { refuse } from '../base/errno.js';
import type { Area } from '../iommufd/area.js';
import type { Call } from '../iommufd/call.js';
import type { AddressRange } from '../iommufd/reserved.js';
import { misaligned, U64_MAX } from '../iommufd/units.js';
import {
  VFIO_DMA_UNMAP_FLAG_ALL,
  VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
  VFIO_DMA_UNMAP_FLAG_VADDR,
  vfio_bitmap,
  vfio_iommu_type1_dma_unmap,
  type VfioBitmap,
  type VfioIommuType1DmaUnmap,
} from '../wire/uapi/vfio.gen.js';
import type { Type1 } from './type1.js';
import { checkBitmap, writeDirty } from './type1-bitmap.js';
import { rules } from './type1-rules.js';

const LEAST = vfio_iommu_type1_dma_unmap.endOf('size');
const DIRTY = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
const ALL = VFIO_DMA_UNMAP_FLAG_ALL;
const VADDR = VFIO_DMA_UNMAP_FLAG_VADDR;

export function unmapDma(call: Call, type1: Type1): number {
  const bytes = call.copyIn(call.arg, LEAST, rules.type1_unmap_unreadable);
  const unmap = vfio_iommu_type1_dma_unmap.decode(bytes);
  const { argsz, flags } = unmap;
  if (argsz < LEAST) refuse(rules.type1_unmap_argsz, { argsz, least: LEAST });
  if ((flags & ~(DIRTY | ALL | VADDR)) !== 0) refuse(rules.type1_unmap_flags, { flags });
  const bitmap = (flags & DIRTY) === 0 ? null : copyBitmap(call, unmap);
  const { start, last } = rangeOf(type1, unmap);
  if (bitmap !== null) checkTracking(type1, bitmap);
  if (type1.isV2 && (flags & ALL) === 0) checkCuts(type1, start, last);
  const size =
    (flags & VADDR) !== 0
      ? takeAddresses(type1, start, last)
      : unmapRange(call, type1, { start, last, bitmap });
  vfio_iommu_type1_dma_unmap.encode({ ...unmap, size }, bytes);
  // What is gone is gone, whether or not the caller can be told.
  call.commit();
  call.copyOut(call.arg, bytes, rules.type1_unmap_unwritable);
  return 0;
}

function copyBitmap(call: Call, { argsz, flags, size }: VfioIommuType1DmaUnmap): VfioBitmap {
  if ((flags & (ALL | VADDR)) !== 0) refuse(rules.type1_unmap_dirty_flags, { flags });
  const least = LEAST + vfio_bitmap.size;
  if (argsz < least) refuse(rules.type1_unmap_dirty_argsz, { argsz, least });
  const at = call.arg + BigInt(LEAST);
  const bitmap = vfio_bitmap.decode(call.copyIn(at, vfio_bitmap.size, rules.type1_unmap_dirty_unreadable));
  checkBitmap(bitmap, size, rules.type1_unmap_dirty_address, rules.type1_unmap_dirty_size);
  return bitmap;
}

function rangeOf({ pageSize: pgsize }: Type1, { iova, size, flags }: VfioIommuType1DmaUnmap): AddressRange {
  if (misaligned(iova, pgsize)) refuse(rules.type1_unmap_alignment, { iova, pgsize });
  if ((flags & ALL) !== 0) {
    if (iova !== 0n || size !== 0n) refuse(rules.type1_unmap_all_range, { iova, size });
    return { start: 0n, last: U64_MAX };
  }
  if (size === 0n || misaligned(size, pgsize)) refuse(rules.type1_unmap_size, { size, pgsize });
  const last = iova + size - 1n;
  if (last > U64_MAX) refuse(rules.type1_unmap_wraps, { iova, size });
  return { start: iova, last };
}

function checkTracking({ tracksDirty, pageSize: pgsize }: Type1, bitmap: VfioBitmap): void {
  if (!tracksDirty) refuse(rules.type1_unmap_not_tracking, {});
  if (bitmap.pgsize !== pgsize) refuse(rules.type1_unmap_dirty_pgsize, { given: bitmap.pgsize, pgsize });
}

function checkCuts({ table }: Type1, iova: bigint, last: bigint): void {
  const first = table.areaAt(iova);
  if (first !== null && first.iova !== iova)
    refuse(rules.type1_unmap_cuts_first, { iova, start: first.iova });
  const end = table.areaAt(last);
  if (end !== null && end.last !== last) refuse(rules.type1_unmap_cuts_last, { last, start: end.iova });
}

function unmapRange(
  call: Call,
  type1: Type1,
  { start, last, bitmap }: AddressRange & { readonly bitmap: VfioBitmap | null },
): bigint {
  let unmapped = 0n;
  for (const area of type1.mappings(start, last)) {
    if (bitmap !== null) writeDirty(call, bitmap.data, area, start, bitmap.pgsize);
    unmapped += area.length;
    type1.withoutAddress.delete(area);
    type1.table.unmap(area.iova, area.last);
  }
  return unmapped;
}

/** All of them, or none if one has no user address already. */
function takeAddresses(type1: Type1, start: bigint, last: bigint): bigint {
  const { withoutAddress } = type1;
  const taken: Area[] = [];
  let size = 0n;
  for (const area of type1.mappings(start, last)) {
    if (withoutAddress.has(area)) {
      for (const each of taken) withoutAddress.delete(each);
      refuse(rules.type1_unmap_vaddr_gone, { iova: area.iova });
    }
    withoutAddress.add(area);
    taken.push(area);
    size += area.length;
  }
  return size;
}
