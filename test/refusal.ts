/** How the engine refuses a call. What is thrown otherwise is a mistake, and fails the test that meets it. */
import { Errno } from '../src/base/errno.js';

/** Null: the call was done. */
export function refusalOf(act: () => unknown): Errno | null {
  try {
    act();
    return null;
  } catch (error) {
    if (error instanceof Errno) return error;
    throw error;
  }
}

/** Its errno, or `none`. */
export const errnoOf = (act: () => unknown): string => refusalOf(act)?.code ?? 'none';

/** The rule behind it, or `none`. */
export const ruleOf = (act: () => unknown): string => refusalOf(act)?.rule ?? 'none';
