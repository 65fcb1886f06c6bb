/** ENOMEM where Linux allocates and ioasis does not: only injection makes these fail. Real bounds have rules. */
import type { Refusal } from '../base/errno.js';
import type { FaultKind, Injector } from '../base/inject.js';
import { rules } from './rules.js';

/** The refusal of the allocation that `what` names, when it has to fail now. */
export function shortage(injector: Injector, kind: FaultKind, what: string): Refusal | null {
  return injector.point(kind, what) ? { rule: rules.no_memory, values: { what } } : null;
}
