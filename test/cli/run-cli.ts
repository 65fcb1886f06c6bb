/** Runs the built command line as a user does: a process of its own. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PATIENCE_MS = 60_000;

export const mainScript = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One that does not end by itself has the status null. */
export function runCli(args: readonly string[], env: NodeJS.ProcessEnv = {}, input = ''): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [mainScript, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    input,
    timeout: PATIENCE_MS,
    killSignal: 'SIGKILL',
  });
  return { status, stdout, stderr };
}
