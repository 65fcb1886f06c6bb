/** The exit status and the manners of `ioasis run`, with real programs. */
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mainScript, runCli } from './run-cli.js';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ioasis-run-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

const sh = (script: string, ...options: string[]): ReturnType<typeof runCli> =>
  runCli(['run', ...options, '--', 'sh', '-c', script]);

describe('the status', () => {
  test.each([0, 1, 7, 124, 255])('%i of the program is the status of run', (status) => {
    expect(sh(`exit ${status}`)).toEqual({ status, stdout: '', stderr: '' });
  });

  test('is 128 and the signal that ended the program', () => {
    expect(sh('kill -TERM $$').status).toBe(143);
    expect(sh('kill -SEGV $$').status).toBe(139);
    expect(sh('kill -KILL $$').status).toBe(137);
  });

  test('is 127 for a program that is not there', () => {
    for (const name of ['/nowhere/prog', 'no-such-command-anywhere']) {
      const { status, stderr } = runCli(['run', '--', name]);
      expect(status).toBe(127);
      expect(stderr).toBe(`ioasis: ${name}: not found\n`);
    }
  });

  test('is 126 for a file that cannot be executed', () => {
    const path = join(dir, 'data');
    writeFileSync(path, 'data');
    chmodSync(path, 0o644);
    for (const name of [path, dir]) expect(runCli(['run', '--', name]).status).toBe(126);
  });

  test('is 124 when the time is over, also for a program that ignores SIGTERM', () => {
    expect(sh('exec sleep 60', '--timeout', '0.2')).toMatchObject({ status: 124 });
    const stubborn = sh('trap "" TERM; while :; do sleep 0.1; done', '--timeout', '0.2');
    expect(stubborn.status).toBe(124);
    expect(stubborn.stderr).toContain('0.2 s are over');
  });

  test('is the program own when it ends in time', () => {
    expect(sh('exit 3', '--timeout', '60').status).toBe(3);
  });

  test.each([
    [['--bogus'], "unknown option '--bogus'"],
    [[], "missing required argument 'program'"],
    [['--timeout', '-1', '--', 'true'], 'a number of seconds above 0'],
    [['--fail-nth', 'x', '--', 'true'], 'a whole number above 0'],
    [['--fail-kind', 'failslab,what', '--', 'true'], 'one of failslab'],
    [['--memory', 'x', '--', 'true'], 'one of direct, verbs'],
    [['--socket', '/nowhere/socket', '--', 'true'], 'no daemon at /nowhere/socket'],
  ])('is 125 when run is called with %j', (args, message) => {
    const { status, stderr } = runCli(['run', ...args]);
    expect(status).toBe(125);
    expect(stderr).toContain(message);
  });

  test('of any other command called wrongly is 2', () => {
    expect(runCli([]).status).toBe(2);
    expect(runCli(['doctor', '--bogus']).status).toBe(2);
    expect(runCli(['completion', 'csh']).status).toBe(2);
    expect(runCli(['man', 'nothing']).status).toBe(2);
    const typo = runCli(['doctr']);
    expect(typo.status).toBe(2);
    expect(typo.stderr).toContain('Did you mean doctor?');
  });
});

describe('the program', () => {
  test('gets its arguments as they are, also those that look like ours', () => {
    const script = 'printf "%s|" "$@"';
    const args = ['-x', '--trace', '--', '--help', '', 'a b'];
    expect(runCli(['run', '--', 'sh', '-c', script, 'sh', ...args]).stdout).toBe(
      '-x|--trace|--|--help||a b|',
    );
    expect(runCli(['run', 'sh', '-c', script, 'sh', ...args]).stdout).toBe('-x|--trace|--|--help||a b|');
  });

  test('has the three streams of run', () => {
    const { stdout, stderr } = runCli(['run', '--', 'sh', '-c', 'cat; echo two >&2'], {}, 'one\n');
    expect({ stdout, stderr }).toEqual({ stdout: 'one\n', stderr: 'two\n' });
  });

  test('has the shim in front of what was preloaded before, and a socket', () => {
    const script = 'echo "$LD_PRELOAD"; test -S "$IOASIS_SOCKET"';
    const alone = runCli(['run', '--', 'sh', '-c', script], { LD_PRELOAD: '' });
    expect(alone.status).toBe(0);
    expect(alone.stdout).toMatch(/^\S+\/libioasis\.so\n$/);
    const libc = '/lib/x86_64-linux-gnu/libm.so.6';
    const both = existsSync(libc)
      ? runCli(['run', '--', 'sh', '-c', script], { LD_PRELOAD: libc }).stdout
      : '';
    if (both !== '') expect(both).toMatch(new RegExp(`^\\S+/libioasis\\.so:${libc}\\n$`));
  });

  test('leaves no directory behind, however it ends', () => {
    const env = { TMPDIR: mkdtempSync(join(dir, 'tmp-')), XDG_RUNTIME_DIR: '' };
    runCli(['run', '--', 'true'], env);
    runCli(['run', '--', 'sh', '-c', 'kill -KILL $$'], env);
    runCli(['run', '--', '/nowhere/prog'], env);
    expect(readdirSync(env.TMPDIR)).toEqual([]);
  });
});

/** Starts run in a session of its own, without a terminal; resolves when the program has said that it is ready. */
async function start(
  script: string,
): Promise<{ child: ChildProcess; ended: Promise<number | null>; said(): string }> {
  const child = spawn(process.execPath, [mainScript, 'run', '--', 'sh', '-c', script], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const ready = new Promise<void>((resolve) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes('ready')) resolve();
    });
  });
  await Promise.race([ready, ended]);
  expect(output).toContain('ready');
  return { child, ended, said: () => output };
}

describe('signals', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s reaches the program', async (signal) => {
    const name = signal.slice(3);
    const script = `trap 'echo got ${name}; exit 5' ${name}; echo ready; while :; do sleep 0.05; done`;
    const { child, ended, said } = await start(script);
    child.kill(signal);
    expect(await ended).toBe(5);
    expect(said()).toContain(`got ${name}`);
  });

  test('that the program does not catch end it, and run says which', async () => {
    const { child, ended } = await start('echo ready; exec sleep 60');
    child.kill('SIGTERM');
    expect(await ended).toBe(143);
  });
});
