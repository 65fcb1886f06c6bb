/**
 * VFIO's container ioctls on an iommufd, for programs that know nothing newer. They act on the context's
 * compatibility IOAS. TYPE1 (v1) may unmap parts of a mapping; then every page has an entry of its own.
 */
import { refuse, type Rule } from '../base/errno.js';
import {
  VFIO_API_VERSION,
  VFIO_CHECK_EXTENSION,
  VFIO_DMA_CC_IOMMU,
  VFIO_DMA_MAP_FLAG_READ,
  VFIO_DMA_MAP_FLAG_WRITE,
  VFIO_DMA_UNMAP_FLAG_ALL,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_INFO_CAPS,
  VFIO_IOMMU_INFO_PGSIZES,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
  VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
  VFIO_TYPE1_IOMMU,
  VFIO_TYPE1v2_IOMMU,
  VFIO_UNMAP_ALL,
  vfio_info_cap_header,
  vfio_iommu_type1_dma_map,
  vfio_iommu_type1_dma_unmap,
  vfio_iommu_type1_info,
  vfio_iommu_type1_info_cap_iova_range,
  vfio_iommu_type1_info_dma_avail,
  vfio_iova_range,
} from '../wire/uapi/vfio.gen.js';
import {
  IOMMU_IOAS_MAP_FIXED_IOVA,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
  IOMMU_VFIO_IOAS_CLEAR,
  IOMMU_VFIO_IOAS_GET,
  IOMMU_VFIO_IOAS_SET,
  iommu_vfio_ioas,
  type IommuVfioIoas,
} from '../wire/uapi/iommufd.gen.js';
import type { Task } from '../mem/task.js';
import { Call } from './call.js';
import type { Context } from './context.js';
import { finish } from './dispatch.js';
import type { Ioas } from './ioas.js';
import { MapRequest } from './in-place.js';
import { mapUserPages } from './map.js';
import { PAGE_SIZE, U64_MAX } from './units.js';
import { rules } from './rules.js';

/** IOMMU_VFIO_IOAS: which IOAS is the compatibility one. */
export function vfioIoas(call: Call, cmd: IommuVfioIoas): void {
  if (cmd.__reserved !== 0) refuse(rules.vfio_ioas_reserved, { __reserved: cmd.__reserved });
  const { context } = call;
  if (cmd.op === IOMMU_VFIO_IOAS_GET) {
    const ioas = compatIoas(context, rules.vfio_ioas_none);
    call.respond(iommu_vfio_ioas, { ...cmd, ioas_id: ioas.id });
  } else if (cmd.op === IOMMU_VFIO_IOAS_SET) {
    context.vfioIoas = context.find<Ioas>(call, cmd.ioas_id, 'IOAS', rules.vfio_ioas_ioas);
  } else if (cmd.op === IOMMU_VFIO_IOAS_CLEAR) {
    context.vfioIoas = null;
  } else {
    refuse(rules.vfio_ioas_op, { op: cmd.op });
  }
}

function compatIoas(context: Context, rule: Rule): Ioas {
  return context.vfioIoas ?? refuse(rule, {});
}

/** All ioctl numbers that are not iommufd's. */
export function vfioIoctl(context: Context, cmd: number, arg: bigint, task: Task): number {
  const call = new Call(context, task, arg, 0);
  if (cmd === VFIO_GET_API_VERSION) return VFIO_API_VERSION;
  if (cmd === VFIO_CHECK_EXTENSION) return checkExtension(context, arg);
  if (cmd === VFIO_SET_IOMMU) return finish(call, setIommu);
  if (cmd === VFIO_IOMMU_GET_INFO) return finish(call, getInfo);
  if (cmd === VFIO_IOMMU_MAP_DMA) return finish(call, mapDma);
  if (cmd === VFIO_IOMMU_UNMAP_DMA) return finish(call, unmapDma);
  refuse(rules.vfio_ioctl_unknown, { cmd: BigInt(cmd >>> 0) });
}

