/**
 * Payloads of <linux/iommu.h>. How much of one is read follows from what it says of itself: the first word is `version`
 * (v5.7), which is small, or `argsz` (v5.10), which is not; then its version and its format say how long it is.
 */
import { refuse, type Rule } from '../../base/errno.js';
import type { Call } from '../../iommufd/call.js';
import type { Infer, Struct } from '../../wire/struct.js';
import * as u from '../../wire/uapi/vfio-nesting.js';
import { rules } from './rules.js';

const WORD = 4;
/** The first word of a v5.7 payload is below this, whatever version comes. */
const LEAST_ARGSZ = 16;

export type BindData = Omit<Infer<typeof u.iommu_gpasid_bind_data>, 'argsz'>;
export type InvalidateInfo = Omit<Infer<typeof u.iommu_cache_invalidate_info>, 'argsz'>;

/** `length` bytes of payload at `at` are the caller's. */
export function readBindData(call: Call, at: bigint, length: number): BindData {
  const first = firstWord(call, at, length, rules.bind_payload);
  if (first < LEAST_ARGSZ) {
    if (first !== u.IOMMU_GPASID_BIND_VERSION_1) refuse(rules.bind_version, { version: first });
    const old = read(call, at, length, u.iommu_gpasid_bind_data_v57, rules.bind_payload);
    if (old.padding_low !== 0) refuse(rules.bind_padding, {});
    return old;
  }
  const { size } = u.iommu_gpasid_bind_data;
  if (first < size) refuse(rules.bind_payload, { length: first, least: size });
  const data = read(call, at, length, u.iommu_gpasid_bind_data, rules.bind_payload);
  if (data.version !== u.IOMMU_GPASID_BIND_VERSION_1) refuse(rules.bind_version, { version: data.version });
  return data;
}

export function readInvalidateInfo(call: Call, at: bigint, length: number): InvalidateInfo {
  const first = firstWord(call, at, length, rules.cache_payload);
  if (first < LEAST_ARGSZ) {
    if (first !== u.IOMMU_CACHE_INVALIDATE_INFO_VERSION_1) refuse(rules.cache_version, { version: first });
    const old = readByGranularity(call, at, length, u.iommu_cache_invalidate_info_v57);
    return { ...old, padding_low: old.padding, padding: 0 };
  }
  const info = readByGranularity(call, at, Math.min(first, length), u.iommu_cache_invalidate_info);
  if (info.version !== u.IOMMU_CACHE_INVALIDATE_INFO_VERSION_1)
    refuse(rules.cache_version, { version: info.version });
  return info;
}

function firstWord(call: Call, at: bigint, length: number, tooShort: Rule): number {
  if (length < WORD) refuse(tooShort, { length, least: WORD });
  return new DataView(call.copyIn(at, WORD, rules.nesting_unreadable).buffer).getUint32(0, true);
}

function read<T>(call: Call, at: bigint, length: number, struct: Struct<T>, tooShort: Rule): T {
  if (length < struct.size) refuse(tooShort, { length, least: struct.size });
  return struct.decode(call.copyIn(at, struct.size, rules.nesting_unreadable));
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
  if (length < head) refuse(rules.cache_payload, { length, least: head });
  const bytes = new Uint8Array(struct.size);
  bytes.set(call.copyIn(at, head, rules.nesting_unreadable));
  const { granularity } = struct.decode(bytes);
  const pasidEnd = fields['addr']!.offset;
  const least = [head, pasidEnd, struct.size][granularity];
  if (least === undefined) refuse(rules.cache_granularity, { granularity });
  if (length < least) refuse(rules.cache_payload, { length, least });
  bytes.set(call.copyIn(at, least, rules.nesting_unreadable));
  return struct.decode(bytes);
}
