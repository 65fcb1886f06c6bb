/** What tracked files may not contain, and that links of the documentation lead somewhere. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { repoRoot } from '../../tools/lib/repo.js';

/** Files under version control; a copy without it has none to judge. */
function trackedFiles(): string[] {
  const list = execFileSync('git', ['ls-files', '-z'], { cwd: repoRoot, encoding: 'utf8' });
  return list.split('\0').filter((file) => file !== '' && existsSync(join(repoRoot, file)));
}

const files = trackedFiles();
const read = (file: string): string => readFileSync(join(repoRoot, file), 'utf8');
const itself = 'test/house/tree.test.ts';

/** `file:line` of every match in the files that `judged` picks. */
function found(pattern: RegExp, judged: (file: string) => boolean): string[] {
  return files
    .filter((file) => file !== itself && judged(file))
    .flatMap((file) =>
      read(file)
        .split('\n')
        .flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}`] : [])),
    );
}

describe('no tracked file', () => {
  test('has work left in it', () => {
    expect(found(/\b(TODO|FIXME|XXX|HACK)\b/, () => true)).toEqual([]);
  });

  test('names the host of a package registry', () => {
    const hosts = /registry\.(npmjs|yarnpkg)|(deb|security|snapshot|ftp)\.debian\.org|archive\.ubuntu/;
    expect(found(hosts, () => true)).toEqual([]);
  });

  test('knows the machine that it was written on', () => {
    expect(found(/(^|[\s"'`(=:])\/(work|tmp\/(sid|k|helpers|conf)|home\/\w+|root)\//, () => true)).toEqual(
      [],
    );
  });
});

/** GitHub's anchors: lower case, spaces become hyphens, punctuation goes. */
function anchors(page: string): Set<string> {
  const heads = read(page).matchAll(/^#+ +(.*)$/gm);
  return new Set(
    [...heads].map(([, head]) =>
      (head as string)
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replaceAll(' ', '-'),
    ),
  );
}

describe('the documentation', () => {
  const pages = files.filter((file) => file.endsWith('.md'));

  test('has links that lead to files and headings', () => {
    const broken: string[] = [];
    for (const page of pages) {
      for (const [, link] of read(page).matchAll(/\]\(([^)\s]+)\)/g)) {
        const [path, anchor] = (link as string).split('#') as [string, string?];
        if (/^[a-z]+:/.test(path)) continue;
        const target = path === '' ? page : join(dirname(page), path);
        if (!existsSync(join(repoRoot, target))) broken.push(`${page}: ${link}`);
        else if (anchor !== undefined && !anchors(target).has(anchor)) broken.push(`${page}: ${link}`);
      }
    }
    expect(broken).toEqual([]);
  });

  test('names only files that exist', () => {
    const broken: string[] = [];
    for (const page of pages) {
      for (const [, path] of read(page).matchAll(
        /`((?:src|test|tools|shim|docs|bench|examples)\/[\w./-]*\w)`/g,
      )) {
        if (!existsSync(join(repoRoot, path as string))) broken.push(`${page}: ${path}`);
      }
    }
    expect(broken).toEqual([]);
  });

  test('points, in the map of one ioctl, at names that the files have', () => {
    const missing: string[] = [];
    for (const [, file, names] of read('docs/map.md').matchAll(/^\| `([^`]+)` \| (.*) \|$/gm)) {
      const source = existsSync(join(repoRoot, file as string)) ? read(file as string) : '';
      for (const [, name] of (names as string).matchAll(/`([^`]+)`/g)) {
        if (!new RegExp(`(^|[^\\w#])${name}\\b`).test(source)) missing.push(`${file}: ${name}`);
      }
    }
    expect(missing).toEqual([]);
  });

  test('has a row for each of R1 to R46, in order', () => {
    const rows = [...read('docs/requirements.md').matchAll(/^\| R(\d+) \|/gm)].map((row) => Number(row[1]));
    expect(rows).toEqual(Array.from({ length: 46 }, (_, index) => index + 1));
  });

  test('says of no requirement that a test shows it which does not carry its number', () => {
    const silent: string[] = [];
    for (const [row, id] of read('docs/requirements.md').matchAll(/^\| (R\d+) \|.*$/gm)) {
      for (const [, path] of row.matchAll(/`(test\/[\w./-]+)`/g)) {
        if (!new RegExp(`\\b${id}\\b`).test(read(path as string))) silent.push(`${id}: ${path}`);
      }
    }
    expect(silent).toEqual([]);
  });
});
