/**
 * IOMMU_HWPT_INVALIDATE: commands for the caches of a nested page table, or of a vIOMMU. Whatever happens, the
 * caller is told how many entries were handled.
 */
import { refuse, Errno } from '../base/errno.js';
import { iommu_hwpt_invalidate, type IommuHwptInvalidate } from '../wire/uapi/iommufd.gen.js';
import type { UserDataArray } from '../hw/unit.js';
import type { Call } from './call.js';
import { HwptNested, HwptOwned } from './hwpt.js';
import { PAGE_BYTES } from './units.js';
import { ViommuObject } from './viommu.js';
import { rules } from './rules.js';

const MOST_ENTRIES = 1 << 19;

export function hwptInvalidate(call: Call, cmd: IommuHwptInvalidate): void {
  const { data_type, data_uptr, entry_len, entry_num } = cmd;
  const array = call.userDataArray(data_type, data_uptr, entry_len, entry_num);
  const outcome = call.tx.attempt(() => invalidate(call, cmd, array));
  const failed = outcome instanceof Errno;
  // An answer that is put off until the call returns would be lost with the error.
  call.respond(iommu_hwpt_invalidate, { ...cmd, entry_num: array.done }, failed);
  if (failed) throw outcome;
}

/** The fields that say where the entries are; also of other doors than IOMMU_HWPT_INVALIDATE. */
export function checkEntries({
  entry_num,
  entry_len,
  data_uptr,
}: Pick<IommuHwptInvalidate, 'entry_num' | 'entry_len' | 'data_uptr'>): void {
  if (entry_num === 0) return;
  if (data_uptr === 0n) refuse(rules.invalidate_pointer, {});
  if (entry_len === 0 || entry_len > PAGE_BYTES) refuse(rules.invalidate_entry_len, { entry_len });
  if (entry_num > MOST_ENTRIES) refuse(rules.invalidate_entry_num, { entry_num, most: MOST_ENTRIES });
}

/** Commands for a page table that ioasis does not write. */
export function invalidateTable(target: HwptNested | HwptOwned, array: UserDataArray): void {
  const { domain } = target;
  if (domain.kind !== 'nested' || domain.invalidate === undefined) {
    refuse(rules.invalidate_hwpt_unit, { unit: domain.unit.name });
  }
  domain.invalidate(array);
}

function invalidate(call: Call, cmd: IommuHwptInvalidate, array: UserDataArray): void {
  if (cmd.__reserved !== 0) refuse(rules.invalidate_reserved, { __reserved: cmd.__reserved });
  checkEntries(cmd);
  const target = call.context.findAny(call, cmd.hwpt_id, rules.invalidate_target);
  if (target instanceof HwptNested || target instanceof HwptOwned) {
    invalidateTable(target, array);
  } else if (target instanceof ViommuObject) {
    const { driver } = target;
    if (driver.invalidate === undefined) refuse(rules.invalidate_viommu_unit, { unit: target.unit.name });
    driver.invalidate(array);
  } else {
    refuse(rules.invalidate_target_type, { hwpt_id: cmd.hwpt_id, type: target.type });
  }
}
