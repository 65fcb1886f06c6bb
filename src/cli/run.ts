/**
 * `ioasis run`: an engine, a program on it, the program's exit status.
 * Invariant: whatever happens after the engine has started, it is stopped and its directory is gone.
 */
import { existsSync } from 'node:fs';
import { startEngine } from '../host/engine.js';
import { runChild, Status } from './child.js';
import type { Invocation } from './commands.js';
import { engineOptions, type CliOptions } from './engine-options.js';
import { shimPath } from './shim.js';

export async function run({ options, operands }: Invocation): Promise<number> {
  const socket = options['socket'] as string | undefined;
  if (socket !== undefined) return runOnDaemon(socket, options, operands);
  const engine = await startEngine(engineOptions(options));
  try {
    return await runChild(operands, {
      env: clientEnvironment(engine.socket),
      timeoutSeconds: options['timeout'] as number | undefined,
    });
  } finally {
    await engine.stop();
  }
}

async function runOnDaemon(
  socket: string,
  options: CliOptions,
  operands: readonly string[],
): Promise<number> {
  if (!existsSync(socket)) {
    process.stderr.write(`ioasis: no daemon at ${socket}\n`);
    return Status.failed;
  }
  return runChild(operands, {
    env: clientEnvironment(socket),
    timeoutSeconds: options['timeout'] as number | undefined,
  });
}

/** The environment of a client: ours, with the shim in front of what was to be preloaded anyway. */
function clientEnvironment(socket: string): NodeJS.ProcessEnv {
  const inherited = process.env['LD_PRELOAD'];
  const preload = inherited ? `${shimPath()}:${inherited}` : shimPath();
  return { ...process.env, LD_PRELOAD: preload, IOASIS_SOCKET: socket };
}
