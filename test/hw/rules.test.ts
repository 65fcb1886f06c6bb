/** Each rule of the core and of the mock unit that no ioctl reaches, broken alone. */
import { expect, test } from 'vitest';
import { Errno } from '../../src/base/errno.js';
import { bench, unitCases } from './cases.js';

test.each(Object.entries(unitCases))('%s is refused, with its reason', (rule, [code, act]) => {
  const made = bench();
  let error: unknown = null;
  try {
    act(made);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(Errno);
  expect(error).toMatchObject({ rule, code });
  expect((error as Errno).reason).not.toMatch(/[{}]|undefined|null|NaN|\[object/);
  made.domain.free();
  made.foreign.free();
  expect(made.memory.tables.liveBlocks).toBe(0);
});
