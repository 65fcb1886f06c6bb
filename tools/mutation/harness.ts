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
let endings: (() => unknown)[] = [];

export const { expect } = chai;

/** Everything that the loaded files declare. */
export function declared(): readonly Test[] {
  return tests;
}

function describeOne(title: string, body: () => void): void {
  const [outerTitles, outerHooks, outerEndings] = [titles, hooks, endings];
  titles = [...titles, title];
  hooks = [...hooks];
  endings = [...endings];
  body();
  [titles, hooks, endings] = [outerTitles, outerHooks, outerEndings];
}

/** `test(title, body)` and `test(title, options, body)`. */
function testOne(title: string, ...rest: readonly unknown[]): void {
  const body = rest.findLast((value) => typeof value === 'function') as () => unknown;
  const [before, after] = [hooks, endings];
  tests.push({
    title: [...titles, title].join(' > '),
    run: async () => {
      for (const hook of before) await hook();
      await body();
      for (const hook of after) await hook();
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
export const afterEach = (hook: () => unknown): void => void endings.push(hook);
/** The hooks of one file are not those of the next. */
export function endFile(): void {
  hooks = [];
  endings = [];
}