function checkExtension(context: Context, extension: bigint): number {
  switch (Number(extension)) {
    case VFIO_TYPE1_IOMMU:
    case VFIO_TYPE1v2_IOMMU:
    case VFIO_UNMAP_ALL:
      return 1;
    case VFIO_DMA_CC_IOMMU:
      return compatIoas(context, rules.vfio_cc_ioas).hwpts.every((hwpt) => hwpt.enforceCacheCoherency)
        ? 1
        : 0;
    default:
      return 0;
  }
}

function setIommu(call: Call): number {
  const type = call.arg;
  if (type !== BigInt(VFIO_TYPE1_IOMMU) && type !== BigInt(VFIO_TYPE1v2_IOMMU)) {
    refuse(rules.vfio_set_iommu_type, { type });
  }
  const { table } = compatIoas(call.context, rules.vfio_set_iommu_ioas);
  if (type === BigInt(VFIO_TYPE1_IOMMU)) table.setLargePages(false);
  return 0;
}

function mapDma(call: Call): number {
  const size = vfio_iommu_type1_dma_map.size;
  const map = vfio_iommu_type1_dma_map.decode(call.copyIn(call.arg, size, rules.vfio_map_unreadable));
  if (map.argsz < size) refuse(rules.vfio_map_argsz, { argsz: map.argsz, least: size });
  const known = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
  if ((map.flags & ~known) !== 0) refuse(rules.vfio_map_flags, { flags: map.flags });
  const { table } = compatIoas(call.context, rules.vfio_map_ioas);
  const flags =
    ((map.flags & VFIO_DMA_MAP_FLAG_READ) !== 0 ? IOMMU_IOAS_MAP_READABLE : 0) |
    ((map.flags & VFIO_DMA_MAP_FLAG_WRITE) !== 0 ? IOMMU_IOAS_MAP_WRITEABLE : 0);
  mapUserPages(call, table, MapRequest.of(flags | IOMMU_IOAS_MAP_FIXED_IOVA, map.vaddr, map.size, map.iova));
  return 0;
}

function unmapDma(call: Call): number {
  const size = vfio_iommu_type1_dma_unmap.size;
  const bytes = call.copyIn(call.arg, size, rules.vfio_unmap_unreadable);
  const unmap = vfio_iommu_type1_dma_unmap.decode(bytes);
  if (unmap.argsz < size) refuse(rules.vfio_unmap_argsz, { argsz: unmap.argsz, least: size });
  if ((unmap.flags & ~VFIO_DMA_UNMAP_FLAG_ALL) !== 0) refuse(rules.vfio_unmap_flags, { flags: unmap.flags });
  const { table } = compatIoas(call.context, rules.vfio_unmap_ioas);
  const answer = (unmapped: bigint): void => {
    vfio_iommu_type1_dma_unmap.encode({ ...unmap, size: unmapped }, bytes);
    call.copyOut(call.arg, bytes, rules.vfio_unmap_unwritable);
  };
  if ((unmap.flags & VFIO_DMA_UNMAP_FLAG_ALL) !== 0) {
    if (unmap.iova !== 0n || unmap.size !== 0n)
      refuse(rules.vfio_unmap_all_range, { iova: unmap.iova, size: unmap.size });
    unmapRange(table, 0n, U64_MAX, answer);
    return 0;
  }
  if (table.disableLargePages) {
    table.cutAfter(call, BigInt.asUintN(64, unmap.iova + unmap.size - 1n));
    if (unmap.iova !== 0n) table.cutAfter(call, unmap.iova - 1n);
  }
  const last = unmap.iova + unmap.size - 1n;
  if (unmap.size === 0n) {
    answer(0n);
    refuse(rules.vfio_unmap_size, {});
  }
  if (last > U64_MAX) {
    answer(0n);
    refuse(rules.vfio_unmap_wraps, { iova: unmap.iova, size: unmap.size });
  }
  unmapRange(table, unmap.iova, last, answer);
  return 0;
}

/** Linux writes the size back whether or not the unmap went through to the end. */
function unmapRange(
  table: Ioas['table'],
  start: bigint,
  last: bigint,
  answer: (unmapped: bigint) => void,
): void {
  const outcome = table.unmapAsFarAsPossible(start, last);
  answer(outcome.unmapped);
  if (outcome.refusal !== null) throw outcome.refusal;
}

