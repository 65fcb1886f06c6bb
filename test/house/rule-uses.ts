/** Where each rule of a catalogue is used: from the sources alone, so that a rule nobody checks any more shows. */
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { filesBelow } from '../../tools/lib/imports.js';

export interface RuleUse {
  readonly id: string;
  /** The file that declares it, relative to the folder searched. */
  readonly catalogue: string;
  /** `file:line` of every `rules.<id>`; `rules.<id>.id` only names a rule, as a site of failure does. */
  readonly places: readonly string[];
}

/** Sources without comments, with the same line numbers. Strings stay: no rule is named in one that looks like code. */
export function withoutComments(source: string): string {
  return source
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ''))
    .replace(/(^|\s)\/\/.*$/gm, '$1');
}

const head = /^(?:export )?const (\w+) = catalogue\(\{$/m;

/** Ids declared by `const rules = catalogue({ id: [...], ... })`. */
function declared(source: string): string[] {
  const start = head.exec(source);
  if (start === null) return [];
  const table = source.slice(start.index, source.indexOf('\n});', start.index));
  return [...table.matchAll(/^ {2}(\w+): \[/gm)].map((match) => match[1] as string);
}

/** The name by which `source` (at `file`) knows its own catalogue, and each that it imports. */
function aliases(source: string, file: string): Map<string, string> {
  const found = new Map<string, string>();
  const own = head.exec(source)?.[1];
  if (own !== undefined) found.set(file, own);
  for (const match of source.matchAll(/import\s*\{([^}]*)\}\s*from\s*'([^']+)'/g)) {
    const name = /\brules(?:\s+as\s+(\w+))?/.exec(match[1] as string);
    if (name === null) continue;
    found.set(
      posix.join(posix.dirname(file), match[2] as string).replace(/\.js$/, '.ts'),
      name[1] ?? 'rules',
    );
  }
  return found;
}

/** Every rule declared below `folder`, with the places that use it. */
export function ruleUses(folder: string): RuleUse[] {
  const sources = new Map(
    filesBelow(folder, '.ts').map((file) => [
      file,
      withoutComments(readFileSync(join(folder, file), 'utf8')),
    ]),
  );
  const uses = new Map<string, string[]>();
  for (const [file, source] of sources) {
    for (const [catalogue, alias] of aliases(source, file)) {
      for (const match of source.matchAll(new RegExp(`\\b${alias}\\.(\\w+)\\b(?!\\.id\\b)`, 'g'))) {
        const line = source.slice(0, match.index).split('\n').length;
        const key = `${catalogue} ${match[1] as string}`;
        uses.set(key, [...(uses.get(key) ?? []), `${file}:${line}`]);
      }
    }
  }
  return [...sources].flatMap(([catalogue, source]) =>
    declared(source).map((id) => ({ id, catalogue, places: uses.get(`${catalogue} ${id}`) ?? [] })),
  );
}
