/** The conformance table: as Markdown for people and the README, and read back to see whether the README is stale. */
import { count, type Verdict } from './judge.js';
import type { Sweep } from './sweep.js';
import type { ModeCount } from './vfio-judge.js';

/** One suite run by one user. */
export interface SuiteRun {
  readonly suite: string;
  readonly user: string;
  readonly verdicts: readonly Verdict[];
  /** For iommufd_fail_nth: a sweep a test. */
  readonly sweeps: readonly Sweep[];
  /** For VFIO's programs. */
  readonly modes?: readonly ModeCount[];
}

const begin = '<!-- conformance: begin -->';
const end = '<!-- conformance: end -->';

function reasons(verdicts: readonly Verdict[]): string {
  const groups = new Map<string, number>();
  for (const { verdict, why } of verdicts) {
    if (verdict === 'skipped') groups.set(why, (groups.get(why) ?? 0) + 1);
  }
  return [...groups].map(([why, times]) => `${times}: ${why}`).join('; ');
}

/** The tables, without an empty line around them. */
export function markdown(runs: readonly SuiteRun[], linux: string): string {
  const lines = [
    `Test programs of Linux ${linux}, unmodified:`,
    '',
    '| suite | user | tests | passed | failed | skipped |',
    '|---|---|---|---|---|---|',
  ];
  for (const { suite, user, verdicts } of runs) {
    const { passed, failed, skipped } = count(verdicts);
    const why = skipped === 0 ? '0' : `${skipped} (${reasons(verdicts)})`;
    lines.push(`| ${suite} | ${user} | ${verdicts.length} | ${passed} | ${failed} | ${why} |`);
  }
  const swept = runs.filter((run) => run.sweeps.length > 0);
  const users = new Set(runs.filter(({ modes }) => modes !== undefined).map(({ user }) => user));
  if (users.size > 0) lines.push('', ...modeTable(runs, [...users]));
  if (swept.length > 0) lines.push('', ...sweepTable(swept));
  return lines.join('\n');
}

/** A row an IOMMU mode, a column a user, over all of VFIO's programs. */
function modeTable(runs: readonly SuiteRun[], users: readonly string[]): string[] {
  const counts = runs.flatMap(({ user, modes = [] }) => modes.map((each) => ({ user, ...each })));
  const cell = (mode: string, who: string): string => {
    const of = counts.filter((each) => each.mode === mode && each.user === who);
    const sum = (key: 'passed' | 'tests' | 'bytes'): number => of.reduce((total, row) => total + row[key], 0);
    const moved = sum('bytes') === 0 ? '' : `, ${(sum('bytes') / 2 ** 30).toFixed(3)} GiB`;
    return `${sum('passed')} of ${sum('tests')}${moved}`;
  };
  const names = [...new Set(counts.map(({ mode }) => mode))].toSorted(
    (a, b) => Number(a === '') - Number(b === ''),
  );
  return [
    'The tests of VFIO by IOMMU mode: how many passed, and what was copied by DMA in storms.',
    '',
    `| mode | ${users.join(' | ')} |`,
    `|---|${'---|'.repeat(users.length)}`,
    ...names.map((mode) => `| ${mode || 'none'} | ${users.map((who) => cell(mode, who)).join(' | ')} |`),
  ];
}

/** A row a test, a column a user: how many points failed one by one, at how many different sites. */
function sweepTable(swept: readonly SuiteRun[]): string[] {
  const tests = new Set(swept.flatMap((run) => run.sweeps.map((sweep) => sweep.test)));
  const cell = (run: SuiteRun, test: string): string => {
    const sites = run.sweeps.find((sweep) => sweep.test === test)?.sites ?? [];
    return `${sites.length} points, ${new Set(sites).size} sites`;
  };
  return [
    'What `iommufd_fail_nth` swept: every point made one named site fail.',
    '',
    `| test | ${swept.map((run) => run.user).join(' | ')} |`,
    `|---|${'---|'.repeat(swept.length)}`,
    ...[...tests].map((test) => `| ${test} | ${swept.map((run) => cell(run, test)).join(' | ')} |`),
  ];
}

/** `readme` with the table between its markers replaced. Throws when it has no markers. */
export function replaceTable(readme: string, table: string): string {
  const [from, to] = markers(readme);
  return `${readme.slice(0, from)}${begin}\n${table}\n${readme.slice(to)}`;
}

/** The rows `suite user tests passed failed` that stand in `text`. */
export function countsIn(text: string): string[] {
  const rows = text.matchAll(/^\| (\S+) \| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \| /gm);
  return [...rows].map((row) => row.slice(1, 6).join(' '));
}

/** True when the README's counts are those of `table`. */
export function isCurrent(readme: string, table: string): boolean {
  const [from, to] = markers(readme);
  return countsIn(readme.slice(from, to)).join('\n') === countsIn(table).join('\n');
}

function markers(readme: string): [number, number] {
  const from = readme.indexOf(begin);
  const to = readme.indexOf(end);
  if (from < 0 || to < from) throw new Error('README.md has no markers for the conformance table');
  return [from, to];
}
