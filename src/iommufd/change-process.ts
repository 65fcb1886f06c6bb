/**
 * IOMMU_IOAS_CHANGE_PROCESS: the calling process takes over paying for every pinned page of the context. Only
 * file mappings can move, because only they do not depend on the old process's addresses.
 */
import { refuse } from '../base/errno.js';
import type { IommuIoasChangeProcess } from '../wire/uapi/iommufd.gen.js';
import { charge, samePayer, uncharge, type Payer } from './accounting.js';
import type { AccountMode } from './context.js';
import type { Call } from './call.js';
import { Ioas } from './ioas.js';
import type { Pages } from './pages.js';
import { rules } from './rules.js';

export function ioasChangeProcess(call: Call, cmd: IommuIoasChangeProcess): void {
  if (cmd.__reserved !== 0) refuse(rules.change_process_reserved, { __reserved: cmd.__reserved });
  call.alloc('ioas list');
  const all = collect(call);
  const payer: Payer = call.task;
  const moving = [...all].filter((pages) => moves(pages, payer));
  const charged: { mode: AccountMode; pages: number }[] = [];
  for (const mode of ['none', 'user', 'mm'] as const) {
    const pages = moving.reduce((sum, each) => sum + (each.accountMode === mode ? each.pinnedCount : 0), 0);
    if (pages === 0) continue;
    const refusal = charge(payer, mode, pages);
    if (refusal !== null) {
      for (const done of charged) uncharge(payer, done.mode, done.pages);
      refuse(rules.change_process_memlock, refusal.values);
    }
    charged.push({ mode, pages });
  }
  for (const pages of moving) uncharge(pages.payer, pages.accountMode, pages.pinnedCount);
  // Linux cannot reach the account of an mm that is gone: it moves the pages, and says so.
  const orphan = moving.find((pages) => pages.accountMode === 'mm' && !pages.payer.mm.isAlive);
  for (const pages of all) pages.payer = payer;
  if (orphan !== undefined) refuse(rules.change_process_gone, { pages: orphan.pinnedCount });
}

/** Unaccounted pages have nothing to move. */
function moves(pages: Pages, payer: Payer): boolean {
  if (pages.accountMode === 'none') return false;
  return pages.accountMode === 'mm' ? pages.payer.mm !== payer.mm : !samePayer(pages.payer, payer);
}

function collect(call: Call): Set<Pages> {
  const all = new Set<Pages>();
  for (const object of call.context.objects.objects()) {
    if (!(object instanceof Ioas)) continue;
    for (const area of object.table.areas()) {
      if (area.pages.source.kind !== 'file') {
        refuse(rules.change_process_kind, {
          ioas_id: object.id,
          iova: area.iova,
          kind: area.pages.source.kind,
        });
      }
      all.add(area.pages);
    }
  }
  return all;
}
