/** IOMMU_OPTION: RLIMIT_MODE of the context, HUGE_PAGES of an IOAS. */
import { refuse } from '../base/errno.js';
import {
  IOMMU_OPTION_HUGE_PAGES,
  IOMMU_OPTION_OP_GET,
  IOMMU_OPTION_OP_SET,
  IOMMU_OPTION_RLIMIT_MODE,
  iommu_option,
  type IommuOption,
} from '../wire/uapi/iommufd.gen.js';
import type { Call } from './call.js';
import type { Ioas } from './ioas.js';
import { rules } from './rules.js';

export function option(call: Call, cmd: IommuOption): void {
  if (cmd.__reserved !== 0) refuse(rules.option_reserved, { __reserved: cmd.__reserved });
  let value: bigint;
  if (cmd.option_id === IOMMU_OPTION_RLIMIT_MODE) value = rlimitMode(call, cmd);
  else if (cmd.option_id === IOMMU_OPTION_HUGE_PAGES) value = hugePages(call, cmd);
  else refuse(rules.option_unknown, { option_id: cmd.option_id });
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  call.copyOut(call.arg + BigInt(iommu_option.fields.val64.offset), bytes, rules.option_unwritable);
}

function rlimitMode(call: Call, cmd: IommuOption): bigint {
  const { context, task } = call;
  if (cmd.object_id !== 0) refuse(rules.rlimit_mode_object, { object_id: cmd.object_id });
  if (cmd.op === IOMMU_OPTION_OP_GET) return context.accountMode === 'mm' ? 1n : 0n;
  if (cmd.op !== IOMMU_OPTION_OP_SET) refuse(rules.rlimit_mode_op, { op: cmd.op });
  if (!task.capable('CAP_SYS_RESOURCE')) refuse(rules.rlimit_mode_capability, {});
  if (!context.objects.empty) refuse(rules.rlimit_mode_busy, {});
  if (cmd.val64 > 1n) refuse(rules.rlimit_mode_value, { val64: cmd.val64 });
  context.accountMode = cmd.val64 === 1n ? 'mm' : 'user';
  return cmd.val64;
}

function hugePages(call: Call, cmd: IommuOption): bigint {
  const { table } = call.context.find<Ioas>(call, cmd.object_id, 'IOAS', rules.huge_pages_ioas);
  if (cmd.op === IOMMU_OPTION_OP_GET) return table.disableLargePages ? 0n : 1n;
  if (cmd.op !== IOMMU_OPTION_OP_SET) refuse(rules.huge_pages_op, { op: cmd.op });
  if (cmd.val64 > 1n) refuse(rules.huge_pages_value, { val64: cmd.val64 });
  table.setLargePages(cmd.val64 === 1n);
  return cmd.val64;
}
