/** The test programs: compiled from Linux' sources as they are, with the headers of the same Linux. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { linuxIncludes, linuxSource, offeredRelease } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';

export interface Programs {
  /** As in the top Makefile: `7.2.13`. */
  readonly version: string;
  /** Suite -> its executable. */
  readonly paths: ReadonlyMap<string, string>;
}

/** Compiles each of `suites` from tools/testing/selftests/iommu. Throws PackageGone, or when cc fails. */
export function compile(suites: readonly string[]): Programs {
  const release = offeredRelease();
  const source = linuxSource(release);
  const version = versionOf(readFileSync(join(source, 'Makefile'), 'utf8'));
  const folder = join(repoRoot, '.cache/conformance', version);
  mkdirSync(folder, { recursive: true });
  const paths = new Map<string, string>();
  for (const suite of suites) {
    const out = join(folder, suite);
    const flags = [
      '-O2',
      '-w',
      '-D_GNU_SOURCE=',
      ...linuxIncludes(release).flatMap((include) => ['-isystem', include]),
      `-I${join(source, 'tools/testing/selftests')}`,
      `-I${join(source, 'tools/include')}`,
    ];
    const file = join(source, 'tools/testing/selftests/iommu', `${suite}.c`);
    execFileSync('cc', [...flags, file, '-o', out, '-lcap'], { stdio: ['ignore', 2, 2] });
    paths.set(suite, out);
  }
  return { version, paths };
}

/** `VERSION = 7`, `PATCHLEVEL = 2`, `SUBLEVEL = 13` of a top Makefile, as `7.2.13`. */
export function versionOf(makefile: string): string {
  const part = (name: string): string => new RegExp(`^${name} = (\\d+)$`, 'm').exec(makefile)?.[1] ?? '?';
  return ['VERSION', 'PATCHLEVEL', 'SUBLEVEL'].map(part).join('.');
}
