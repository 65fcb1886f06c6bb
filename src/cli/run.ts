/**
 * `ioasis run`: an engine, a program on it, the program's exit status.
 * Invariant: whatever happens after the engine has started, it is stopped and its directory is gone.
 */
import { existsSync } from 'node:fs';
import { startEngine, type EngineOptions } from '../host/engine.js';
import { runChild, Status } from './child.js';
import type { Invocation } from './commands.js';
import { engineOnly, engineOptions, topologyOf, traceOutput, type CliOptions } from './engine-options.js';
import { shimPath } from './shim.js';
import { holdSignals } from './signals.js';

export async function run({ options, operands }: Invocation): Promise<number> {
  const timeout = options['timeout'] as number | undefined;
  const socket = daemonSocket(options);
  if (socket !== null) return runOnDaemon(socket, options, operands, timeout);
  const topology = await topologyOf(options);
  if (topology === null) return Status.failed;
  const output = await traceOutput(options);
  const log: string[] | null = options['dmesg'] === true ? [] : null;
  const engine = engineOptions(options, output, topology, log);
  const { status, fired } = await runOnEngine(engine, operands, timeout);
  output?.close();
  for (const line of log ?? []) process.stderr.write(`${line}\n`);
  if (options['failNth'] !== undefined)
    process.stderr.write(failureText(options['failNth'] as number, fired));
  return status;
}

/** Which daemon to use. That of the environment is left alone where options ask for another kind of engine. */
function daemonSocket(options: CliOptions): string | null {
  const named = options['socket'] as string | undefined;
  if (named !== undefined) return named;
  return engineOnly(options) === null ? process.env['IOASIS_SOCKET'] || null : null;
}

export interface EngineRun {
  readonly status: number;
  /** Sites that were made to fail, and how often. */
  readonly fired: Readonly<Record<string, number>>;
}

/** Runs `command` on an engine of its own. A bug of the engine makes the status 125, whatever the program says. */
export async function runOnEngine(
  options: EngineOptions,
  command: readonly string[],
  timeoutSeconds?: number,
): Promise<EngineRun> {
  const signals = holdSignals();
  const engine = await startEngine({ ...options, early: true });
  const env = clientEnvironment(engine.socket);
  const { ended: engineEnded } = engine;
  const status = await runChild(command, { env, signals, timeoutSeconds, engineEnded });
  const { bugs, fired } = await engine.stop();
  signals.release();
  for (const bug of bugs) process.stderr.write(`ioasis: a bug of ioasis, please report it: ${bug}\n`);
  return { status: bugs.length > 0 ? Status.failed : status, fired };
}

async function runOnDaemon(
  socket: string,
  options: CliOptions,
  command: readonly string[],
  timeoutSeconds?: number,
): Promise<number> {
  const foreign = engineOnly(options);
  if (foreign !== null) {
    process.stderr.write(`ioasis: ${foreign} is for the daemon, which already runs at ${socket}\n`);
    return Status.failed;
  }
  if (!existsSync(socket)) {
    process.stderr.write(`ioasis: no daemon at ${socket}\n`);
    return Status.failed;
  }
  const signals = holdSignals();
  const status = await runChild(command, { env: clientEnvironment(socket), signals, timeoutSeconds });
  signals.release();
  return status;
}

function failureText(n: number, fired: EngineRun['fired']): string {
  const sites = Object.entries(fired).map(([site, times]) => (times > 1 ? `${site} (${times} times)` : site));
  const text =
    sites.length > 0 ? `failed at ${sites.join(', ')}` : 'no task came that far: every point has been failed';
  return `ioasis: --fail-nth ${n}: ${text}\n`;
}

/** The environment of a client: ours, with the shim in front of what was to be preloaded anyway. */
function clientEnvironment(socket: string): NodeJS.ProcessEnv {
  const inherited = (process.env['LD_PRELOAD'] ?? '')
    .split(/[: ]/)
    .filter((path) => path !== '' && path !== shimPath());
  return { ...process.env, LD_PRELOAD: [shimPath(), ...inherited].join(':'), IOASIS_SOCKET: socket };
}
