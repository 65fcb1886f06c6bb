/** Machines of a topology from the command line: a C program on their devices, and what people are shown of them. */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { profileNames } from '../../src/cli/commands.js';
import { accepts } from '../inspect/json-schema.js';
import { mainScript, runCli } from './run-cli.js';

const hasCompiler = spawnSync('cc', ['--version']).status === 0;
let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ioasis-machine-'));
  chmodSync(dir, 0o700);
});
afterAll(() => rmSync(dir, { recursive: true }));

describe('a topology', () => {
  test('that is wrong is refused with file, line and column, by run and daemon alike', () => {
    const file = join(dir, 'wrong.yaml');
    writeFileSync(file, 'units:\n  vtd0: { nestng: true }\ndevices: 3\n');
    for (const args of [
      ['run', '-t', file, '--', 'true'],
      ['daemon', '--topology', file],
    ]) {
      const { status, stdout, stderr } = runCli(args);
      expect(status).toBe(125);
      expect(stdout).toBe('');
      expect(stderr).toBe(
        `${file}:2:11: unknown key nestng; did you mean nesting?\n` +
          `${file}:3:10: expected devices by name, or {} for none, found 3\n`,
      );
    }
  });

  test('that is not there is refused', () => {
    const { status, stderr } = runCli(['run', '-t', '/nowhere.yaml', '--', 'true']);
    expect({ status, stderr }).toEqual({ status: 125, stderr: '/nowhere.yaml: not found\n' });
  });

  test('is made from a file or from a profile, and not for a daemon that runs', () => {
    const both = runCli(['run', '--profile', 'vtd', '-t', 'x', '--', 'true']);
    expect(both).toMatchObject({ status: 125, stderr: expect.stringContaining('not from both') });
    const late = runCli(['run', '--profile', 'vtd', '--socket', '/nowhere/s', '--', 'true']);
    expect(late).toMatchObject({
      status: 125,
      stderr: expect.stringContaining('--profile is for the daemon'),
    });
    expect(runCli(['run', '--profile', 'nothing', '--', 'true']).status).toBe(125);
  });

  test('that names the selftest is as --selftest', () => {
    const file = join(dir, 'mock.yaml');
    writeFileSync(file, 'units: { mock: { type: selftest } }\n');
    const script = 'test -e /sys/kernel/debug/failslab/probability && ! test -e /dev/vfio/devices/vfio0';
    expect(runCli(['run', '-t', file, '--', 'sh', '-c', script]).status).toBe(0);
  });
});

describe('profiles', () => {
  test('are listed, and printed as files to start from', () => {
    const lines = runCli(['profiles']).stdout.trim().split('\n');
    expect(lines.map((line) => line.split(' ')[0]).toSorted()).toEqual([...profileNames].toSorted());
    const file = join(dir, 'own.yaml');
    writeFileSync(file, runCli(['profiles', 'shared-group']).stdout);
    const script = 'ls /dev/vfio/devices; test -c /dev/vfio/devices/vfio3';
    expect(runCli(['run', '-t', file, '--', 'sh', '-c', script]).status).toBe(0);
    expect(runCli(['profiles', 'nothing'])).toMatchObject({ status: 1, stdout: '' });
  });
});

describe('walk, dump and dmesg', () => {
  test('say what they need', () => {
    const env = { IOASIS_SOCKET: '' };
    expect(runCli(['dump'], env)).toMatchObject({ status: 2, stderr: expect.stringContaining('--socket') });
    const socket = '/nowhere/s';
    expect(runCli(['dmesg', '--socket', socket])).toEqual({
      status: 1,
      stdout: '',
      stderr: `ioasis: no daemon at ${socket}\n`,
    });
    for (const address of ['y', String(2n ** 64n)]) {
      expect(runCli(['walk', 'x', address, '--socket', socket])).toMatchObject({
        status: 2,
        stderr: expect.stringContaining(`${address} is no address`),
      });
    }
    expect(runCli(['walk', 'x'])).toMatchObject({ status: 2 });
  });
});

