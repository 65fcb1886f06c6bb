/**
 * `ioasis daemon`: an engine for several programs, until SIGINT or SIGTERM.
 * The socket lies in a private directory; a path that was asked for is a link to it, so nobody else can connect.
 */
import { lstatSync, existsSync, symlinkSync, unlinkSync } from 'node:fs';
import { resolve } from 'node:path';
import { startEngine, type RunningEngine } from '../host/engine.js';
import { Status } from './child.js';
import type { Invocation } from './commands.js';
import { engineOptions } from './engine-options.js';
import { shimPath } from './shim.js';

export async function daemon({ options }: Invocation): Promise<number> {
  const wanted = options['socket'] as string | undefined;
  if (wanted !== undefined && isTaken(wanted)) {
    process.stderr.write(`ioasis: ${wanted} exists; if no daemon runs there, remove it\n`);
    return Status.failed;
  }
  const ended = nextSignal();
  const engine = await startEngine(engineOptions(options));
  const socket = wanted === undefined ? engine.socket : publish(engine, resolve(wanted));
  process.stdout.write(greeting(socket));
  await ended;
  if (wanted !== undefined) unlinkSync(socket);
  await engine.stop();
  return 0;
}

/** A dangling link is what a killed daemon leaves; anything else is not ours to replace. */
function isTaken(path: string): boolean {
  if (existsSync(path)) return true;
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) unlinkSync(path);
  return false;
}

function publish(engine: RunningEngine, path: string): string {
  symlinkSync(engine.socket, path);
  return path;
}

function greeting(socket: string): string {
  return [
    `listening on ${socket}`,
    '',
    'For a program of your own:',
    `  ioasis run --socket ${socket} -- program`,
    'or, in a shell:',
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
