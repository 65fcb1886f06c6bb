/**
 * A program of a newer Debian with every library it needs, the C library included: downloaded through the machine's own
 * package sources, unpacked below `.cache/`, and started by its own loader, so that nothing is installed.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { apt, run, suite, updatedLists } from './debian.js';
import { repoRoot } from './repo.js';

export interface DebianProgram {
  /** As Debian names it. */
  readonly version: string;
  /** What to start, with `args` before its own. */
  readonly command: string;
  readonly args: readonly string[];
  /** The folder that stands for `/`. */
  readonly root: string;
}

/** Makes `path` (from `/`) of package `name` runnable. Throws PackageGone. */
export function debianProgram(name: string, path: string): DebianProgram {
  const home = join(repoRoot, '.cache', name);
  const root = join(home, 'root');
  const complete = join(home, 'complete');
  if (!existsSync(complete)) fetchClosure(name, home, root, complete);
  const libraries = join(root, 'usr/lib/x86_64-linux-gnu');
  return {
    version: readFileSync(complete, 'utf8').trim(),
    command: join(libraries, 'ld-linux-x86-64.so.2'),
    args: ['--library-path', libraries, join(root, path)],
    root,
  };
}

/** The package and all it depends on, as apt would install them on a machine that has nothing. */
function fetchClosure(name: string, home: string, root: string, complete: string): void {
  const archives = join(home, 'apt/archives');
  for (const folder of [root, join(archives, 'partial')]) mkdirSync(folder, { recursive: true });
  const nothing = join(home, 'status');
  writeFileSync(nothing, '');
  const settings = [`Dir::State::status=${nothing}`, `Dir::Cache=${join(home, 'apt')}`, 'Debug::NoLocking=1'];
  const options = [...updatedLists(), ...settings.flatMap((setting) => ['-o', setting])];
  apt(
    ['install', '-y', '--download-only', '--no-install-recommends', ...options, name],
    `${name} of ${suite}`,
    home,
  );
  const debs = readdirSync(archives).filter((file) => file.endsWith('.deb'));
  for (const deb of debs) run('dpkg-deb', ['-x', join(archives, deb), root]);
  const version = decodeURIComponent(debs.find((deb) => deb.startsWith(`${name}_`))!.split('_')[1]!);
  rmSync(join(home, 'apt'), { recursive: true });
  writeFileSync(complete, `${version}\n`);
}
