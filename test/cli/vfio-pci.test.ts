/** A driver of a PCI device as an ordinary C program, by way of the shim. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { repoRoot } from '../../tools/lib/repo.js';
import { runCli } from './run-cli.js';

const hasCompiler = spawnSync('cc', ['--version']).status === 0;
let dir = '';
let program = '';
let topology = '';

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ioasis-vfio-'));
  chmodSync(dir, 0o700);
  topology = join(dir, 'ioat.yaml');
  writeFileSync(topology, 'devices:\n  0000:00:01.0: { model: ioat }\n');
  program = join(dir, 'vfio-pci');
  writeFileSync(join(dir, 'ioasis.h'), runCli(['header']).stdout);
  const source = join(repoRoot, 'test/cli/vfio-pci.c');
  const made = spawnSync('cc', ['-Wall', '-Werror', '-I', dir, '-o', program, source], { encoding: 'utf8' });
  expect(made.stderr).toBe('');
});
afterAll(() => rmSync(dir, { recursive: true }));

describe.runIf(hasCompiler)('a driver in user space', () => {
  test.each(['intx', 'msi', 'msix'])(
    'gets its copy done and %s on its own eventfd',
    { timeout: 60_000 },
    (kind) => {
      expect(runCli(['run', '-t', topology, '--', program, kind])).toMatchObject({ status: 0, stdout: '' });
    },
  );

  test('is shown by name in the trace', { timeout: 60_000 }, () => {
    const { stdout, stderr } = runCli(['run', '-t', topology, '--trace', '--', program]);
    const text = stdout + stderr;
    expect(text).toContain(
      'VFIO_DEVICE_SET_IRQS, {argsz=24, flags=DATA_EVENTFD|ACTION_TRIGGER, index=MSIX, start=0, count=1}',
    );
    expect(text).toContain('VFIO_DEVICE_GET_REGION_INFO, {argsz=32, flags=0, index=CONFIG');
    expect(text).toContain('VFIO_DEVICE_RESET');
  });
});
