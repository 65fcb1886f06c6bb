/** docs/support.md is what the sources say now. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { repoRoot } from '../../tools/lib/repo.js';
import { supportPage } from '../../tools/lib/support.js';

test('the support table is that of the sources, which cite no section that has no name', () => {
  expect(readFileSync(join(repoRoot, 'docs/support.md'), 'utf8')).toBe(supportPage());
});
