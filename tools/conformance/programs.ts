/** The test programs: compiled from Linux' sources as they are, with the headers of the same Linux. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { linuxIncludes, linuxSource, offeredRelease } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';

/** Linux' sources, and what every test program in them is compiled with. */
export interface Sources {
  /** As in the top Makefile: `7.2.13`. */
  readonly version: string;
  /** The folder of all test programs. */
  readonly selftests: string;
  /** Where what is compiled goes. */
  readonly out: string;
  readonly flags: readonly string[];
}

/** Throws PackageGone. */
export function openSources(): Sources {
  const release = offeredRelease();
  const source = linuxSource(release);
  const version = versionOf(readFileSync(join(source, 'Makefile'), 'utf8'));
  const out = join(repoRoot, '.cache/conformance', version);
  mkdirSync(out, { recursive: true });
  const selftests = join(source, 'tools/testing/selftests');
  const flags = [
    '-O2',
    '-w',
    '-D_GNU_SOURCE=',
    ...linuxIncludes(release).flatMap((include) => ['-isystem', include]),
    `-I${selftests}`,
    `-I${join(source, 'tools/include')}`,
  ];
  return { version, selftests, out, flags };
}

/** Throws when the compiler is not content. */
export function cc({ flags }: Sources, ...args: readonly string[]): void {
  execFileSync('cc', [...flags, ...args], { stdio: ['ignore', 2, 2] });
}

/** Compiles each of `suites` from the folder of iommu: suite -> its executable. */
export function compile(sources: Sources, suites: readonly string[]): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  for (const suite of suites) {
    const out = join(sources.out, suite);
    cc(sources, join(sources.selftests, 'iommu', `${suite}.c`), '-o', out, '-lcap');
    paths.set(suite, out);
  }
  return paths;
}

/** `VERSION = 7`, `PATCHLEVEL = 2`, `SUBLEVEL = 13` of a top Makefile, as `7.2.13`. */
export function versionOf(makefile: string): string {
  const part = (name: string): string => new RegExp(`^${name} = (\\d+)$`, 'm').exec(makefile)?.[1] ?? '?';
  return ['VERSION', 'PATCHLEVEL', 'SUBLEVEL'].map(part).join('.');
}
