/**
 * Where the repository is. Tools run from .cache/js and from their sources (in tests), so the root is found by
 * walking up to package.json.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(from: string): string {
  if (existsSync(join(from, 'package.json'))) return from;
  const parent = dirname(from);
  if (parent === from) throw new Error('no package.json above this file');
  return findRoot(parent);
}

/** Absolute path of the repository. */
export const repoRoot = findRoot(dirname(fileURLToPath(import.meta.url)));
