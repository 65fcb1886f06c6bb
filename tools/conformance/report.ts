/** What a run of a test program prints here: a line of counts, then what failed and why. */
import type { RunResult } from '../lib/process.js';
import { count, type Verdict } from './judge.js';

/** How it ended, in words. */
export const endingOf = ({ timedOut, status, signal }: RunResult): string =>
  timedOut ? 'a time-out' : `status ${status ?? signal}`;

export function printRun(name: string, user: string, verdicts: readonly Verdict[], result: RunResult): void {
  const { passed, failed, skipped } = count(verdicts);
  const seconds = (result.milliseconds / 1000).toFixed(1);
  const counts = `${passed} passed, ${failed} failed, ${skipped} skipped`;
  console.log(`${name}, ${user}: ${counts} (${seconds} s, ${endingOf(result)})`);
  printFailures(verdicts);
}

function printFailures(verdicts: readonly Verdict[]): void {
  let previous: readonly string[] = [];
  for (const { name, verdict, why, output } of verdicts) {
    if (verdict !== 'failed') continue;
    console.log(`  not ok ${name}: ${why}`);
    if (output !== previous) for (const line of output.slice(-12)) console.log(`    ${line}`);
    previous = output;
  }
}
