/** Each rule is broken once, alone: the refusal names it, says why in whole sentences, and leaves nothing behind. */
import { describe, expect, test } from 'vitest';
import { refusalOf } from '../../refusal.js';
import { World } from '../world.js';
import { groups } from './all.js';
import type { Case } from './case.js';

function judge(rule: string, { code, prepare, options, leavesChanges }: Case): void {
  const w = new World(options);
  const act = prepare(w);
  const before = w.snapshot();
  const error = refusalOf(act)!;
  expect(error).toMatchObject({ rule, code });
  expect(error.reason).not.toMatch(/[{}]|undefined|null|NaN|\[object/);
  expect(error.message).toBe(`${code}: ${error.reason} [${rule}]`);
  if (!leavesChanges) expect(w.snapshot()).toEqual(before);
  w.end();
}

for (const [group, cases] of Object.entries(groups)) {
  describe(group, () => {
    test.each(Object.entries(cases))('%s refuses, says why, and changes nothing', judge);
  });
}
