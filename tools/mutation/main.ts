/**
 * `npm run mutation`: how many small mistakes in walk and invalidation the tests notice. Each mutant is one of them:
 * another operator, a condition turned round, a constant that is off by one or a bit, a statement left out. Prints the
 * score and who survived. `-- --sample N` takes N of them at random, `--seed S` others, `--file PART` those of some files.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Random } from '../differential/random.js';
import { repoRoot } from '../lib/repo.js';
import { Instrumenter, type Mutant } from './instrument.js';
import type { WorkerInput, WorkerReport } from './worker.js';

/**
 * What is mutated: the walk, what leads to it, what is cached, what is kept of that for the next request, and what empties
 * caches; then the driver's part of that: what a guest says, and which commands it becomes.
 */
const TARGETS = [
  ...['walk', 'context', 'translate', 'iotlb', 'paging-cache', 'pending', 'spaces', 'caches', 'queue'].map(
    (name) => `src/hw/vtd/${name}.js`,
  ),
  ...['run-hits', 'remembered-runs', 'last-space'].map((name) => `src/hw/vtd/${name}.js`),
  ...['cursor', 'held-run'].map((name) => `src/bus/${name}.js`),
  'src/pt/walk.js',
  ...['nested', 'flush', 'commands'].map((name) => `src/hw/vtd/driver/${name}.js`),
];
const TESTS = ['test/hw/vtd', 'test/hw/vtd/driver'];
const work = join(repoRoot, '.cache/mutation');
const tools = join(repoRoot, '.cache/js/tools/mutation');
/** Long enough for anything but a loop that does not end. */
const PATIENCE = 2;
const LEAST_MS = 20_000;

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

/** Compiled test files, with the harness in place of vitest. */
function testFiles(): string[] {
  const files = TESTS.flatMap((folder) => readdirSync(join(work, folder)).map((name) => join(folder, name)));
  return files
    .filter((name) => name.endsWith('.test.js'))
    .map((name) => {
      const path = join(work, name);
      writeFileSync(path, readFileSync(path, 'utf8').replaceAll(`'vitest'`, `'${tools}/harness.js'`));
      return path;
    });
}

function instrumentAll(): Mutant[] {
  const instrumenter = new Instrumenter();
  for (const file of TARGETS) {
    const path = join(work, file);
    writeFileSync(path, instrumenter.instrument(file, readFileSync(path, 'utf8')));
  }
  return instrumenter.mutants;
}

/** Hands all of `mutants` to one worker after another: one that hangs is ended, and its mutant counts as noticed. */
async function judge(
  mutants: readonly Mutant[],
  tests: readonly string[],
): Promise<Map<number, string | null>> {
  const killers = new Map<number, string | null>();
  const left = mutants.map(({ id }) => id);
  while (left.length > 0) {
    const input: WorkerInput = { harness: join(tools, 'harness.js'), tests, mutants: left };
    const hung = await runWorker(input, (report) => {
      left.shift();
      killers.set(report.mutant, report.killer);
      if (killers.size % 10 === 0) process.stderr.write(`${killers.size} done\n`);
    });
    if (hung) killers.set(left.shift()!, 'does not end');
  }
  return killers;
}

/** True: it did not end with one mutant. */
function runWorker(
  input: WorkerInput,
  judged: (report: Extract<WorkerReport, { killer: unknown }>) => void,
): Promise<boolean> {
  const env = { ...process.env, IOASIS_HOSTILE: '20000', IOASIS_ORACLE: '20000' };
  const worker = new Worker(join(tools, 'worker.js'), { workerData: input, stdout: true, env });
  let patience = 10 * 60_000;
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const wait = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => void worker.terminate().then(() => resolve(true)), patience);
    };
    worker.on('message', (report: WorkerReport) => {
      if ('failed' in report) {
        patience = Math.max(LEAST_MS, PATIENCE * report.milliseconds);
        if (report.failed.length > 0) process.stderr.write(`not used: ${report.failed.join('; ')}\n`);
      } else if ('spoiled' in report) {
        if (report.spoiled.length > 0) reject(new Error(`spoiled by a mutant: ${report.spoiled.join('; ')}`));
      } else {
        judged(report);
      }
      wait();
    });
    worker.once('error', reject);
    worker.once('exit', () => {
      clearTimeout(timer);
      resolve(false);
    });
    wait();
  });
}

function print(mutants: readonly Mutant[], killers: ReadonlyMap<number, string | null>): void {
  const lines: string[] = [];
  for (const file of [...TARGETS, null]) {
    const own = mutants.filter((mutant) => file === null || mutant.file === file);
    const noticed = own.filter(({ id }) => killers.get(id) !== null).length;
    if (own.length === 0) continue;
    lines.push(
      `${file ?? 'all'}: ${noticed} of ${own.length}, ${((100 * noticed) / own.length).toFixed(1)} %`,
    );
  }
  for (const { id, file, line, what } of mutants) {
    if (killers.get(id) === null) lines.push(`survived: ${file}:${line} ${what}`);
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      sample: { type: 'string' },
      seed: { type: 'string', default: '1' },
      file: { type: 'string', default: '' },
    },
  });
  compile();
  const tests = testFiles();
  const all = instrumentAll().filter(({ file }) => file.includes(values.file));
  const random = new Random(Number(values.seed), 0);
  const shuffled = all.map((mutant) => ({ mutant, at: random.next() })).toSorted((a, b) => a.at - b.at);
  const chosen = shuffled.slice(0, Number(values.sample ?? all.length)).map(({ mutant }) => mutant);
  process.stderr.write(`${chosen.length} of ${all.length} mutants\n`);
  const mutants = chosen.toSorted((a, b) => a.id - b.id);
  print(mutants, await judge(mutants, tests));
}

await main();
