/** Starts engines for tests, compiles the C programs, and runs them as clients. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { startEngine, type EngineOptions, type RunningEngine } from '#ioasis/host/engine.js';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');
/** Test files run at the same time, so each process compiles for itself. */
const out = join(root, '.cache/test-host', String(process.pid));
process.on('exit', () => rmSync(out, { recursive: true, force: true }));

/** The fake engine as a module that a worker can load. */
export const fakeEngine = (): string => engineModule('fake-engine');

/** NAME.ts as such a module. Types are checked with those of the other tests. */
export function engineModule(name: string): string {
  const compiled = join(out, `${name}.js`);
  if (!existsSync(compiled)) {
    const tsc = join(root, 'node_modules/.bin/tsc');
    execFileSync(tsc, ['-p', join(here, 'tsconfig.json'), '--outDir', out, '--noCheck'], {
      stdio: 'inherit',
    });
  }
  return pathToFileURL(compiled).href;
}

/** Compiles programs/NAME.c; the path of the program. */
export function compile(name: string): string {
  mkdirSync(out, { recursive: true });
  const program = join(out, name);
  if (existsSync(program)) return program;
  const flags = ['-O1', '-g', '-Wall', '-Wextra', '-Werror', '-pthread'];
  execFileSync('gcc', [...flags, '-o', program, join(here, 'programs', `${name}.c`)], { stdio: 'inherit' });
  return program;
}

export function startFake(options: Partial<EngineOptions> = {}): Promise<RunningEngine> {
  return startEngine({ config: { selftest: true }, engineModule: fakeEngine(), ...options });
}

/** Every way of reaching memory and of sending calls. */
export const ways = [
  { memory: 'direct', rings: true },
  { memory: 'verbs', rings: true },
  { memory: 'direct', rings: false },
] as const;

export interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly output: string;
}

/** Starts a client of `engine`. */
export function start(
  engine: Pick<RunningEngine, 'env'>,
  program: string,
  args: readonly string[] = [],
): ChildProcess {
  return spawn(program, args, { env: { ...process.env, ...engine.env }, stdio: ['pipe', 'pipe', 'inherit'] });
}

/** How a client ended and what it said. */
export function end(child: ChildProcess): Promise<Ended> {
  let output = '';
  child.stdout?.on('data', (text: Buffer) => {
    output += text.toString();
  });
  return new Promise((resolve) => {
    child.on('close', (status, signal) => resolve({ status, signal, output }));
  });
}

/** Runs a client to its end. */
export function run(
  engine: Pick<RunningEngine, 'env'>,
  program: string,
  args: readonly string[] = [],
): Promise<Ended> {
  return end(start(engine, program, args));
}

export const success: Ended = { status: 0, signal: null, output: '' };

/** Descriptors of this process, the engine's among them. */
export const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** Waits until `condition` holds; the test's own time limit is the end of patience. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