describe.runIf(hasCompiler)('a program on a device', () => {
  let program = '';
  beforeAll(() => {
    writeFileSync(join(dir, 'ioasis.h'), runCli(['header']).stdout);
    program = join(dir, 'machine');
    const source = new URL('./machine.c', import.meta.url).pathname;
    const flags = ['-Wall', '-Wextra', '-Werror', '-I', dir, '-o', program, source];
    expect(spawnSync('cc', flags, { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
  });

  const fault =
    /\[DMA Read NO_PASID\] Request device \[0000:00:01\.0\] fault addr 0x11000 \[fault reason 0x71\]/;

  test('finds the machine in files of its own, and --dmesg prints the log', () => {
    const { status, stdout, stderr } = runCli(['run', '--profile', 'vtd', '--dmesg', '--', program]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/\/dmesg: DMAR: /);
    expect(stdout).toMatch(fault);
    expect(stdout).toMatch(/"result":\{"kind":"page",/);
    expect(stderr).toMatch(fault);
    expect(stderr.trim().split('\n')).toHaveLength(2);
  });

  test('sees a fault in the trace before the call that met it', () => {
    const { stderr } = runCli(['run', '--profile', 'vtd', '--trace', '--', program]);
    const lines = stderr.trim().split('\n');
    const at = lines.findIndex((line) => fault.test(line));
    expect(lines[at]).toMatch(/^\[kernel\] DMAR: /);
    expect(lines[at + 1]).toMatch(/IOASIS_DMA.*out_state=FAULTED/);
  });

  test('has a JSON trace that the published schema describes', () => {
    const file = join(dir, 'trace.json');
    runCli(['run', '--profile', 'vtd', `--trace=${file}`, '--trace-format', 'json', '--', program]);
    const schema = JSON.parse(readFileSync(new URL('../../docs/trace.schema.json', import.meta.url), 'utf8'));
    const records = readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    for (const record of records) expect(accepts(schema, record), JSON.stringify(record)).toBe(true);
    expect(records.filter(({ event }) => event === 'log')).toHaveLength(2);
  });

  test('is seen from outside while it runs', { timeout: 60_000 }, async () => {
    const socket = join(dir, 'socket');
    const daemon = spawn(process.execPath, [mainScript, 'daemon', '--profile', 'vtd', '--socket', socket]);
    onTestFinished(() => void daemon.kill('SIGTERM'));
    await once(daemon.stdout, 'data');
    const client = spawn(process.execPath, [mainScript, 'run', '--socket', socket, '--', program, 'wait']);
    onTestFinished(() => void client.kill('SIGKILL'));
    await once(client.stdout, 'data');
    const ask = (...args: string[]): ReturnType<typeof runCli> => runCli([...args, '--socket', socket]);
    const walked = ask('walk', '0000:00:01.0', '0x10123');
    expect(walked.status).toBe(0);
    expect(walked.stdout).toMatch(
      /^first stage level 1 at 0x[0-9a-f]+ \[16\]: 0x[0-9a-f]+ {2}P US .*ADDR=0x[0-9a-f]+$/m,
    );
    expect(walked.stdout).toMatch(
      /^leads to 0x[0-9a-f]+123 \(client memory, .*\); permits read; 4 KiB page$/m,
    );
    const lost = ask('walk', '0000:00:01.0:9', '0x10123').stdout;
    expect(lost).toMatch(/ends here: .*\n\nfaults: SM: .* \[0x59\]\n$/);
    expect(ask('walk', 'nobody', '0')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('no such device: nobody'),
    });
    expect(JSON.parse(ask('walk', '--json', '0000:00:01.0', '0x10123').stdout).result).toMatchObject({
      permits: 'read',
    });
    const { stdout } = ask('dump');
    expect(stdout).toMatch(/^ {2}\d+ IOAS areas=1 hwpts=\[\d+\]/m);
    expect(stdout).toMatch(/^ {2}\d+ DEVICE device=0000:00:01\.0 .*attached=\[hwpt \d+\]/m);
    expect(stdout).toMatch(/first stage: 0x10000\.\.0x10fff -> 0x[0-9a-f]+ r-[A-]-, 4 KiB pages/);
    expect(stdout).toMatch(/domain \d+ PASID 0 first stage: 0x10000 -> 0x[0-9a-f]+, 4 KiB page/);
    expect(stdout).toMatch(/domain \d+ PASID 0 first stage: 0x0, 2 MiB -> table at 0x[0-9a-f]+/);
    expect(stdout).toMatch(/source 0x8 PASID 0: domain \d+, first stage FSPTPTR=0x[0-9a-f]+/);
    expect(JSON.parse(ask('dump', '--json').stdout)).toMatchObject({
      v: 1,
      contexts: [{ context: 1 }],
      units: [{ name: 'vtd0' }],
    });
    expect(ask('dmesg').stdout).toMatch(fault);
    client.stdin.end();
    await once(client, 'exit');
    expect(ask('dump').stdout).toMatch(/^no open \/dev\/iommu$/m);
  });
});
