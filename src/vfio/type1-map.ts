/**
 * VFIO_IOMMU_MAP_DMA of type1 (vfio_dma_do_map): maps the caller's memory, which is pinned at once, or (VADDR) says where
 * the memory of a mapping now is, whose pages stay the same.
 */
import { refuse } from '../base/errno.js';
import { IOMMU_READ, IOMMU_WRITE } from '../hw/unit.js';
import { charge, uncharge } from '../iommufd/accounting.js';
import type { Area } from '../iommufd/area.js';
import type { Call } from '../iommufd/call.js';
import type { AccountMode } from '../iommufd/context.js';
import { MapRequest } from '../iommufd/in-place.js';
import { PAGE_SIZE, U64_MAX, misaligned, pageIndex, pageToBytes } from '../iommufd/units.js';
import { RLIM_INFINITY, type Task } from '../mem/task.js';
import {
  IOMMU_IOAS_MAP_FIXED_IOVA,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
} from '../wire/uapi/iommufd.gen.js';
import {
  VFIO_DMA_MAP_FLAG_READ,
  VFIO_DMA_MAP_FLAG_VADDR,
  VFIO_DMA_MAP_FLAG_WRITE,
  vfio_iommu_type1_dma_map,
  type VfioIommuType1DmaMap,
} from '../wire/uapi/vfio.gen.js';
import { BITMAP_PAGES_MOST } from './type1-bitmap.js';
import { ENTRY_LIMIT, type Type1 } from './type1.js';
import { rules } from './type1-rules.js';

const LEAST = vfio_iommu_type1_dma_map.endOf('size');
const FLAGS = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE | VFIO_DMA_MAP_FLAG_VADDR;

export function mapDma(call: Call, type1: Type1): number {
  const bytes = call.copyIn(call.arg, LEAST, rules.type1_map_unreadable);
  const map = vfio_iommu_type1_dma_map.decode(bytes);
  const { argsz, flags, iova, vaddr, size } = map;
  if (argsz < LEAST) refuse(rules.type1_map_argsz, { argsz, least: LEAST });
  if ((flags & ~FLAGS) !== 0) refuse(rules.type1_map_flags, { flags });
  if (size === 0n) refuse(rules.type1_map_size, {});
  if (iova + size - 1n > U64_MAX) refuse(rules.type1_map_iova_wraps, { iova, size });
  if (vaddr + size - 1n > U64_MAX) refuse(rules.type1_map_vaddr_wraps, { vaddr, size });
  const prot = protOf(flags);
  const setsAddress = (flags & VFIO_DMA_MAP_FLAG_VADDR) !== 0;
  if (prot !== 0 && setsAddress) refuse(rules.type1_map_vaddr_access, { flags });
  if (prot === 0 && !setsAddress) refuse(rules.type1_map_access, { flags });
  const pgsize = type1.pageSize;
  if (misaligned(size | iova | vaddr, pgsize))
    refuse(rules.type1_map_alignment, { iova, vaddr, size, pgsize });
  if (setsAddress) setAddress(call, type1, map);
  else mapNew(call, type1, map, prot, size / pgsize);
  return 0;
}

const protOf = (flags: number): number =>
  ((flags & VFIO_DMA_MAP_FLAG_READ) !== 0 ? IOMMU_READ : 0) |
  ((flags & VFIO_DMA_MAP_FLAG_WRITE) !== 0 ? IOMMU_WRITE : 0);

const flagsOf = (prot: number): number =>
  IOMMU_IOAS_MAP_FIXED_IOVA |
  ((prot & IOMMU_READ) !== 0 ? IOMMU_IOAS_MAP_READABLE : 0) |
  ((prot & IOMMU_WRITE) !== 0 ? IOMMU_IOAS_MAP_WRITEABLE : 0);

const modeOf = (task: Task): AccountMode => (task.capable('CAP_IPC_LOCK') ? 'type1-unlimited' : 'type1');

function mapNew(call: Call, type1: Type1, map: VfioIommuType1DmaMap, prot: number, pages: bigint): void {
  const { iova, vaddr, size } = map;
  const last = iova + size - 1n;
  const { table } = type1;
  const there = table.firstArea(iova, last);
  if (there !== null) refuse(rules.type1_map_exists, { iova, last, start: there.iova });
  if (type1.room === 0) refuse(rules.type1_map_entries, { entries: ENTRY_LIMIT });
  if (table.reserved.overlaps(iova, last)) refuse(rules.type1_map_invalid, { iova, last });
  const isDevice = (call.task.mm.resolveDevice?.(vaddr, size) ?? null) !== null;
  const mode = isDevice ? 'device' : modeOf(call.task);
  if (mode === 'type1') checkLimit(call.task, map, prot);
  table.mapUser(call, MapRequest.of(flagsOf(prot), vaddr, size, iova), mode);
  if (type1.tracksDirty && pages > BITMAP_PAGES_MOST) refuse(rules.type1_map_dirty_size, { pages });
}

/** Linux counts page by page as it pins: of a limit and a hole, what comes first is what the caller is told. */
function checkLimit(task: Task, { vaddr, size }: VfioIommuType1DmaMap, prot: number): void {
  const { memlockLimit, mm } = task;
  if (memlockLimit === RLIM_INFINITY) return;
  const left = Math.max(pageIndex(memlockLimit) - mm.account.lockedVm, 0);
  if (size / PAGE_SIZE <= left) return;
  if (mm.resolve(vaddr, pageToBytes(left + 1), (prot & IOMMU_WRITE) !== 0) === null) return;
  refuse(rules.type1_map_memlock, { limit: pageIndex(memlockLimit), pages: left });
}

function setAddress(call: Call, type1: Type1, { iova, size }: VfioIommuType1DmaMap): void {
  const last = iova + size - 1n;
  const area = type1.table.firstArea(iova, last) ?? refuse(rules.type1_vaddr_none, { iova, last });
  if (!type1.withoutAddress.has(area)) refuse(rules.type1_vaddr_valid, { iova: area.iova });
  if (area.iova !== iova || area.last !== last)
    refuse(rules.type1_vaddr_range, { start: area.iova, end: area.last, iova, last });
  changeOwner(call.task, area);
  type1.withoutAddress.delete(area);
}

/** vfio_change_dma_owner: another mm pays from now on. */
function changeOwner(task: Task, { pages }: Area): void {
  const { payer, accountMode, paidCount } = pages;
  if (payer.mm === task.mm || accountMode === 'device') return;
  const mode = modeOf(task);
  const refusal = charge(task, mode, paidCount);
  if (refusal !== null) refuse(rules.type1_vaddr_memlock, refusal.values);
  uncharge(payer, accountMode, paidCount);
  pages.payer = task;
  pages.accountMode = mode;
}
