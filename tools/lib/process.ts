/** Runs a program with a time limit; nothing of it is left when the promise settles. */
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Then the whole process group is killed. */
  readonly timeoutMs: number;
}

export interface RunResult {
  /** Exit status; 128 + signal number is the shell's business, so null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly timedOut: boolean;
  /** Standard output and error in the order of writing. */
  readonly output: string;
  readonly milliseconds: number;
}

/**
 * Runs `command` without standard input, in a process group of its own. Output goes to a file, not to pipes: a
 * grandchild that keeps a descriptor open cannot make this wait.
 */
export async function runProgram(command: readonly string[], options: RunOptions): Promise<RunResult> {
  const [file, ...args] = command as [string, ...string[]];
  const folder = mkdtempSync(join(tmpdir(), 'run-'));
  const log = openSync(join(folder, 'output'), 'a');
  const start = performance.now();
  let timedOut = false;
  try {
    const child = spawn(file, args, {
      stdio: ['ignore', log, log],
      detached: true,
      env: options.env ?? process.env,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const killGroup = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // Nobody of the group is left.
      }
    };
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup();
    }, options.timeoutMs);
    const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (...how) => resolve(how));
    }).finally(() => clearTimeout(timer));
    killGroup();
    const output = readFileSync(join(folder, 'output'), 'utf8');
    return { status, signal, timedOut, output, milliseconds: performance.now() - start };
  } finally {
    closeSync(log);
    rmSync(folder, { recursive: true, force: true });
  }
}
