/**
 * `npm run mutation`: how many small mistakes in walk and invalidation the tests notice. Each mutant is one of them:
 * another operator, a condition turned round, a constant that is off by one or a bit, a statement left out. Prints the
 * score and who survived. `-- --sample N` takes N of them at random, `--seed S` others, `--file NAME` those
 * of one part, or of files with that in their names, `--again` those that survived the last time, `--names` none.
 * Those that nobody can notice (equivalent.ts) are judged too when all are, and do not count.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { Random } from '../differential/random.js';
import { misused, readArguments, readCount } from '../lib/arguments.js';
import { repoRoot } from '../lib/repo.js';
import { equivalent } from './equivalent.js';
import { Instrumenter, type Mutant } from './instrument.js';
import type { KnownTest, WorkerInput, WorkerReport } from './worker.js';

/** What is mutated, in parts that are judged each for itself. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  walk: ['src/hw/vtd/walk.js', 'src/hw/vtd/pending.js', 'src/hw/vtd/context.js', 'src/pt/walk.js'],
  invalidation: ['src/hw/vtd/queue.js', 'src/hw/vtd/caches.js'],
  caches: ['iotlb', 'paging-cache', 'spaces', 'translate'].map((name) => `src/hw/vtd/${name}.js`),
  'invalidation by the driver': ['nested', 'flush', 'commands'].map((name) => `src/hw/vtd/driver/${name}.js`),
  'kept for the next request': [
    ...['run-hits', 'last-spaces'].map((name) => `src/hw/vtd/${name}.js`),
    ...['cursor', 'held-run', 'known-runs'].map((name) => `src/bus/${name}.js`),
  ],
};
/** Folders of the tests that judge. */
const TESTS = ['test/hw/vtd', 'test/hw/vtd/driver', 'test/pt', 'test/bus'];
const work = join(repoRoot, '.cache/mutation');
/** Who survived the last time. */
const survivorsFile = join(repoRoot, '.cache/mutation-survivors.json');
const tools = join(repoRoot, '.cache/js/tools/mutation');
/** How often somebody looks whether a test has had its time. */
const LOOK_MS = 250;

function compile(): void {
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const config = join(work, 'tsconfig.json');
  const options = { rootDir: repoRoot, outDir: work, noEmit: false, declaration: false, sourceMap: false };
  const include = ['src', ...TESTS].map((folder) => join(repoRoot, folder));
  writeFileSync(
    config,
    JSON.stringify({ extends: join(repoRoot, 'tsconfig.test.json'), compilerOptions: options, include }),
  );
  execFileSync(join(repoRoot, 'node_modules/.bin/tsc'), ['-p', config], { stdio: ['ignore', 2, 2] });
  cpSync(join(repoRoot, 'package.json'), join(work, 'package.json'));
}

/** Compiled test files of those folders, with the harness in place of vitest there and in what they share. */
function testFiles(): string[] {
  const paths: string[] = [];
  for (const folder of TESTS) {
    for (const file of readdirSync(join(work, folder), { encoding: 'utf8', recursive: true })) {
      if (!file.endsWith('.js')) continue;
      const path = join(work, folder, file);
      writeFileSync(path, readFileSync(path, 'utf8').replaceAll(`'vitest'`, `'${tools}/harness.js'`));
      if (file.endsWith('.test.js') && !file.includes('/')) paths.push(path);
    }
  }
  return paths;
}

function instrumentAll(): Mutant[] {
  const instrumenter = new Instrumenter();
  for (const file of Object.values(PARTS).flat()) {
    const path = join(work, file);
    writeFileSync(path, instrumenter.instrument(file, readFileSync(path, 'utf8')));
  }
  return instrumenter.mutants;
}

/** Hands `mutants` to one worker after another: one that hangs is ended, and its mutant counts as noticed. */
async function judge(
  mutants: readonly Mutant[],
  input: Omit<WorkerInput, 'mutants' | 'deadline'>,
  killers: Killers,
) {
  const left = mutants.map(({ id }) => id);
  while (left.length > 0) {
    const hung = await runWorker({ ...input, mutants: left }, (report) => {
      if ('spoiled' in report) {
        if (report.spoiled.length > 0) throw new Error(`spoiled by a mutant: ${report.spoiled.join('; ')}`);
        return;
      }
      if ('known' in report) return;
      left.shift();
      killers.set(report.mutant, report.killer);
      if (killers.size % 20 === 0) process.stderr.write(`${killers.size} done\n`);
    });
    if (hung && left.length > 0) killers.set(left.shift()!, 'does not end');
  }
}

/** By mutant, which test noticed it. */
type Killers = Map<number, string | null>;

/** What the tests do on the code as it is. */
async function learn(input: Omit<WorkerInput, 'mutants' | 'deadline'>): Promise<readonly KnownTest[]> {
  let known: readonly KnownTest[] = [];
  await runWorker({ ...input, mutants: [] }, (report) => {
    if (!('known' in report)) return;
    known = report.known;
    if (report.failed.length > 0) process.stderr.write(`not used: ${report.failed.join('; ')}\n`);
  });
  return known;
}

