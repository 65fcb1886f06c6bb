/** What a file exports, somebody uses: an export without a user is dead code that the compiler cannot see. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { filesBelow } from '../../tools/lib/imports.js';
import { repoRoot } from '../../tools/lib/repo.js';

const folders = ['src', 'tools', 'test', 'bench'];
const words = new Map(
  folders.flatMap((folder) =>
    filesBelow(join(repoRoot, folder), '.ts').map((name) => {
      const file = `${folder}/${name}`;
      return [file, new Set(readFileSync(join(repoRoot, file), 'utf8').match(/[\w$]+/g) ?? [])] as const;
    }),
  ),
);

/** Functions, classes and constants; types document what they belong to even when nobody names them. */
function exportedValues(file: string): string[] {
  const source = readFileSync(join(repoRoot, file), 'utf8');
  const found = source.matchAll(/^export (?:async )?(?:function\*?|class|abstract class|const) ([\w$]+)/gm);
  return [...found].map((match) => match[1] as string);
}

test('every exported value of src and tools is named in another file', () => {
  const unused: string[] = [];
  for (const file of words.keys()) {
    // Generated files have all of a header; src/index.ts is for others.
    if (file.startsWith('test/') || file.startsWith('bench/') || file.endsWith('.gen.ts')) continue;
    if (file === 'src/index.ts') continue;
    for (const name of exportedValues(file)) {
      const users = [...words].filter(([other, used]) => other !== file && used.has(name));
      if (users.length === 0) unused.push(`${file}: ${name}`);
    }
  }
  expect(unused).toEqual([]);
});
