/**
 * `ioasis daemon`: an engine for several programs, until SIGINT or SIGTERM.
 * Standard output is for people and scripts alike: the first line ends with the path of the socket.
 */
import { existsSync } from 'node:fs';
import { startEngine } from '../host/engine.js';
import { Status } from './child.js';
import type { Invocation } from './commands.js';
import { engineOptions, topologyOf, traceOutput } from './engine-options.js';
import { shimPath } from './shim.js';

export async function daemon({ options }: Invocation): Promise<number> {
  const socket = options['socket'] as string | undefined;
  if (socket !== undefined && existsSync(socket)) {
    process.stderr.write(`ioasis: ${socket} exists; if no daemon runs there, remove it\n`);
    return Status.failed;
  }
  const topology = await topologyOf(options);
  if (topology === null) return Status.failed;
  const ended = nextSignal();
  const output = await traceOutput(options);
  const engineOptionsHere = engineOptions(options, output, topology);
  const engine = await startEngine({
    ...engineOptionsHere,
    config: { ...(engineOptionsHere.config as object), inspect: true },
    ...(socket === undefined ? {} : { socket }),
  });
  process.stdout.write(greeting(engine.socket));
  await Promise.race([ended, engine.ended]);
  const { bugs } = await engine.stop();
  output?.close();
  for (const bug of bugs) process.stderr.write(`ioasis: a bug of ioasis, please report it: ${bug}\n`);
  return bugs.length > 0 ? Status.failed : 0;
}

function greeting(socket: string): string {
  return [
    `listening on ${socket}`,
    '',
    'For one program:',
    `  ioasis run --socket ${socket} -- program`,
    'For every program of a shell:',
    `  export IOASIS_SOCKET=${socket}`,
    `  export LD_PRELOAD=${shimPath()}`,
    '',
    '',
  ].join('\n');
}

function nextSignal(): Promise<void> {
  return new Promise((stop) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop());
  });
}
