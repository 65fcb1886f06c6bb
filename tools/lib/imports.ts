/** What a TypeScript source imports, found without a compiler: enough for the layer check and the docs check. */
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

/** One import or re-export. */
export interface ImportLine {
  /** As written: `../base/errno.js`, `node:fs`, `koffi`. */
  readonly specifier: string;
  /** Counted from 1. */
  readonly line: number;
  /** Loaded together with the file: neither `import type`, which is gone at run time, nor `import()`. */
  readonly atLoad: boolean;
}

const patterns = [
  /^[ \t]*(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"]+)['"]/gm,
  /^[ \t]*import\s*['"]([^'"]+)['"]/gm,
  /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g,
];

/** Every import of `source`, type-only and dynamic ones included, in line order. */
export function importsOf(source: string): ImportLine[] {
  const found: ImportLine[] = [];
  for (const pattern of patterns) {
    for (const match of source.matchAll(pattern)) {
      const lead = match[0].length - match[0].trimStart().length;
      const line = source.slice(0, match.index + lead).split('\n').length;
      found.push({
        specifier: match[1] as string,
        line,
        atLoad: !/^\s*(?:import|export)\s+type\b|^import\(/.test(match[0]),
      });
    }
  }
  return found.toSorted((a, b) => a.line - b.line);
}

/** Files below `root` whose name ends in `suffix`, relative to it, sorted. */
export function filesBelow(root: string, suffix: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith(suffix))
      found.push(relative(root, join(entry.parentPath, entry.name)));
  }
  return found.toSorted();
}
