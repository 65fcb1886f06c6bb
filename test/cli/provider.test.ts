/**
 * R12: examples/provider.ts, a kind of page table from outside ioasis, with a fault handler of its own. It is compiled
 * against the types that the package shows, and runs as its users would run it.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { repoRoot } from '../../tools/lib/repo.js';

/** Below the package, so that it is found by its name. */
const folder = join(repoRoot, '.cache/test-examples', String(process.pid));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const node = (...args: readonly string[]) => spawnSync(process.execPath, args, { encoding: 'utf8' });

test('whoever provides a table brings in what is missing, or refuses it', () => {
  const tsc = join(repoRoot, 'node_modules/typescript/bin/tsc');
  const compiled = node(tsc, '-p', join(repoRoot, 'examples'), '--outDir', folder);
  expect([compiled.status, compiled.stdout]).toEqual([0, '']);
  const { stdout, stderr, status } = node(join(folder, 'provider.js'));
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  const lines = stdout.split('\n').filter((line) => line.startsWith('  '));
  expect(lines).toEqual([
    '  a page request for block 0: brought in',
    '  done: the first block',
    '  done: the first block',
    '  a page request for block 1: brought in',
    '  done: the second block',
    '  a page request for block 0: brought in',
    '  done: the first block',
    '  a page request for block 2: refused',
    '  failed: page-invalid',
  ]);
});
