/**
 * `npm run layers`: every import in src/ against the table of docs/layers.json, and no cycles between files.
 * Type-only imports keep to the table too: what a folder knows is what its reader has to know. They may form
 * cycles (a device names its group, a group its devices), and so may `import()`: only what is loaded together counts.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { filesBelow, importsOf } from './lib/imports.js';
import { repoRoot } from './lib/repo.js';

interface Row {
  readonly imports: readonly string[];
  readonly packages?: readonly string[];
}

export interface LayerTable {
  readonly layers: Readonly<Record<string, Row>>;
  /** Packages that one file alone may import. */
  readonly files: Readonly<Record<string, { readonly packages: readonly string[] }>>;
}

/** The row of a file: its top folder, or itself where it lies directly in src/. */
const layerOf = (file: string): string => file.split('/')[0] as string;

const isDirectlyIn = (file: string, folder: string): boolean => posix.dirname(file) === folder;

function covers(entry: string, target: string): boolean {
  if (entry.endsWith('/*.ts')) return isDirectlyIn(target, entry.slice(0, -'/*.ts'.length));
  return target === entry || target.startsWith(`${entry}/`);
}

/** Within hw/ a vendor folder sees itself and the shared files, never another vendor. */
function sameLayerIsFine(file: string, target: string): boolean {
  if (layerOf(file) !== 'hw') return true;
  return isDirectlyIn(target, 'hw') || posix.dirname(file).startsWith(posix.dirname(target));
}

/** Why `file` may not import `specifier`, or null; `target` is the file in src/ that it names, if it does. */
function complaint(table: LayerTable, file: string, specifier: string, target: string | null): string | null {
  const layer = layerOf(file);
  const row = table.layers[layer];
  if (row === undefined) return `${layer} is not in docs/layers.json`;
  if (target === null) {
    const allowed = [...(row.packages ?? []), ...(table.files[file]?.packages ?? [])];
    if (allowed.some((name) => (name === 'node:' ? specifier.startsWith(name) : specifier === name)))
      return null;
    return `${layer}/ may not import ${specifier}; packages allowed: ${allowed.join(', ') || 'none'}`;
  }
  if (layerOf(target) === layer && sameLayerIsFine(file, target)) return null;
  if (row.imports.some((entry) => covers(entry, target))) return null;
  const folder = posix.dirname(target);
  return `${layer}/ may not import ${folder === '.' ? target : `${folder}/`}; allowed: ${row.imports.join(', ') || 'none'}`;
}

/** The first cycle found among `graph`'s files, as a path that ends where it starts, or null. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | null {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | null => {
    const seenAt = path.indexOf(file);
    if (seenAt >= 0) return [...path.slice(seenAt), file];
    if (done.has(file)) return null;
    path.push(file);
    for (const next of graph.get(file) ?? []) {
      const cycle = visit(next);
      if (cycle !== null) return cycle;
    }
    path.pop();
    done.add(file);
    return null;
  };
  for (const file of graph.keys()) {
    const cycle = visit(file);
    if (cycle !== null) return cycle;
  }
  return null;
}

/** Checks the TypeScript files below `src`, and the table; returns one line for each thing that is wrong. */
export function checkLayers(src: string, table: LayerTable): string[] {
  const problems: string[] = [];
  const graph = new Map<string, string[]>();
  for (const file of filesBelow(src, '.ts')) {
    const targets: string[] = [];
    for (const { specifier, line, atLoad } of importsOf(readFileSync(join(src, file), 'utf8'))) {
      const local = specifier.startsWith('.');
      const target = local ? posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts') : null;
      if (target !== null && atLoad) targets.push(target);
      const why = complaint(table, file, specifier, target);
      if (why !== null) problems.push(`src/${file}:${line}: ${why}`);
    }
    graph.set(file, targets);
  }
  for (const name of [...Object.keys(table.layers), ...Object.keys(table.files)])
    if (!existsSync(join(src, name))) problems.push(`docs/layers.json: ${name} is not in src/`);
  const cycle = findCycle(graph);
  if (cycle !== null) problems.push(`cycle: ${cycle.map((file) => `src/${file}`).join(' -> ')}`);
  return problems;
}

/** The table that this repository keeps to. */
export function readLayerTable(): LayerTable {
  return JSON.parse(readFileSync(join(repoRoot, 'docs/layers.json'), 'utf8')) as LayerTable;
}

if (process.argv[1]?.endsWith('/layers.js') === true) {
  const src = join(repoRoot, 'src');
  const problems = checkLayers(src, readLayerTable());
  for (const problem of problems) console.error(problem);
  console.log(`layers: ${filesBelow(src, '.ts').length} files, ${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
