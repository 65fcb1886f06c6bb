/**
 * Who runs programs under `ioasis run`: root, and an ordinary user without any capability and with a small
 * RLIMIT_MEMLOCK. What that user cannot read (a checkout below /root) is copied to where it can.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { repoRoot } from './repo.js';

export interface User {
  readonly name: string;
  readonly env: NodeJS.ProcessEnv;
  /** The command line that runs `program` (a path) under `ioasis run` with `options`, as this user. */
  command(options: readonly string[], program: string, ...args: readonly string[]): string[];
}

const nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
/** What distributions give an ordinary user, in bytes. */
const memlock = 8 << 20;

const main = 'dist/cli/main.js';

/** Whoever runs this process. */
export function currentUser(name: string): User {
  return {
    name,
    env: process.env,
    command: (options, ...program) => [
      process.execPath,
      join(repoRoot, main),
      'run',
      ...options,
      '--',
      ...program,
    ],
  };
}

/** Runs `body` with an ordinary user; needs root. */
export async function withOrdinaryUser<T>(body: (user: User) => T | Promise<T>): Promise<T> {
  const home = mkdtempSync(join(tmpdir(), 'ioasis-user-'));
  chmodSync(home, 0o777);
  try {
    const node = reachable(process.execPath, home);
    const root = canRead(join(repoRoot, main)) ? repoRoot : copyPackage(join(home, 'ioasis'));
    const { XDG_RUNTIME_DIR: _, ...env } = process.env;
    return await body({
      name: 'ordinary user',
      env: { ...env, HOME: home, TMPDIR: home },
      command: (options, program, ...args) => [
        'prlimit',
        `--memlock=${memlock}:${memlock}`,
        ...nobody,
        node,
        join(root, main),
        'run',
        ...options,
        '--',
        reachable(program, home),
        ...args,
      ],
    });
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

function canRead(path: string): boolean {
  try {
    execFileSync('setpriv', [...nobody.slice(1), 'test', '-r', path]);
    return true;
  } catch {
    return false;
  }
}

function reachable(path: string, folder: string): string {
  if (canRead(path)) return path;
  const copy = join(folder, basename(path));
  cpSync(path, copy);
  chmodSync(copy, 0o755);
  return copy;
}

/** What an installed package would have: built files and run-time dependencies. */
function copyPackage(to: string): string {
  mkdirSync(to);
  const list = execFileSync('npm', ['ls', '--omit=dev', '--all', '--parseable'], {
    cwd: repoRoot,
    encoding: 'utf8',
  });
  const dependencies = list.trim().split('\n').slice(1);
  const own = ['package.json', 'dist', 'shim'].map((name) => join(repoRoot, name));
  for (const path of [...own, ...dependencies]) {
    cpSync(path, join(to, relative(repoRoot, path)), { recursive: true });
  }
  execFileSync('chmod', ['-R', 'a+rX', to]);
  return to;
}
