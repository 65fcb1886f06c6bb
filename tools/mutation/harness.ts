/**
 * As much of vitest as the tests of the units use, for one process that runs them again and again: a list of tests with
 * their hooks, and vitest's own `expect`.
 */
import { JestAsymmetricMatchers, JestChaiExpect, JestExtend } from '@vitest/expect';
import * as chai from 'chai';

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

type Body = (...args: never[]) => unknown;

interface Test {
  readonly title: string;
  readonly run: () => unknown;
}

const tests: Test[] = [];
let titles: string[] = [];
let hooks: (() => unknown)[] = [];

export const { expect } = chai;

/** Everything that the loaded files declare. */
export function declared(): readonly Test[] {
  return tests;
}

function describeOne(title: string, body: () => void): void {
  const [outerTitles, outerHooks] = [titles, hooks];
  titles = [...titles, title];
  hooks = [...hooks];
  body();
  [titles, hooks] = [outerTitles, outerHooks];
}

/** `test(title, body)` and `test(title, options, body)`. */
function testOne(title: string, ...rest: readonly unknown[]): void {
  const body = rest.findLast((value) => typeof value === 'function') as () => unknown;
  const own = hooks;
  tests.push({
    title: [...titles, title].join(' > '),
    run: async () => {
      for (const hook of own) await hook();
      await body();
    },
  });
}

function each(declare: (title: string, body: () => void) => void) {
  return (rows: readonly unknown[]) =>
    (title: string, body: Body): void => {
      for (const [index, row] of rows.entries()) {
        const args = Array.isArray(row) ? row : [row];
        declare(`${title} [${index}]`, () => body(...(args as never[])));
      }
    };
}

export const describe = Object.assign(describeOne, { each: each(describeOne) });
export const test = Object.assign(testOne, {
  each: each(testOne),
  runIf: (isWanted: boolean) => (isWanted ? testOne : () => {}),
});
export const it = test;
export const beforeEach = (hook: () => unknown): void => void hooks.push(hook);
