/** IOAS: an I/O address space that programs map memory into, and the ioctls on it. */
import { refuse } from '../base/errno.js';
import {
  IOMMU_IOAS_MAP_FIXED_IOVA,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
  iommu_ioas_alloc,
  iommu_ioas_copy,
  iommu_ioas_iova_ranges,
  iommu_ioas_map_file,
  iommu_iova_range,
  type IommuIoasAlloc,
  type IommuIoasAllowIovas,
  type IommuIoasCopy,
  type IommuIoasIovaRanges,
  type IommuIoasMapFile,
} from '../wire/uapi/iommufd.gen.js';
import type { Call } from './call.js';
import type { Context } from './context.js';
import type { HwptPaging } from './hwpt.js';
import { MapRequest, type UnmapRequest } from './in-place.js';
import { IoPagetable } from './io-pagetable.js';
import { mapFilePages, mapUserPages } from './map.js';
import { IommufdObject, Unmade } from './object.js';
import type { AddressRange } from './reserved.js';
import { U64_MAX } from './units.js';
import { rules } from './rules.js';

const MAP_FLAGS = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE;
const ACCESS_FLAGS = IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE;

export class Ioas extends IommufdObject {
  readonly type = 'IOAS';
  // Both made when first used, so that an IOAS costs little until then: it is one object for the collector, not ten.
  #table: IoPagetable | null = null;
  #hwpts: HwptPaging[] | null = null;

  constructor(readonly context: Context) {
    super();
  }

