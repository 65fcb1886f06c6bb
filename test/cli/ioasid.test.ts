/** examples/sva.c and examples/machine.c: /dev/ioasid with a live process and with a machine's slots. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { repoRoot } from '../../tools/lib/repo.js';
import { printHeader } from '../../src/wire/header.js';
import { runCli } from './run-cli.js';

const compiler = process.env['CC'] ?? 'cc';
const hasCompiler = spawnSync(compiler, ['--version']).status === 0;

describe.runIf(hasCompiler)('/dev/ioasid from C', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'ioasid-'));
    writeFileSync(join(folder, 'ioasis.h'), printHeader());
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function compile(name: string): string {
    const program = join(folder, name);
    const source = join(repoRoot, `examples/${name}.c`);
    const args = ['-O1', '-Wall', '-Wextra', '-Werror', '-I', folder, '-o', program, source];
    expect(spawnSync(compiler, args, { encoding: 'utf8' }).stderr).toBe('');
    return program;
  }

  test('R3, R45: a live process that maps, protects, unmaps and forks under DMA', () => {
    const { status, stdout, stderr } = runCli(['run', '--profile', 'vtd', '--', compile('sva')]);
    expect(stdout).toContain('a page shared with a child: the device stored 4096 bytes');
    expect(stdout).toContain('the child still has its own bytes');
    expect(stdout).toContain('the page made read-only: the page request was answered INVALID');
    expect(stdout).toContain('another page at the same address: the device stored 4096 bytes');
    expect(stderr).not.toMatch(/stale|bug/);
    expect(status).toBe(0);
  });

  test("R4, R16: a machine's slots under DMA, and a fault through the ring", () => {
    const { status, stdout, stderr } = runCli(['run', '--profile', 'vtd', '--', compile('machine')]);
    expect(stdout).toContain('The slot moved to 0x200000000: there, and no longer where it was.');
    expect(stdout).toContain('After the response the device tried again, and its store is there.');
    expect(stderr).not.toMatch(/stale|bug/);
    expect(status).toBe(0);
  });
});
