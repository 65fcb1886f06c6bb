/** The VFIO test programs and their scripts: compiled from Linux' sources as they are, like those of iommufd. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { linuxIncludes, linuxSource, offeredRelease } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';
import { versionOf } from './programs.js';

export interface VfioPrograms {
  /** Program -> its executable. */
  readonly paths: ReadonlyMap<string, string>;
  readonly scripts: readonly string[];
}

const selftests = 'tools/testing/selftests';

/** Throws PackageGone, or when cc fails. */
export function compileVfio(): VfioPrograms {
  const release = offeredRelease();
  const source = linuxSource(release);
  const version = versionOf(readFileSync(join(source, 'Makefile'), 'utf8'));
  const tests = join(source, selftests, 'vfio');
  const folder = join(repoRoot, '.cache/conformance', version);
  mkdirSync(folder, { recursive: true });
  const flags = [
    '-O2',
    '-w',
    '-D_GNU_SOURCE=',
    // A helper that the tree of 7.2.13 uses and does not have.
    '-Dcalloc_assert=calloc',
    ...linuxIncludes(release).flatMap((include) => ['-isystem', include]),
    `-I${join(source, selftests)}`,
    `-I${join(source, 'tools/include')}`,
    `-I${join(tests, 'lib/include')}`,
  ];
  const library = ['lib', 'lib/drivers/ioat', 'lib/drivers/dsa'].flatMap((part) =>
    sourcesIn(join(tests, part)),
  );
  const objects = library.map((file) => compileTo(folder, file, flags));
  const paths = new Map<string, string>();
  for (const file of sourcesIn(tests)) {
    const name = nameOf(file);
    const out = join(folder, name);
    run([...flags, file, ...objects, '-o', out, '-pthread', '-luuid']);
    paths.set(name, out);
  }
  const scripts = ['setup.sh', 'run.sh', 'cleanup.sh', 'lib.sh'].map((name) => join(tests, 'scripts', name));
  return { paths, scripts };
}

const sourcesIn = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.c'))
    .toSorted()
    .map((name) => join(folder, name));

const nameOf = (file: string): string => file.slice(file.lastIndexOf('/') + 1, -'.c'.length);

function compileTo(folder: string, file: string, flags: readonly string[]): string {
  const object = join(folder, `libvfio-${nameOf(file)}.o`);
  run([...flags, '-c', file, '-o', object]);
  return object;
}

function run(args: readonly string[]): void {
  execFileSync('cc', args, { stdio: ['ignore', 2, 2] });
}