  get table(): IoPagetable {
    return (this.#table ??= new IoPagetable(this.context));
  }

  /** In order of creation: automatic attachment tries them in this order. */
  get hwpts(): HwptPaging[] {
    return (this.#hwpts ??= []);
  }

  destroy(): void {
    if (this.context.vfioIoas === this) this.context.vfioIoas = null;
    this.#table?.removeAll();
  }
}

/** IOMMU_IOAS_ALLOC. */
export function ioasAlloc(call: Call, cmd: IommuIoasAlloc): void {
  if (cmd.flags !== 0) refuse(rules.ioas_alloc_flags, { flags: cmd.flags });
  const { context } = call;
  context.unusedIoas ??= new Unmade('IOAS', () => new Ioas(context));
  cmd.out_ioas_id = call.reserveUnmade(context.unusedIoas);
  call.respond(iommu_ioas_alloc, cmd, true);
}

/** IOMMU_IOAS_IOVA_RANGES: what is not reserved. EMSGSIZE, with all fields valid, when there are more than fit. */
export function ioasIovaRanges(call: Call, cmd: IommuIoasIovaRanges): void {
  if (cmd.__reserved !== 0) refuse(rules.iova_ranges_reserved, { __reserved: cmd.__reserved });
  const { table } = call.context.find<Ioas>(call, cmd.ioas_id, 'IOAS', rules.iova_ranges_ioas);
  const bytes = new Uint8Array(iommu_iova_range.size);
  let count = 0;
  for (const hole of table.reserved.holes()) {
    if (count < cmd.num_iovas) {
      iommu_iova_range.encode(hole, bytes);
      call.copyOut(cmd.allowed_iovas + BigInt(count * bytes.length), bytes, rules.iova_ranges_unwritable);
    }
    count += 1;
  }
  const room = cmd.num_iovas;
  call.respond(
    iommu_ioas_iova_ranges,
    { ...cmd, num_iovas: count, out_iova_alignment: table.alignment },
    count > room,
  );
  if (count > room) refuse(rules.iova_ranges_room, { ranges: count, room });
}

/** IOMMU_IOAS_ALLOW_IOVAS: the whole list replaces the old one, or nothing changes. */
export function ioasAllowIovas(call: Call, cmd: IommuIoasAllowIovas): void {
  if (cmd.__reserved !== 0) refuse(rules.allow_reserved_field, { __reserved: cmd.__reserved });
  const { table } = call.context.find<Ioas>(call, cmd.ioas_id, 'IOAS', rules.allow_ioas);
  const ranges: AddressRange[] = [];
  const size = iommu_iova_range.size;
  for (let index = 0; index < cmd.num_iovas; index++) {
    const at = cmd.allowed_iovas + BigInt(index * size);
    const range = iommu_iova_range.decode(call.copyIn(at, size, rules.allow_unreadable));
    if (range.start >= range.last)
      refuse(rules.allow_empty_range, { index, start: range.start, last: range.last });
    const clash = ranges.find((other) => range.start <= other.last && range.last >= other.start);
    if (clash !== undefined) refuse(rules.allow_overlap, { index, start: range.start, last: range.last });
    if (index >= call.context.env.limits.ranges)
      refuse(rules.allow_too_many, { limit: call.context.env.limits.ranges });
    call.alloc('iopt_allowed');
    ranges.push(range);
  }
  table.setAllowed(ranges);
}

/** IOMMU_IOAS_MAP. */
export function ioasMap(call: Call, cmd: MapRequest): void {
  if ((cmd.flags & ~MAP_FLAGS) !== 0) refuse(rules.map_flags, { flags: cmd.flags });
  if (cmd.__reserved !== 0) refuse(rules.map_reserved_field, { __reserved: cmd.__reserved });
  if (cmd.overflows) refuse(rules.map_overflow, { iova: cmd.iova, length: cmd.length });
  if ((cmd.flags & ACCESS_FLAGS) === 0) refuse(rules.map_access, { flags: cmd.flags });
  const { table } = call.context.find<Ioas>(call, cmd.ioas_id, 'IOAS', rules.map_ioas);
  mapUserPages(call, table, cmd);
  call.respondBytes(cmd.bytes, false);
}

/** IOMMU_IOAS_MAP_FILE: a memfd, or a dma-buf of an exporter that iommufd knows. */
export function ioasMapFile(call: Call, cmd: IommuIoasMapFile): void {
  if ((cmd.flags & ~MAP_FLAGS) !== 0) refuse(rules.map_file_flags, { flags: cmd.flags });
  const request = MapRequest.of(cmd.flags, cmd.start, cmd.length, cmd.iova);
  if (request.overflows) refuse(rules.map_file_overflow, { iova: cmd.iova, length: cmd.length });
  if ((cmd.flags & ACCESS_FLAGS) === 0) refuse(rules.map_file_access, { flags: cmd.flags });
  const { table } = call.context.find<Ioas>(call, cmd.ioas_id, 'IOAS', rules.map_file_ioas);
  mapFilePages(call, table, cmd.fd, request);
  cmd.iova = request.iova;
  call.commit();
  call.respond(iommu_ioas_map_file, cmd);
}

/** IOMMU_IOAS_COPY: maps again, in the same or another IOAS, the pages that a range shows. */
export function ioasCopy(call: Call, cmd: IommuIoasCopy): void {
  call.context.ioctls.convertCopySource?.(call, cmd);
  if ((cmd.flags & ~MAP_FLAGS) !== 0) refuse(rules.copy_flags, { flags: cmd.flags });
  if (cmd.length === U64_MAX || cmd.src_iova === U64_MAX || cmd.dst_iova === U64_MAX) {
    refuse(rules.copy_overflow, { length: cmd.length, src_iova: cmd.src_iova, dst_iova: cmd.dst_iova });
  }
  if ((cmd.flags & ACCESS_FLAGS) === 0) refuse(rules.copy_access, { flags: cmd.flags });
  const source = call.context.find<Ioas>(call, cmd.src_ioas_id, 'IOAS', rules.copy_source_ioas);
  const slices = source.table.slicesOf(call, cmd.src_iova, cmd.length);
  const target = call.context.find<Ioas>(call, cmd.dst_ioas_id, 'IOAS', rules.copy_target_ioas);
  const first = slices[0]!;
  const address = first.pages.base + first.startByte;
  const request = MapRequest.of(cmd.flags, address, cmd.length, cmd.dst_iova);
  target.table.map(call, slices, request);
  cmd.dst_iova = request.iova;
  call.commit();
  call.respond(iommu_ioas_copy, cmd);
}

/** IOMMU_IOAS_UNMAP: whole areas only. IOVA 0 with the largest length means everything. */
export function ioasUnmap(call: Call, cmd: UnmapRequest): void {
  const { table } = call.context.find<Ioas>(call, cmd.ioas_id, 'IOAS', rules.unmap_ioas);
  if (cmd.isAll) {
    cmd.length = table.unmap(0n, U64_MAX);
  } else {
    if (cmd.overflows) refuse(rules.unmap_overflow, { iova: cmd.iova, length: cmd.length });
    if (cmd.isEmpty) refuse(rules.unmap_length, {});
    if (cmd.wraps) refuse(rules.unmap_wraps, { iova: cmd.iova, length: cmd.length });
    if (!table.unmapNoted(cmd)) {
      const unmapped = table.unmap(cmd.iova, cmd.last);
      if (unmapped === 0n) refuse(rules.unmap_nothing, { iova: cmd.iova, last: cmd.last });
      cmd.length = unmapped;
    }
  }
  call.respondBytes(cmd.bytes, false);
}
