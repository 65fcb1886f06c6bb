/**
 * TAP as the kernel's kselftest harness prints it: `ok N name`, `not ok N name`, `# SKIP reason`, a plan `1..N`.
 * Output of the test's own (assertions, messages) lies between the lines and is kept with the test it belongs to.
 */

export interface TapTest {
  readonly name: string;
  readonly outcome: 'pass' | 'fail' | 'skip';
  /** Why it was skipped; '' otherwise. */
  readonly reason: string;
  /** What was printed between the line before and this one. */
  readonly output: readonly string[];
}

export interface Tap {
  /** Tests announced by `1..N`; null when no plan was seen, as after an early crash. */
  readonly planned: number | null;
  readonly tests: readonly TapTest[];
  /** What was printed after the last result: the place of a crash or a hang. */
  readonly rest: readonly string[];
}

/** Reads what a test program printed. Never throws: whatever is no TAP is output. */
export function parseTap(text: string): Tap {
  const tests: TapTest[] = [];
  let planned: number | null = null;
  let output: string[] = [];
  for (const line of text.replaceAll('\r', '').split('\n')) {
    const plan = /^1\.\.(\d+)$/.exec(line);
    const result = /^(not )?ok \d+ (?:- )?(.*?)(?: # (\w+) ?(.*))?$/.exec(line);
    if (plan !== null && planned === null) {
      planned = Number(plan[1]);
    } else if (result !== null) {
      const [, not, name, directive, reason] = result;
      const skipped = directive?.toUpperCase() === 'SKIP';
      tests.push({
        name: name as string,
        outcome: not !== undefined ? 'fail' : skipped ? 'skip' : 'pass',
        reason: skipped ? (reason as string) : '',
        output,
      });
      output = [];
    } else if (line !== '') {
      output.push(line);
    }
  }
  return { planned, tests, rest: output };
}
