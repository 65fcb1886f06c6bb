/** VFIO_IOMMU_DIRTY_PAGES of type1 (vfio_iommu_type1_dirty_pages): start, stop, and a bitmap of a range. */
import { refuse } from '../base/errno.js';
import type { Call } from '../iommufd/call.js';
import { misaligned, U64_MAX } from '../iommufd/units.js';
import {
  VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
  VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
  vfio_iommu_type1_dirty_bitmap,
  vfio_iommu_type1_dirty_bitmap_get,
} from '../wire/uapi/vfio.gen.js';
import type { Type1 } from './type1.js';
import { BITMAP_PAGES_MOST, checkBitmap, writeDirty } from './type1-bitmap.js';
import { rules } from './type1-rules.js';

const LEAST = vfio_iommu_type1_dirty_bitmap.endOf('flags');
const START = VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
const STOP = VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP;
const GET_BITMAP = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;

export function dirtyPages(call: Call, type1: Type1): number {
  if (!type1.isV2) refuse(rules.type1_dirty_v1, {});
  const bytes = call.copyIn(call.arg, LEAST, rules.type1_dirty_unreadable);
  const { argsz, flags } = vfio_iommu_type1_dirty_bitmap.decode(bytes);
  if (argsz < LEAST) refuse(rules.type1_dirty_argsz, { argsz, least: LEAST });
  if ((flags & ~(START | STOP | GET_BITMAP)) !== 0) refuse(rules.type1_dirty_flags, { flags });
  if (flags === START) start(type1);
  else if (flags === STOP) type1.tracksDirty = false;
  else if (flags === GET_BITMAP) getBitmap(call, type1, argsz);
  else refuse(rules.type1_dirty_one, { flags });
  return 0;
}

function start(type1: Type1): void {
  if (type1.tracksDirty) return;
  const { table, pageSize } = type1;
  for (const { iova, length } of table.areas()) {
    const pages = length / pageSize;
    if (pages > BITMAP_PAGES_MOST) refuse(rules.type1_dirty_start_size, { iova, pages });
  }
  type1.tracksDirty = true;
}

function getBitmap(call: Call, type1: Type1, argsz: number): void {
  const { size: length } = vfio_iommu_type1_dirty_bitmap_get;
  if (argsz < LEAST + length) refuse(rules.type1_dirty_get_argsz, { argsz, least: LEAST + length });
  const at = call.arg + BigInt(LEAST);
  const bytes = call.copyIn(at, length, rules.type1_dirty_get_unreadable);
  const { iova, size, bitmap } = vfio_iommu_type1_dirty_bitmap_get.decode(bytes);
  if (size === 0n) refuse(rules.type1_dirty_get_size, {});
  const last = iova + size - 1n;
  if (last > U64_MAX) refuse(rules.type1_dirty_get_wraps, { iova, size });
  checkBitmap(bitmap, size, rules.type1_dirty_get_address, rules.type1_dirty_get_bitmap);
  const { table, pageSize: pgsize } = type1;
  if (bitmap.pgsize !== pgsize) refuse(rules.type1_dirty_get_pgsize, { given: bitmap.pgsize, pgsize });
  if (misaligned(iova, pgsize)) refuse(rules.type1_dirty_get_iova, { iova, pgsize });
  if (misaligned(size, pgsize)) refuse(rules.type1_dirty_get_length, { size, pgsize });
  if (!type1.tracksDirty) refuse(rules.type1_dirty_get_not_tracking, {});
  const first = table.areaAt(iova);
  if (first !== null && first.iova !== iova)
    refuse(rules.type1_dirty_cuts_first, { iova, start: first.iova });
  const end = table.areaAt(last);
  if (end !== null && end.last !== last) refuse(rules.type1_dirty_cuts_last, { last, start: end.iova });
  for (const area of type1.mappings(iova, last)) writeDirty(call, bitmap.data, area, iova, pgsize);
}
