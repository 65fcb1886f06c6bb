/**
 * Payloads of <linux/iommu.h>. How much of one is read follows from what it says of itself: the first word is `version`
 * (v5.7), which is small, or `argsz` (v5.10), which is not; then its version and its format say how long it is.
 */
import { refuse } from '../../base/errno.js';
import type { Call } from '../../iommufd/call.js';
import type { Infer, Struct } from '../../wire/struct.js';
import * as u from '../../wire/uapi/vfio-nesting.js';
import { rules } from './rules.js';

const WORD = 4;
/** The first word of a v5.7 payload is below this, whatever version comes. */
const LEAST_ARGSZ = 16;

export type BindData = Omit<Infer<typeof u.iommu_gpasid_bind_data>, 'argsz'>;
export type InvalidateInfo = Omit<Infer<typeof u.iommu_cache_invalidate_info>, 'argsz'>;

/** Bytes of the caller's. */
export function copyIn(call: Call, at: bigint, length: number): Uint8Array {
  return call.copyIn(at, length, rules.nesting_unreadable);
}

/** `length` bytes of payload at `at` are the caller's. */
export function readBindData(call: Call, at: bigint, length: number): BindData {
  const first = firstWord(call, at, length, checkBindLength);
  if (first < LEAST_ARGSZ) {
    checkBindVersion(first);
    checkBindLength(length, u.iommu_gpasid_bind_data_v57.size);
    const old = read(call, at, u.iommu_gpasid_bind_data_v57);
    if (old.padding_low !== 0) refuse(rules.nesting_bind_old_padding, {});
    return old;
  }
  checkBindLength(Math.min(first, length), u.iommu_gpasid_bind_data.size);
  const data = read(call, at, u.iommu_gpasid_bind_data);
  checkBindVersion(data.version);
  return data;
}

function checkBindLength(length: number, least: number): void {
  if (length < least) refuse(rules.nesting_bind_payload, { length, least });
}

function checkBindVersion(version: number): void {
  if (version !== u.IOMMU_GPASID_BIND_VERSION_1) refuse(rules.nesting_bind_version, { version });
}

export function readInvalidateInfo(call: Call, at: bigint, length: number): InvalidateInfo {
  const first = firstWord(call, at, length, checkCacheLength);
  if (first < LEAST_ARGSZ) {
    checkCacheVersion(first);
    const old = readByGranularity(call, at, length, u.iommu_cache_invalidate_info_v57);
    return { ...old, padding_low: old.padding, padding: 0 };
  }
  const info = readByGranularity(call, at, Math.min(first, length), u.iommu_cache_invalidate_info);
  checkCacheVersion(info.version);
  return info;
}

function checkCacheLength(length: number, least: number): void {
  if (length < least) refuse(rules.nesting_cache_payload, { length, least });
}

function checkCacheVersion(version: number): void {
  if (version !== u.IOMMU_CACHE_INVALIDATE_INFO_VERSION_1) refuse(rules.nesting_cache_version, { version });
}

function firstWord(
  call: Call,
  at: bigint,
  length: number,
  checkLength: (length: number, least: number) => void,
): number {
  checkLength(length, WORD);
  return new DataView(copyIn(call, at, WORD).buffer).getUint32(0, true);
}

function read<T>(call: Call, at: bigint, struct: Struct<T>): T {
  return struct.decode(copyIn(call, at, struct.size));
}

/** Only as much as the granularity has: nothing, or what is said of a PASID, or of addresses. */
function readByGranularity<T extends { granularity: number }>(
  call: Call,
  at: bigint,
  length: number,
  struct: Struct<T>,
): T {
  const fields = struct.fields as Readonly<Record<string, { readonly offset: number }>>;
  const head = fields['granu_flags']!.offset;
  checkCacheLength(length, head);
  const bytes = new Uint8Array(struct.size);
  bytes.set(copyIn(call, at, head));
  const { granularity } = struct.decode(bytes);
  const pasidEnd = fields['addr']!.offset;
  const least = [head, pasidEnd, struct.size][granularity];
  if (least === undefined) refuse(rules.nesting_cache_granularity, { granularity });
  checkCacheLength(length, least);
  bytes.set(copyIn(call, at, least));
  return struct.decode(bytes);
}