/** True: it did not end with one mutant. */
function runWorker(
  input: Omit<WorkerInput, 'deadline'>,
  listener: (report: WorkerReport) => void,
): Promise<boolean> {
  const env = { ...process.env, IOASIS_HOSTILE: '20000', IOASIS_ORACLE: '20000' };
  const deadline = new Float64Array(new SharedArrayBuffer(8)).fill(Infinity);
  const workerData = { ...input, deadline } satisfies WorkerInput;
  const worker = new Worker(join(tools, 'worker.js'), { workerData, stdout: true, env });
  return new Promise((resolve, reject) => {
    let isHung = false;
    const timer = setInterval(() => {
      if (Date.now() < deadline[0]!) return;
      isHung = true;
      void worker.terminate();
    }, LOOK_MS);
    worker.on('message', listener);
    worker.once('error', reject);
    worker.once('exit', () => {
      clearInterval(timer);
      resolve(isHung);
    });
  });
}

const named = ({ file, code, what }: Mutant): string => JSON.stringify({ file, code, what });

/** Counts those that are not in `same`, and says which rows about those that are were wrong. */
function print(mutants: readonly Mutant[], same: ReadonlySet<number>, killers: Killers): void {
  const lines: string[] = [];
  const counted = mutants.filter(({ id }) => !same.has(id));
  const isNoticed = ({ id }: Mutant): boolean => killers.get(id) !== null;
  const score = (name: string, isOwn: (file: string) => boolean): void => {
    const own = counted.filter(({ file }) => isOwn(file));
    if (own.length === 0) return;
    const [noticed, equal] = [own.filter(isNoticed).length, mutants.filter(({ file }) => isOwn(file)).length];
    const besides = equal === own.length ? '' : `, besides ${equal - own.length} that are equivalent`;
    lines.push(
      `${name}: ${noticed} of ${own.length}, ${((100 * noticed) / own.length).toFixed(1)} %${besides}`,
    );
  };
  for (const [part, files] of Object.entries(PARTS)) {
    score(part, (file) => files.includes(file));
    for (const file of files) score(`  ${file}`, (other) => other === file);
  }
  score('all', () => true);
  const left = counted.filter((mutant) => !isNoticed(mutant));
  for (const { file, line, what, code } of left)
    lines.push(`survived: ${file}:${line} ${what}\n            ${code}`);
  for (const mutant of mutants) {
    if (!same.has(mutant.id) || !isNoticed(mutant)) continue;
    lines.push(
      `not equivalent: ${mutant.file}:${mutant.line} ${mutant.what}, noticed by: ${killers.get(mutant.id)}`,
    );
    process.exitCode = 1;
  }
  process.stdout.write(`${lines.join('\n')}\n`);
  writeFileSync(survivorsFile, JSON.stringify(left.map(named)));
}

/** Those that survived the last time and are still there. */
function survivorsOf(mutants: readonly Mutant[]): Mutant[] {
  if (!existsSync(survivorsFile)) return misused('--again: nothing was judged before');
  const names = new Set(JSON.parse(readFileSync(survivorsFile, 'utf8')) as string[]);
  return mutants.filter((mutant) => names.has(named(mutant)));
}

async function main(): Promise<void> {
  const { values } = readArguments({
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    file: { type: 'string', default: '' },
    again: { type: 'boolean', default: false },
    names: { type: 'boolean', default: false },
  });
  const seed = readCount('--seed', values.seed);
  const sample = values.sample === undefined ? Infinity : readCount('--sample', values.sample);
  compile();
  const tests = testFiles();
  const all = instrumentAll();
  const same = equivalent(all);
  if (values.names) {
    process.stdout.write(`${all.length} mutants, ${same.size} of them equivalent\n`);
    return;
  }
  const isWhole = sample === Infinity && !values.again;
  const wanted = (values.again ? survivorsOf(all) : all)
    .filter(({ file }) => PARTS[values.file]?.includes(file) ?? file.includes(values.file))
    .filter(({ id }) => isWhole || !same.has(id));
  if (wanted.length === 0) misused('nothing to judge: no such file, or nobody survived');
  const random = new Random(seed, 0);
  const shuffled = wanted.map((mutant) => ({ mutant, at: random.next() })).toSorted((a, b) => a.at - b.at);
  const chosen = shuffled.slice(0, sample).map(({ mutant }) => mutant);
  process.stderr.write(`${chosen.length} of ${wanted.length} mutants\n`);
  const mutants = chosen.toSorted((a, b) => a.id - b.id);
  const unknown = { harness: join(tools, 'harness.js'), tests, count: all.length, known: [] };
  const input = { ...unknown, known: await learn(unknown) };
  const killers: Killers = new Map();
  const jobs = availableParallelism();
  const shares = Array.from({ length: jobs }, (_, job) => mutants.filter((_mutant, at) => at % jobs === job));
  await Promise.all(shares.map((share) => judge(share, input, killers)));
  print(mutants, same, killers);
}

await main();
