/** examples/nested.c, README's second example: two stages, stale translations, page requests, in an unmodified C program. */
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
const topology = join(repoRoot, 'examples/topologies/platform.yaml');

describe.runIf(hasCompiler)('the nested example', () => {
  let folder: string;
  let program: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'nested-'));
    program = join(folder, 'nested');
    writeFileSync(join(folder, 'ioasis.h'), printHeader());
    const args = ['-O1', '-Wall', '-Wextra', '-Werror', '-I', folder, '-o', program];
    const { stderr } = spawnSync(compiler, [...args, join(repoRoot, 'examples/nested.c')], {
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test('R17, R18: does what it says, on PCI and on a platform bus, with PASIDs and without', () => {
    const { status, stdout, stderr } = runCli(['run', '-t', topology, '--', program]);
    expect(status).toBe(0);
    const count = (text: string): number => stdout.split(text).length - 1;
    expect(count('a PCI device') + count('a platform device')).toBe(2);
    expect(count('By its requester id alone:')).toBe(2);
    expect(count('written through two stages')).toBe(4);
    expect(count('The device reads "the old page".')).toBe(4);
    expect(count('The device reads "the new page".')).toBe(4);
    expect(count('is missing for PASID 17') + count('is missing for PASID 18')).toBe(2);
    expect(count('is missing. The guest provides it')).toBe(2);
    expect(count('The read is done: "a page that came in time"')).toBe(4);
    expect(stderr).not.toContain('bug');
    const readme = readFileSync(join(repoRoot, 'README.md'), 'utf8');
    const shown = /<!-- nested: begin -->\n```\n\$ ioasis[^\n]*\n([\s\S]*?)```/.exec(readme)?.[1];
    expect(stdout.startsWith(shown!)).toBe(true);
  });

  test('is told of every invalidation that it forgets, and of no other', () => {
    const { stderr } = runCli(['run', '--trace', '-t', topology, '--', program]);
    const stale = stderr.split('\n').filter((line) => line.startsWith('[stale]'));
    expect(stale.map((line) => /missing: (.*?),.*PASID (\d+)$/.exec(line)?.slice(1))).toEqual([
      ['PASID-based IOTLB invalidate', '0'],
      ['PASID-based IOTLB invalidate', '17'],
      ['PASID-based IOTLB invalidate', '18'],
      ['PASID-based IOTLB invalidate', '0'],
    ]);
  });

  test('takes three calls from a fault to the retried operation: read it, answer it, read what became of it', () => {
    const { stderr } = runCli(['run', '--trace', '-t', topology, '--', program]);
    const calls = stderr.split('\n').filter((line) => line.startsWith('[pid'));
    const waits = calls.flatMap((line, i) => (line.includes('out_state=PENDING') ? [i] : []));
    const after = calls
      .slice(waits[0]! + 1, waits[0]! + 4)
      .map((line) => /\] (\w+)\(\d+<([^>]*)>/.exec(line)?.slice(1));
    expect(after).toEqual([
      ['read', '[iommufd-pgfault]'],
      ['write', '[iommufd-pgfault]'],
      ['read', '/dev/vfio/devices/vfio0'],
    ]);
  });
});
