/** Which sections of a specification the sources cite; see tools/support.ts. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesBelow } from './imports.js';
import { repoRoot } from './repo.js';

interface Specification {
  readonly name: string;
  readonly document: string;
  readonly version: string;
  /** Folders and files below the root, with commas between them. */
  readonly used: string;
  /** By number: what it is about. */
  readonly sections?: Readonly<Record<string, string>>;
  readonly absent?: Readonly<Record<string, string>>;
}

/** `section 6.5.2`, `(VT-d 9.4 to 9.6)`, `(11.2)`, and what follows such a number with a comma or an `and`. */
const CITATION =
  /(?:[Ss]ections?|[Cc]hapters?|VT-d(?: specification)?,?) +(\d[\d.]*\d|\d)((?:(?:,| and| to)(?: \([^)]*\))? (?:\d+\.[\d.]*\d))*)|\((\d+\.[\d.]*\d)\)/g;

/** Sections that a file cites. */
function sectionsOf(source: string): string[] {
  const joined = source.replace(/\n *\*? ?(?:\/\/)? */g, ' ');
  return [...joined.matchAll(CITATION)].flatMap(([, first, more = '', alone]) => [
    ...(first === undefined ? [] : [first]),
    ...[...more.matchAll(/\d+\.[\d.]*\d/g)].map(([number]) => number),
    ...(alone === undefined ? [] : [alone]),
  ]);
}

function filesOf(used: string): string[] {
  return used.split(', ').flatMap((path) => {
    if (path.endsWith('.ts')) return [path];
    return filesBelow(join(repoRoot, path), '.ts').map((file) => `${path}/${file}`);
  });
}

const byNumber = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true });

function table(specification: Specification): string {
  const { sections = {}, absent = {} } = specification;
  const cited = new Map<string, string[]>(Object.keys(sections).map((number) => [number, []]));
  for (const file of filesOf(specification.used)) {
    for (const number of new Set(sectionsOf(readFileSync(join(repoRoot, file), 'utf8')))) {
      const files = cited.get(number);
      if (files === undefined)
        throw new Error(`${file} cites ${number}, which docs/specs.json does not name`);
      files.push(`\`${file}\``);
    }
  }
  const silent = [...cited].flatMap(([number, files]) => (files.length > 0 ? [] : [number]));
  if (silent.length > 0) throw new Error(`docs/specs.json names ${silent.join(', ')}, which nothing cites`);
  const there = [...cited].toSorted(([a], [b]) => byNumber(a, b));
  const rows = there.map(([number, files]) => `| ${number} | ${sections[number]} | ${files.join(', ')} |`);
  const missing = Object.entries(absent)
    .toSorted(([a], [b]) => byNumber(a, b))
    .map(([number, what]) => `| ${number} | ${what} |`);
  const head = `## ${specification.name}\n\n${specification.document}, version ${specification.version}.\n`;
  return [
    head,
    '| section | about | cited by |\n|---|---|---|',
    ...rows,
    '\nNot there:\n\n| section | what |\n|---|---|',
    ...missing,
  ].join('\n');
}

/** The text of docs/support.md. */
export function supportPage(): string {
  const { specifications } = JSON.parse(readFileSync(join(repoRoot, 'docs/specs.json'), 'utf8')) as {
    specifications: Readonly<Record<string, Specification>>;
  };
  const known = Object.values(specifications).filter(({ sections }) => sections !== undefined);
  const head =
    '# What of each specification is there\n\nWritten by `npm run support` from the sections that comments cite and from' +
    ' [specs.json](specs.json); a test compares.\nSpecifications without a list of sections there are not on this page. The numbers are those of the version\n' +
    'named.\n';
  return `${head}\n${known.map(table).join('\n\n')}\n`;
}
