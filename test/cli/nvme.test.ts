/** examples/nvme.c: an NVMe driver as an ordinary program, on blocks in memory and in a file. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { repoRoot } from '../../tools/lib/repo.js';
import { printHeader } from '../../src/wire/header.js';
import { runCli } from './run-cli.js';

const compiler = process.env['CC'] ?? 'cc';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;

describe.runIf(hasCompiler)('the NVMe example', () => {
  let folder: string;
  let program: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nvme-'));
    program = join(folder, 'nvme');
    writeFileSync(join(folder, 'ioasis.h'), printHeader());
    const args = ['-O1', '-Wall', '-Wextra', '-Werror', '-I', folder, '-o', program];
    const { stderr } = spawnSync(compiler, [...args, join(repoRoot, 'examples/nvme.c')], {
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test('drives the controller of the profile', () => {
    const { status, stdout, stderr } = runCli([
      ...['run', '--profile', 'nvme', '--', program],
      '/dev/vfio/devices/vfio1',
    ]);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const readme = readFileSync(join(repoRoot, 'README.md'), 'utf8');
    const shown = /<!-- nvme: begin -->\n```\n\$ ioasis[^\n]*\n([\s\S]*?)```/.exec(readme)?.[1];
    expect(stdout).toBe(shown);
  });

  test('leaves in a file what it has flushed', () => {
    const topology = join(folder, 'topology.yaml');
    writeFileSync(
      topology,
      'devices: { 0000:00:05.0: { model: nvme, namespaces: [{ file: disk, size: 4M }] } }',
    );
    const { status, stderr } = runCli(['run', '-t', topology, '--', program, '/dev/vfio/devices/vfio0']);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const disk = readFileSync(join(folder, 'disk'));
    expect(disk.length).toBe(1 << 22);
    // What the last round has written.
    const start = ((99 * 977) % (8192 - 100)) * 512;
    const expected = Uint8Array.from(
      { length: 100 * 512 },
      (_, i) => (i * 7 + Math.floor(i / 512) + 99 * 31) & 0xff,
    );
    expect(Buffer.compare(disk.subarray(start, start + expected.length), expected)).toBe(0);
  });
});
