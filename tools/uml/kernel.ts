/** The guest: user-mode Linux, built from Debian's source package with what it needs for a disk behind VFIO; kept. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fetchDebianSource, linuxVersion, PackageGone } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';

const here = join(repoRoot, 'tools/uml');
const work = join(repoRoot, '.cache/uml');
const name = `linux-source-${linuxVersion}`;

/** A program that is Linux. IOASIS_UML names one that is there already; else it is built. Throws PackageGone. */
export function guestKernel(): string {
  const given = process.env['IOASIS_UML'];
  if (given !== undefined && !existsSync(given))
    throw new PackageGone(`IOASIS_UML is ${given}, which is not there`);
  if (given !== undefined) return given;
  const kernel = join(work, 'linux');
  const wanted = readFileSync(join(here, 'config'), 'utf8');
  const made = join(work, 'config');
  // Written last: a build that was broken off is begun again.
  if (existsSync(kernel) && existsSync(made) && readFileSync(made, 'utf8') === wanted) return kernel;
  const root = fetchDebianSource([name]);
  const tree = join(work, name);
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  run('tar', [
    ...['-xJf', join(root, 'usr/src', `${name}.tar.xz`), '-C', work],
    ...[`--exclude=${name}/Documentation/*/*`, `--exclude=${name}/tools/testing/*/*`],
  ]);
  run('make', ['-C', tree, 'ARCH=um', `KCONFIG_ALLCONFIG=${join(here, 'config')}`, 'allnoconfig']);
  run('make', ['-C', tree, 'ARCH=um', `-j${availableParallelism()}`, 'linux']);
  copyFileSync(join(tree, 'linux'), `${kernel}.tmp`);
  renameSync(`${kernel}.tmp`, kernel);
  rmSync(tree, { recursive: true });
  writeFileSync(made, wanted);
  return kernel;
}

/** guest.c, which the guest starts from our own file system. */
export function guestProgram(): string {
  mkdirSync(work, { recursive: true });
  const program = join(work, 'guest');
  run(process.env['CC'] ?? 'gcc', ['-O2', '-Wall', '-Wextra', '-o', program, join(here, 'guest.c')]);
  return program;
}

function run(command: string, args: readonly string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 2, 2], timeout: 60 * 60_000 });
}
