/** The engine itself under hostile and odd programs: compiles them, runs them, and looks what they left behind. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { startEngine, type EngineOptions, type RunningEngine } from '#ioasis/host/engine.js';
import { descriptors, run, until, type Ended } from '../host/world.js';

export { descriptors, end, run, start, success, until, type Ended } from '../host/world.js';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');
export const cli = join(root, 'dist/cli/main.js');
const out = join(root, '.cache/test-robust', String(process.pid));
process.on('exit', () => rmSync(out, { recursive: true, force: true }));

/** Compiles programs/NAME.c, or NAME.c of another folder, against the header that ioasis prints; the path of the program. */
export function compile(
  name: string,
  more: readonly string[] = [],
  folder: string = join(here, 'programs'),
): string {
  mkdirSync(out, { recursive: true });
  const header = join(out, 'ioasis.h');
  if (!existsSync(header)) writeFileSync(header, execFileSync(process.execPath, [cli, 'header']));
  const program = join(out, name);
  if (existsSync(program)) return program;
  const flags = ['-O1', '-g', '-Wall', '-Wextra', '-Werror', '-pthread', `-I${out}`];
  const source = join(folder, `${name}.c`);
  execFileSync('gcc', [...flags, '-o', program, source, ...more], { stdio: 'inherit' });
  return program;
}

/** The example of the README: an NVMe driver. */
export const nvmeDriver = (): string => compile('nvme', [], join(root, 'examples'));

/** An engine with the mock device, as `--selftest` has it. */
export function startSelftest(options: Partial<EngineOptions> = {}): Promise<RunningEngine> {
  return startEngine({ config: { selftest: true }, ...options });
}

/** What an engine still had at its end: the kinds of which there is any. */
export function alive(left: Readonly<Record<string, number>>): string[] {
  return Object.keys(left).filter((kind) => left[kind] !== 0);
}

/**
 * Runs a program on an engine of its own, which then serves an honest one, has as many descriptors as before, has
 * met no bug and keeps nothing alive.
 */
export async function leavesNothing(
  program: string,
  args: readonly string[] = [],
  options: Partial<EngineOptions> = {},
): Promise<Ended> {
  const honest = compile('honest');
  const engine = await startSelftest(options);
  const first = await run(engine, honest);
  const before = descriptors();
  const ended = await run(engine, program, args);
  const last = await run(engine, honest);
  await until(() => descriptors() <= before);
  const { bugs, left } = await engine.stop();
  if (bugs.length > 0) throw new Error(bugs.join('\n'));
  expect(alive(left)).toEqual([]);
  expect(left['contexts']).toBe(0);
  if (first.status !== 0 || last.status !== 0) throw new Error(`${first.output}${last.output}`);
  return ended;
}
