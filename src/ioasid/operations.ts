/** What can be done with an ioasid; which kind takes which operation is `legality.ts`' to say. */
import { Errno, refuse, type Rule } from '../base/errno.js';
import type { Call } from '../iommufd/call.js';
import { MapRequest } from '../iommufd/in-place.js';
import { checkEntries, invalidateTable } from '../iommufd/invalidate.js';
import { mapUserPages } from '../iommufd/map.js';
import {
  IOMMU_IOAS_MAP_FIXED_IOVA,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
} from '../wire/uapi/iommufd.gen.js';
import * as uapi from '../wire/uapi/ioasid.js';
import type { Ioasid, KernelIoasid, OwnedIoasid } from './ioasid.js';
import { checkLegal, numberOfKind, operationsOf, type IoasidOperation } from './legality.js';
import { rules } from './rules.js';

const TOP = 1n << 64n;
const KNOWN = uapi.IOASID_READ | uapi.IOASID_WRITE;

function find(call: Call, id: number, rule: Rule): Ioasid {
  return call.context.find<Ioasid>(call, id, 'IOASID', rule);
}

/** The one with this id, on which `operation` is legal. */
function target(call: Call, id: number, operation: IoasidOperation, rule: Rule): Ioasid {
  const found = find(call, id, rule);
  checkLegal(operation, found.kind, id);
  return found;
}

/** MAP_IOASID: at `iova`, always. */
export function mapIoasid(call: Call, cmd: uapi.MapIoasid): void {
  const { flags, ioasid, iova, length, user_va, __reserved } = cmd;
  if ((flags & ~KNOWN) !== 0) refuse(rules.ioasid_map_flags, { flags });
  if (__reserved !== 0) refuse(rules.ioasid_map_reserved, { __reserved });
  const { ioas } = target(call, ioasid, 'map', rules.ioasid_map) as KernelIoasid;
  if ((flags & KNOWN) === 0) refuse(rules.ioasid_map_access, { flags });
  if (iova + length > TOP) refuse(rules.ioasid_map_wraps, { iova, length });
  const access =
    ((flags & uapi.IOASID_READ) !== 0 ? IOMMU_IOAS_MAP_READABLE : 0) |
    ((flags & uapi.IOASID_WRITE) !== 0 ? IOMMU_IOAS_MAP_WRITEABLE : 0);
  mapUserPages(call, ioas.table, MapRequest.of(access | IOMMU_IOAS_MAP_FIXED_IOVA, user_va, length, iova));
}

export function unmapIoasid(call: Call, cmd: uapi.UnmapIoasid): void {
  const { ioasid, iova, length } = cmd;
  const { ioas } = target(call, ioasid, 'unmap', rules.ioasid_unmap) as KernelIoasid;
  if (length === 0n) refuse(rules.ioasid_unmap_length, {});
  const last = iova + length - 1n;
  if (last >= TOP) refuse(rules.ioasid_unmap_wraps, { iova, length });
  const unmapped = ioas.table.unmap(iova, last);
  if (unmapped === 0n) refuse(rules.ioasid_unmap_nothing, { iova, last });
  call.respond(uapi.unmap_ioasid, { ...cmd, length: unmapped });
}

/** INVALIDATE_IOASID. Whatever happens, the caller is told how many entries took effect. */
export function invalidateIoasid(call: Call, cmd: uapi.InvalidateIoasid): void {
  const { data_type, data_uptr, entry_len, entry_num } = cmd;
  const array = call.userDataArray(data_type, data_uptr, entry_len, entry_num);
  const outcome = call.tx.attempt(() => {
    if (cmd.__reserved !== 0) refuse(rules.ioasid_invalidate_reserved, { __reserved: cmd.__reserved });
    checkEntries(cmd);
    const { table } = target(call, cmd.ioasid, 'invalidate', rules.ioasid_invalidate) as OwnedIoasid;
    invalidateTable(table, array);
  });
  const failed = outcome instanceof Errno;
  call.respond(uapi.invalidate_ioasid, { ...cmd, entry_num: array.done }, failed);
  if (failed) throw outcome;
}

export function infoIoasid(call: Call, cmd: uapi.InfoIoasid): void {
  const found = find(call, cmd.ioasid, rules.ioasid_info);
  const [start, last] = found.kind === 'kernel' ? spanOf(found as KernelIoasid) : [0n, TOP - 1n];
  call.respond(uapi.info_ioasid, {
    ...cmd,
    kind: numberOfKind(found.kind),
    operations: operationsOf(found.kind),
    authorized: found.attachments,
    parent: (found as OwnedIoasid).parent?.id ?? 0,
    iova_start: start,
    iova_last: last,
  });
}

/** From the first to the last address that can be mapped; there may be holes between. */
function spanOf({ ioas }: KernelIoasid): [start: bigint, last: bigint] {
  const holes = [...ioas.table.reserved.holes()];
  return holes.length === 0 ? [0n, 0n] : [holes[0]!.start, holes[holes.length - 1]!.last];
}

/** DESTROY_IOASID: of whatever kind, and a fault file. */
export function destroyIoasid(call: Call, cmd: uapi.DestroyIoasid): void {
  const { objects } = call.context;
  const object = objects.peek(cmd.ioasid);
  if (object === undefined || (object.type !== 'IOASID' && object.type !== 'FAULT')) {
    refuse(rules.ioasid_destroy, { id: cmd.ioasid });
  }
  const inUse = object.type === 'IOASID' ? (object as Ioasid).attachments : 0;
  const users = object.users - 1 + inUse;
  if (users > 0 || !objects.destroy(object)) {
    refuse(rules.ioasid_destroy_busy, { type: object.type, id: object.id, users });
  }
}
