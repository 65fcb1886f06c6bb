/** What a case of the rule tables is: how to get to the point where one call breaks exactly one rule. */
import { Errno, type ErrnoName } from '../../../src/base/errno.js';
import type { World, WorldOptions } from '../world.js';

/** Prepares a world and returns the call that has to be refused. */
export type Prepare = (w: World) => () => unknown;

export interface Case {
  readonly code: ErrnoName;
  readonly prepare: Prepare;
  readonly options: WorldOptions;
  /** What was done before the refusal stays done, as in Linux. */
  readonly leavesChanges: boolean;
}

/** By rule id. The errno is said again here, so that a change of it in the catalogue shows. */
export type Cases = Readonly<Record<string, Case>>;

export function refused(
  code: ErrnoName,
  prepare: Prepare,
  more: { readonly options?: WorldOptions; readonly leavesChanges?: boolean } = {},
): Case {
  return { code, prepare, options: more.options ?? {}, leavesChanges: more.leavesChanges ?? false };
}

/** Repeats `act` with the first, second, ... injection point failing, until that is the one called `site`. */
export function failingAt(w: World, site: string, act: () => unknown): () => unknown {
  return () => {
    for (let n = 1; ; n += 1) {
      w.injector.arm(n);
      try {
        act();
      } catch (error) {
        if (!(error instanceof Errno) || w.injector.fired === site) throw error;
        continue;
      }
      throw new Error(`there is no point ${site} on the way`);
    }
  };
}