/** Multiples of the CPU's page that every domain has, and never less than the alignment. */
function pageSizes(table: Ioas['table']): bigint {
  let sizes = U64_MAX;
  for (const { pgsizeBitmap } of table.domains) sizes &= pgsizeBitmap;
  if ((sizes & (PAGE_SIZE - 1n)) !== 0n) sizes = (sizes & ~(PAGE_SIZE - 1n)) | PAGE_SIZE;
  return sizes > table.alignment ? sizes : table.alignment;
}

function getInfo(call: Call): number {
  const least = vfio_iommu_type1_info.endOf('iova_pgsizes');
  const bytes = new Uint8Array(vfio_iommu_type1_info.size);
  bytes.set(call.copyIn(call.arg, least, rules.vfio_info_unreadable));
  const info = vfio_iommu_type1_info.decode(bytes);
  if (info.argsz < least) refuse(rules.vfio_info_argsz, { argsz: info.argsz, least });
  const { table } = compatIoas(call.context, rules.vfio_info_ioas);
  const caps = [dmaAvailCap(), iovaRangeCap(table)];
  const total = writeCaps(call, info.argsz, caps);
  vfio_iommu_type1_info.encode(
    {
      argsz: total,
      flags: VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
      iova_pgsizes: pageSizes(table),
      cap_offset: info.argsz >= total ? vfio_iommu_type1_info.size : 0,
      pad: 0,
    },
    bytes,
  );
  const answer = bytes.subarray(0, Math.min(info.argsz, bytes.length));
  call.copyOut(call.arg, answer, rules.vfio_info_unwritable);
  return 0;
}

function dmaAvailCap(): Uint8Array {
  const bytes = new Uint8Array(vfio_iommu_type1_info_dma_avail.size);
  const header = { id: VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, version: 1, next: 0 };
  vfio_iommu_type1_info_dma_avail.encode({ header, avail: 0xffffffff }, bytes);
  return bytes;
}

function iovaRangeCap(table: Ioas['table']): Uint8Array {
  const holes = [...table.reserved.holes()];
  const fixed = vfio_iommu_type1_info_cap_iova_range.size;
  const bytes = new Uint8Array(fixed + holes.length * vfio_iova_range.size);
  const header = { id: VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, version: 1, next: 0 };
  vfio_iommu_type1_info_cap_iova_range.encode({ header, nr_iovas: holes.length, reserved: 0 }, bytes);
  holes.forEach(({ start, last }, index) => {
    vfio_iova_range.encode({ start, end: last }, bytes, fixed + index * vfio_iova_range.size);
  });
  return bytes;
}

/** Writes the capabilities that fit, linked; returns the size that all of them need. */
function writeCaps(call: Call, argsz: number, caps: readonly Uint8Array[]): number {
  let offset = vfio_iommu_type1_info.size;
  let previous: number | null = null;
  for (const cap of caps) {
    writeCap(call, offset, Math.max(argsz - offset, 0), cap);
    if (previous !== null && argsz >= offset) {
      const link = new Uint8Array(4);
      new DataView(link.buffer).setUint32(0, offset, true);
      const at = call.arg + BigInt(previous + vfio_info_cap_header.fields.next.offset);
      call.copyOut(at, link, rules.vfio_info_link_unwritable);
    }
    previous = offset;
    offset += (cap.length + 7) & ~7;
  }
  return offset;
}

/** A list of ranges that does not fit is still written as far as whole ranges go, but without its header. */
function writeCap(call: Call, offset: number, room: number, cap: Uint8Array): void {
  const at = call.arg + BigInt(offset);
  const fixed = vfio_iommu_type1_info_cap_iova_range.size;
  if (cap.length <= room) {
    if (cap.length > fixed)
      call.copyOut(at + BigInt(fixed), cap.subarray(fixed), rules.vfio_info_ranges_unwritable);
    call.copyOut(at, cap.subarray(0, Math.min(fixed, cap.length)), rules.vfio_info_cap_unwritable);
    return;
  }
  const whole = Math.floor((room - fixed) / vfio_iova_range.size);
  if (cap.length <= fixed || whole <= 0) return;
  const ranges = cap.subarray(fixed, fixed + whole * vfio_iova_range.size);
  call.copyOut(at + BigInt(fixed), ranges, rules.vfio_info_part_unwritable);
}
