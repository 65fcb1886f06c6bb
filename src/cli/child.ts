/**
 * Runs a program and becomes it as far as a parent can: its streams, its signals, its exit status.
 * Invariant: the promise settles only when the program has ended, so nothing it uses is taken away before.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { HeldSignals } from './signals.js';

/** Statuses that are not the program's; see chroot(1), env(1), timeout(1). */
export const Status = { timeout: 124, failed: 125, notExecutable: 126, notFound: 127, signal: 128 } as const;

/** From SIGTERM to SIGKILL, for a program that outlives its time. */
const graceMs = 2000;

export interface ChildOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly signals: HeldSignals;
  /** No limit when undefined. */
  readonly timeoutSeconds?: number | undefined;
  /** Once this resolves the program has nothing to run on any more, and is ended. */
  readonly engineEnded?: Promise<void>;
}

/** Runs `command` (the program, then its arguments); resolves with the status to end with. */
export function runChild(command: readonly string[], options: ChildOptions): Promise<number> {
  const [program = '', ...args] = command;
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'inherit', env: options.env });
    options.signals.giveTo(child);
    const clock = startClock(child, options.timeoutSeconds);
    let running = true;
    void options.engineEnded?.then(() => running && terminate(child));
    const end = (status: number): void => {
      running = false;
      clock.stop();
      resolve(status);
    };
    child.once('error', (error: NodeJS.ErrnoException) => {
      // Also reported when a signal could not be delivered; then the program still runs.
      if (child.pid === undefined) end(notStarted(program, error));
    });
    child.once('exit', (code, signal) => {
      if (clock.over) end(Status.timeout);
      else end(code ?? Status.signal + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

function notStarted(program: string, error: NodeJS.ErrnoException): number {
  if (error.code === 'ENOENT') {
    process.stderr.write(`ioasis: ${program}: not found\n`);
    return Status.notFound;
  }
  const why: Readonly<Record<string, string>> = {
    EACCES: 'permission denied',
    ENOEXEC: 'not a program of this machine',
    ENOTDIR: 'a part of the path is no directory',
    E2BIG: 'too many arguments',
  };
  process.stderr.write(`ioasis: ${program}: cannot execute: ${why[error.code ?? ''] ?? error.message}\n`);
  return Status.notExecutable;
}

interface Clock {
  over: boolean;
  stop(): void;
}

function startClock(child: ChildProcess, seconds: number | undefined): Clock {
  const clock: Clock = { over: false, stop: () => {} };
  if (seconds === undefined) return clock;
  const timer = setTimeout(() => {
    clock.over = true;
    process.stderr.write(`ioasis: ${seconds} s are over, the program is ended\n`);
    terminate(child);
  }, seconds * 1000);
  clock.stop = () => clearTimeout(timer);
  return clock;
}

/** Asks the program to end, and makes it after a while. */
function terminate(child: ChildProcess): void {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  child.once('exit', () => clearTimeout(timer));
}
