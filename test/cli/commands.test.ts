/** The commands beside run, as processes: what they print, and that what they print is of use. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { mainScript, runCli } from './run-cli.js';

const hasCompiler = spawnSync('cc', ['--version']).status === 0;
let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ioasis-commands-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

test('version names the package, the interface and Node', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(runCli(['--version']).stdout).toBe(`${version}\n`);
  const { stdout } = runCli(['version']);
  expect(stdout).toContain(`ioasis    ${version}\n`);
  expect(stdout).toContain(process.version);
});

describe('rules', () => {
  test('lists every rule with its errno and sentence', () => {
    const { status, stdout } = runCli(['rules']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^unmap_partial +ENOENT +.*\{/m);
    expect(stdout.trim().split('\n').length).toBeGreaterThan(100);
  });

  test('lists those that begin with what is asked for, or the one that is it', () => {
    const lines = runCli(['rules', 'unmap_']).stdout.trim().split('\n');
    expect(lines.length).toBeGreaterThan(1);
    expect(lines.every((line) => line.startsWith('unmap_'))).toBe(true);
    const [only, ...more] = JSON.parse(runCli(['rules', '--json', 'unmap_partial']).stdout);
    expect(only).toMatchObject({ id: 'unmap_partial', errno: 'ENOENT' });
    expect(more).toEqual([]);
    expect(runCli(['rules', 'no-such-rule'])).toMatchObject({ status: 1, stdout: '' });
  });
});

describe.runIf(hasCompiler)('demo', () => {
  test('runs the example and shows each refusal with its reason', () => {
    const { status, stdout, stderr } = runCli(['demo'], { XDG_CACHE_HOME: join(dir, 'cache') });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toContain('gets "hello from the program"');
    expect(stdout).toContain('finds "hello from the device"');
    for (const rule of ['unmap_partial', 'map_exists', 'access_rw_gap']) {
      expect(stdout).toMatch(new RegExp(`why: .*0x.* \\[${rule}\\]`));
    }
    expect(stdout).not.toContain('unexpected');
  });

  test('says what is missing where there is no compiler', () => {
    const none = { PATH: dir, XDG_CACHE_HOME: join(dir, 'other-cache') };
    const { status, stderr } = runCli(['demo'], none);
    expect(status).toBe(125);
    expect(stderr).toContain('no C compiler');
  });
});

describe.runIf(hasCompiler)('a traced run', () => {
  let program = '';
  beforeAll(() => {
    writeFileSync(join(dir, 'ioasis.h'), runCli(['header']).stdout);
    program = join(dir, 'first-steps');
    const source = new URL('../../examples/first-steps.c', import.meta.url).pathname;
    const flags = ['-Wall', '-Wextra', '-Werror', '-I', dir, '-o', program, source];
    expect(spawnSync('cc', flags, { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
  });

  test('writes lines to standard error, and nothing into the program output', () => {
    const { status, stdout, stderr } = runCli(['run', '--selftest', '--trace', '--', program]);
    expect(status).toBe(0);
    expect(stdout).not.toContain('ioctl');
    const lines = stderr.trim().split('\n');
    expect(lines[0]).toMatch(/^\[pid \d+\] open\("\/dev\/iommu", O_RDWR\|O_CLOEXEC\) = <\/dev\/iommu>$/);
    expect(lines.every((line) => /^\[pid \d+\] (open|ioctl)\(/.test(line))).toBe(true);
    expect(stderr).toMatch(/ = -1 EEXIST \(File exists\) \/\* map_exists: .*0x.* \*\/$/m);
    expect(stderr).not.toContain('\u001b');
  });

  test('writes JSON lines into a file', () => {
    const file = join(dir, 'trace.json');
    const args = ['run', '--selftest', `--trace=${file}`, '--trace-format', 'json', '--', program];
    expect(runCli(args)).toMatchObject({ status: 0, stderr: '' });
    const lines = readFileSync(file, 'utf8').trim().split('\n');
    const calls = lines.map((line) => JSON.parse(line) as { name?: string; error?: { rule: string } });
    expect(calls.map(({ name }) => name)).toContain('IOMMU_IOAS_MAP');
    expect(calls.flatMap(({ error }) => (error === undefined ? [] : [error.rule]))).toEqual([
      'unmap_partial',
      'map_exists',
      'access_rw_gap',
    ]);
  });

  test('to a file that cannot be written does not start', () => {
    const { status, stdout } = runCli(['run', '--selftest', '--trace=/nowhere/file', '--', program]);
    expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
  });

  test('without --selftest has no device to show', () => {
    const { status, stdout } = runCli(['run', '--', program]);
    expect(status).toBe(1);
    expect(stdout).toContain('unexpected: IOMMU_TEST_OP_MOCK_DOMAIN: Inappropriate ioctl for device');
  });

  test('with --fail-nth meets every failing point, and in the end none', () => {
    const sites = new Set<string>();
    for (let n = 1; n < 500; n++) {
      const { status, stderr } = runCli(['run', '--selftest', '--fail-nth', String(n), '--', program]);
      const site = /--fail-nth \d+: failed at (\S+)/.exec(stderr)?.[1];
      if (site === undefined) {
        expect(stderr).toContain('no task came that far');
        expect(status).toBe(0);
        break;
      }
      sites.add(site);
    }
    expect(sites.size).toBeGreaterThan(5);
  });

  test('counts only the kinds of failure that are asked for', () => {
    const only = [
      'run',
      '--selftest',
      '--fail-kind',
      'fail_usercopy',
      '--fail-nth',
      '1',
      '--trace',
      '--',
      program,
    ];
    const { stderr } = runCli(only);
    expect(stderr).toMatch(/= -1 EFAULT \(Bad address\) .*\(INJECTED: \w+\)$/m);
  });

  test.each([
    ['daemon', ['daemon', '--socket'], {}, 'has to be ours alone (mode 0700)'],
    ['run', ['run', '--', 'true'], { XDG_RUNTIME_DIR: '', TMPDIR: '/nonexistent' }, 'ENOENT'],
  ])('%s says where no socket can be, and ends', { timeout: 90_000 }, (_, args, env, message) => {
    const place = join(dir, 'public');
    mkdirSync(place, { recursive: true, mode: 0o755 });
    const whole = args.at(-1) === '--socket' ? [...args, join(place, 'socket')] : args;
    expect(runCli(whole, env)).toMatchObject({ status: 125, stderr: expect.stringContaining(message) });
  });

  describe('on a daemon', () => {
    test('shares its engine; the daemon traces and goes away cleanly', async () => {
      const place = join(dir, 'private');
      mkdirSync(place, { mode: 0o700 });
      const socket = join(place, 'socket');
      const trace = join(dir, 'daemon-trace');
      const args = [mainScript, 'daemon', '--selftest', '--socket', socket, `--trace=${trace}`];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      onTestFinished(() => void child.kill('SIGKILL'));
      const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
      let output = '';
      const greeted = new Promise<void>((resolve) => {
        child.stdout.on('data', (chunk: Buffer) => {
          output += chunk.toString();
          if (output.includes('LD_PRELOAD')) resolve();
        });
      });
      await Promise.race([greeted, ended]);
      expect(output.split('\n')[0]).toBe(`listening on ${socket}`);

      expect(runCli(['run', '--socket', socket, '--', program]).status).toBe(0);
      expect(runCli(['run', '--', program], { IOASIS_SOCKET: socket }).status).toBe(0);
      const lines = [...output.matchAll(/^ {2}export (.*)$/gm)].map((match) => match[1]);
      const byHand = spawnSync('env', [...(lines as string[]), program], { encoding: 'utf8' });
      expect(byHand.status).toBe(0);
      const refused = runCli(['run', '--socket', socket, '--selftest', '--', program]);
      expect(refused).toMatchObject({
        status: 125,
        stderr: expect.stringContaining('--selftest is for the daemon'),
      });
      const second = runCli(['daemon', '--socket', socket]);
      expect(second).toMatchObject({ status: 125, stderr: expect.stringContaining('exists') });

      child.kill('SIGTERM');
      expect(await ended).toBe(0);
      expect(existsSync(socket)).toBe(false);
      expect(readFileSync(trace, 'utf8').match(/ open\(/g)).toHaveLength(3);
    });
  });
});
