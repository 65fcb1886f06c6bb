/**
 * Locked-memory accounting of pinned pages (iopt_pages_update_pinned): against the user's limit, against the
 * mm's, or not at all. The mm's pinned_vm (VmPin) counts them, unless they are VFIO's type1's.
 */
import type { Refusal } from '../base/errno.js';
import { RLIM_INFINITY, type Task } from '../mem/task.js';
import type { AccountMode } from './context.js';
import { rules } from './rules.js';

/** Who pays for pinned pages: the process that made the mapping. */
export type Payer = Pick<Task, 'mm' | 'user' | 'memlockLimit'>;

export const samePayer = (a: Payer, b: Payer): boolean => a.mm === b.mm && a.user === b.user;

/** Adds `pages` to the account, or says why not. */
export function charge(payer: Payer, mode: AccountMode, pages: number): Refusal | null {
  if (mode === 'user') {
    const refusal = overLimit(payer, payer.user.lockedVm + pages, pages);
    if (refusal !== null) return refusal;
    payer.user.lockedVm += pages;
  } else if (mode === 'mm' || mode === 'type1') {
    const refusal = overLimit(payer, payer.mm.account.lockedVm + pages, pages);
    if (refusal !== null) return refusal;
  }
  count(payer, mode, pages);
  return null;
}

/** Takes `pages` off the account again. */
export function uncharge(payer: Payer, mode: AccountMode, pages: number): void {
  if (mode === 'user') payer.user.lockedVm -= pages;
  count(payer, mode, -pages);
}

/** In the accounts of the mm, which have no limits of their own. */
function count({ mm: { account } }: Payer, mode: AccountMode, pages: number): void {
  if (mode === 'mm' || mode === 'type1' || mode === 'type1-unlimited') account.lockedVm += pages;
  if (mode === 'none' || mode === 'user' || mode === 'mm') account.pinnedVm += pages;
}

function overLimit(payer: Payer, total: number, pages: number): Refusal | null {
  // Its limit is looked up when pages are pinned, not when they were mapped.
  const limit = payer.memlockLimit;
  if (limit === RLIM_INFINITY || BigInt(total) <= limit >> 12n) return null;
  return { rule: rules.memlock, values: { pages, total, limit: Number(limit >> 12n) } };
}
