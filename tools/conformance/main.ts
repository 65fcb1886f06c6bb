/**
 * `npm run conformance`: the iommufd and VFIO test programs of Linux itself, compiled as they are, on ioasis, as root and
 * as an ordinary user. Prints a table; fails when a test does not do what it does on Linux.
 * `npm run conformance -- --write` puts the table into README.md.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { misused, readArguments } from '../lib/arguments.js';
import { PackageGone } from '../lib/debian.js';
import { runProgram } from '../lib/process.js';
import { repoRoot } from '../lib/repo.js';
import { parseTap } from '../lib/tap.js';
import { withHugePages } from './huge-pages.js';
import { count, judge, judgeEnding, type Circumstances, type Expectation } from './judge.js';
import { compile, openSources } from './programs.js';
import { endingOf, printRun } from './report.js';
import { judgeSweeps, sitesByProcess, sweepsOf, type Sweep } from './sweep.js';
import { isCurrent, markdown, replaceTable, type SuiteRun } from './table.js';
import { currentUser, withOrdinaryUser, type User } from '../lib/users.js';
import { runVfio, type Storms } from './vfio.js';
import { compileVfio, type VfioPrograms } from './vfio-programs.js';

interface Expected {
  /** The release that was recorded, as `7.2`. */
  readonly linux: string;
  readonly suites: Readonly<Record<string, Expectation>>;
}

/** On Linux in an emulated guest the longest suite takes 8 seconds. */
const timeoutMs = 10 * 60_000;
const sweptSuite = 'iommufd_fail_nth';
const { values } = readArguments({
  // Of all programs only those of one folder.
  only: { type: 'string' },
  // Copy storms move 64 GiB in each IOMMU mode; in one is enough to see them work.
  'one-storm': { type: 'boolean', default: false },
  write: { type: 'boolean', default: false },
});
const only = (folder: 'iommufd' | 'vfio'): boolean => values.only === folder;
const oneStorm = values['one-storm'];
if (values.only !== undefined && !only('iommufd') && !only('vfio'))
  misused(`--only: "${values.only}" is neither iommufd nor vfio`);
const readmePath = join(repoRoot, 'README.md');

const expected = JSON.parse(
  readFileSync(join(repoRoot, 'tools/conformance/expected.json'), 'utf8'),
) as Expected;

async function runSuite(suite: string, user: User, program: string, here: Circumstances): Promise<SuiteRun> {
  const folder = mkdtempSync(join(tmpdir(), 'trace-'));
  chmodSync(folder, 0o777);
  try {
    const trace = join(folder, 'trace.json');
    const swept = suite === sweptSuite;
    const options = ['--selftest', ...(swept ? [`--trace=${trace}`, '--trace-format', 'json'] : [])];
    const command = user.command(options, program);
    const result = await runProgram(command, { env: user.env, timeoutMs });
    const tap = parseTap(result.output);
    let verdicts = judgeEnding(judge(tap, expected.suites[suite] as Expectation, here), endingOf(result));
    let sweeps: Sweep[] = [];
    if (swept) {
      const processes = existsSync(trace) ? sitesByProcess(readFileSync(trace, 'utf8')) : [];
      sweeps = sweepsOf(
        tap.tests.map((test) => test.name),
        processes,
      );
      verdicts = judgeSweeps(verdicts, sweeps);
    }
    printRun(suite, user.name, verdicts, result);
    for (const { test, sites } of sweeps)
      console.log(`  ${test}: ${sites.length} points: ${sites.join(' ')}`);
    return { suite, user: user.name, verdicts, sweeps };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Programs {
  /** Suite -> its executable. */
  readonly iommufd: ReadonlyMap<string, string>;
  readonly vfio: VfioPrograms;
}

async function runAll({ iommufd, vfio }: Programs, here: Circumstances): Promise<SuiteRun[]> {
  const runs: SuiteRun[] = [];
  let storms: Storms = oneStorm ? 'one' : 'all';
  const all = async (user: User): Promise<void> => {
    if (!only('vfio')) {
      for (const [suite, program] of iommufd) runs.push(await runSuite(suite, user, program, here));
    }
    if (only('iommufd')) return;
    runs.push(...(await runVfio(vfio, user, storms)));
    if (oneStorm) storms = 'none';
  };
  if (process.getuid?.() === 0) {
    await all(currentUser('root'));
    await withOrdinaryUser(all);
  } else {
    await all(currentUser('ordinary user'));
    console.log('not root: the suites ran as this user only');
  }
  return runs;
}

/** Returns what is wrong with the README's table. Only a run of everything, with huge pages, can say. */
function checkReadme(
  runs: readonly SuiteRun[],
  table: string,
  everything: boolean,
  full: boolean,
): string | null {
  const readme = readFileSync(readmePath, 'utf8');
  if (values.write) {
    if (!everything) return 'not written: the table in README.md has every suite and user';
    writeFileSync(readmePath, replaceTable(readme, table));
    return null;
  }
  const failed = runs.some((run) => count(run.verdicts).failed > 0);
  if (!full || failed || isCurrent(readme, table)) return null;
  return 'the table in README.md is stale: npm run conformance -- --write';
}

async function main(): Promise<number> {
  const sources = openSources();
  const iommufd = compile(sources, Object.keys(expected.suites));
  const programs = { iommufd, vfio: compileVfio(sources) };
  console.log(`test programs of Linux ${sources.version}`);
  const sameLinux = sources.version.startsWith(`${expected.linux}.`);
  const [runs, hugePages] = await withHugePages(async (available) => {
    if (!available) console.log('this machine has no (or too few) huge pages');
    return [await runAll(programs, { hugePages: available, sameLinux }), available] as const;
  });
  const table = markdown(runs, sources.version);
  console.log(`\n${table}\n`);
  const sum = count(runs.flatMap((run) => run.verdicts));
  const users = new Set(runs.map(({ user }) => user)).size;
  const everything = users === 2 && !only('iommufd') && !only('vfio') && !oneStorm;
  const full = hugePages && everything && sameLinux;
  const stale = checkReadme(runs, table, everything, full);
  if (stale !== null) {
    console.log(stale);
    sum.failed += 1;
  }
  console.log(`conformance: ${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  return sum.failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof PackageGone)) throw error;
  console.log(`skipped: ${error.message}`);
  console.log('conformance: 0 passed, 0 failed, 1 skipped');
}
