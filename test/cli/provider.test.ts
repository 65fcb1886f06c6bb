/** R12: examples/provider.mjs, a kind of page table from outside ioasis, with a fault handler of its own. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { repoRoot } from '../../tools/lib/repo.js';

test('whoever provides a table brings in what is missing, or refuses it', { timeout: 60_000 }, () => {
  const program = join(repoRoot, 'examples/provider.mjs');
  const { stdout, stderr, status } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
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
