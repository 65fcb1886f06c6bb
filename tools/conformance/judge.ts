/**
 * Compares what a suite printed here with what Linux itself answers (expected.json). A test counts as skipped only
 * where Linux skips or fails it too; everything else that did not pass has failed, tests that never ran included.
 */
import type { Tap } from '../lib/tap.js';

/** A suite as Linux answered it. */
export interface Expectation {
  readonly tests: readonly string[];
  /** Test -> the reason that Linux printed. */
  readonly skips: Readonly<Record<string, string>>;
  /** Tests that fail on Linux too when the machine has no huge pages. */
  readonly needsHugePages: readonly string[];
}

export interface Circumstances {
  /** The machine has the huge pages that the tests ask for. */
  readonly hugePages: boolean;
  /** The test program comes from the Linux that `Expectation` was recorded with: its list of tests is known. */
  readonly sameLinux: boolean;
}

export interface Verdict {
  readonly name: string;
  readonly verdict: 'passed' | 'failed' | 'skipped';
  /** Why, when not passed. */
  readonly why: string;
  /** What the test printed, when it failed. */
  readonly output: readonly string[];
}

const noHugePages = 'no huge pages on this machine';

/** One verdict a test, in the order of running; then one for each test that is missing. */
export function judge(tap: Tap, expected: Expectation, here: Circumstances): Verdict[] {
  const knownReasons = new Set(Object.values(expected.skips));
  const verdicts = tap.tests.map(({ name, outcome, reason, output }): Verdict => {
    if (outcome === 'pass') return { name, verdict: 'passed', why: '', output: [] };
    if (outcome === 'skip') {
      const linuxToo = here.sameLinux ? expected.skips[name] === reason : knownReasons.has(reason);
      if (linuxToo) return { name, verdict: 'skipped', why: `Linux too: ${reason}`, output: [] };
      return { name, verdict: 'failed', why: `skipped, and Linux does not: ${reason}`, output };
    }
    if (!here.hugePages && expected.needsHugePages.includes(name)) {
      return { name, verdict: 'skipped', why: noHugePages, output: [] };
    }
    return { name, verdict: 'failed', why: 'failed', output };
  });
  return [...verdicts, ...missing(tap, expected, here)];
}

function missing(tap: Tap, expected: Expectation, here: Circumstances): Verdict[] {
  const never = (name: string): Verdict => ({
    name,
    verdict: 'failed',
    why: 'did not run',
    output: tap.rest,
  });
  const seen = new Set(tap.tests.map((test) => test.name));
  if (here.sameLinux) return expected.tests.filter((name) => !seen.has(name)).map(never);
  const planned = tap.planned ?? expected.tests.length;
  const absent = Math.max(0, planned - tap.tests.length);
  return Array.from({ length: absent }, (_, index) =>
    never(`test ${tap.tests.length + index + 1} of ${planned}`),
  );
}

/**
 * What the end of the run adds: a suite of which nothing failed has to end, and with the status that says so. A suite
 * with failures, or with tests that fail on Linux for want of huge pages, ends with 1. `rest` is what it printed last.
 */
export function judgeEnding(
  verdicts: readonly Verdict[],
  ending: string,
  rest: readonly string[] = [],
): Verdict[] {
  const status = verdicts.some((each) => each.verdict === 'failed' || each.why === noHugePages) ? 1 : 0;
  if (ending === `status ${status}`) return [...verdicts];
  const why = `ended with ${ending}, not with status ${status}`;
  return [...verdicts, { name: 'the end', verdict: 'failed', why, output: rest }];
}

/** How many verdicts of each kind. */
export function count(verdicts: readonly Verdict[]): Record<Verdict['verdict'], number> {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const { verdict } of verdicts) sum[verdict] += 1;
  return sum;
}
