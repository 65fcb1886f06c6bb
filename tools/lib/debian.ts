/**
 * Linux' own headers and sources, as Debian packages them: fetched through the package sources that this machine
 * is configured with, unpacked under `.cache/linux`, kept there. Nothing is installed and apt's own state stays
 * as it is. IOASIS_LINUX_HEADERS (an include folder) and IOASIS_LINUX_SOURCE (a source tree) skip the fetching.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sourcesForSuite } from './apt-sources.js';
import { repoRoot } from './repo.js';

/** The release that ioasis follows. */
export const linuxVersion = '7.2';
export const suite = 'sid';
const cache = join(repoRoot, '.cache/linux');

const selftests = 'tools/testing/selftests';
/** What is unpacked of the source's 1.8 GB: the test programs and what they and the declarations need. */
const sourceParts = [
  'Makefile',
  'drivers/dma/idxd/registers.h',
  'drivers/dma/ioat/hw.h',
  'drivers/dma/ioat/registers.h',
  'drivers/iommu/generic_pt',
  'drivers/iommu/iommufd',
  'include/linux/generic_pt',
  'include/linux/pci_ids.h',
  'include/uapi',
  'tools/arch',
  'tools/include',
  'tools/lib',
  `${selftests}/iommu`,
  `${selftests}/vfio`,
  `${selftests}/*.h`,
  `${selftests}/lib.mk`,
];

/** A package that cannot be had here: no Debian sources, no network, or the suite has moved on. */
export class PackageGone extends Error {
  override readonly name = 'PackageGone';
}

/** Exit code of a tool that ends with {@link PackageGone}; 1 is for a tool that found something. */
const packageGoneExit = 2;

/**
 * Runs a tool's body. Ends the process with {@link packageGoneExit} and one line of explanation if it throws
 * {@link PackageGone}, and with what the body returns otherwise.
 */
export async function runWithPackages(body: () => number | Promise<number>): Promise<void> {
  try {
    process.exitCode = await body();
  } catch (error) {
    if (!(error instanceof PackageGone)) throw error;
    process.stderr.write(`PackageGone: ${error.message}\n`);
    process.exitCode = packageGoneExit;
  }
}

/** Folders to search for C headers, in order, as `-isystem`. Throws {@link PackageGone}. */
export function linuxIncludes(release = linuxVersion): string[] {
  const given = process.env['IOASIS_LINUX_HEADERS'];
  const top = given ?? join(fetchDebianSource(['linux-libc-dev'], release), 'usr/include');
  if (!existsSync(join(top, 'linux/iommufd.h'))) throw new PackageGone(`no linux/iommufd.h in ${top}`);
  // Debian packages the headers of every architecture together; system-call numbers are of one.
  const machine = join(top, process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu');
  return existsSync(machine) ? [top, machine] : [top];
}

/** Root of Linux' source tree, or of the part of it that was unpacked. Throws {@link PackageGone}. */
export function linuxSource(release = linuxVersion): string {
  const given = process.env['IOASIS_LINUX_SOURCE'];
  if (given !== undefined) {
    if (!existsSync(join(given, selftests))) throw new PackageGone(`no ${selftests} in ${given}`);
    return given;
  }
  const name = `linux-source-${release}`;
  const tree = join(cache, 'source', name);
  const complete = join(tree, '.complete');
  // Says which parts were unpacked; a tree with fewer than are wanted now is unpacked again.
  if (existsSync(complete) && readFileSync(complete, 'utf8') === sourceParts.join('\n')) return tree;
  const tar = join(fetchDebianSource([name], release), 'usr/src', `${name}.tar.xz`);
  mkdirSync(join(cache, 'source'), { recursive: true });
  const members = sourceParts.map((part) => `${name}/${part}`);
  run('tar', [
    '-xJf',
    tar,
    '-C',
    join(cache, 'source'),
    '--wildcards',
    '--no-wildcards-match-slash',
    ...members,
  ]);
  writeFileSync(complete, sourceParts.join('\n'));
  return tree;
}

/**
 * The release that can be had here: the one that ioasis follows where it is given, unpacked or offered, else the 7.x
 * that the suite has moved on to. Throws {@link PackageGone}.
 */
export function offeredRelease(): string {
  const given = 'IOASIS_LINUX_SOURCE' in process.env && 'IOASIS_LINUX_HEADERS' in process.env;
  const tree = join(cache, 'source', `linux-source-${linuxVersion}`, '.complete');
  if (given || (existsSync(tree) && existsSync(stamp('linux-libc-dev', linuxVersion)))) return linuxVersion;
  const shown = execFileSync(
    'apt-cache',
    ['show', '--no-all-versions', ...updatedLists(), 'linux-libc-dev'],
    {
      encoding: 'utf8',
    },
  );
  const release = /^Version: (7\.\d+)\./m.exec(shown)?.[1];
  if (release === undefined) throw new PackageGone(`suite ${suite} has no Linux 7.x`);
  return release;
}

/**
 * The folder in which the content of the Debian packages `names` lies, as their paths from `/`.
 * Downloads what is not there yet, of Linux `release`. Throws {@link PackageGone}.
 */
export function fetchDebianSource(names: readonly string[], release = linuxVersion): string {
  const root = join(cache, release);
  const missing = names.filter((name) => !existsSync(stamp(name, release)));
  if (missing.length === 0) return root;
  const debs = join(cache, 'debs');
  for (const folder of [root, debs]) mkdirSync(folder, { recursive: true });
  const options = updatedLists();
  for (const name of missing) {
    apt(['download', ...options, name], name, debs);
    const deb = readdirSync(debs).find((file) => file.startsWith(`${name}_${release}.`));
    if (deb === undefined)
      throw new PackageGone(`${name} of suite ${suite} is no longer of Linux ${release}`);
    run('dpkg-deb', ['-x', join(debs, deb), root]);
    writeFileSync(stamp(name, release), `${deb}\n`);
  }
  return root;
}

/**
 * The folder of Linux' modules as Debian's kernel for virtual machines has them, `vmlinuz` among them. Throws
 * {@link PackageGone}.
 */
export function debianKernel(): string {
  const flavour = 'cloud-amd64';
  const modules = join(cache, linuxVersion, 'usr/lib/modules');
  const known = existsSync(modules) ? readdirSync(modules).find((name) => name.endsWith(flavour)) : undefined;
  const name = known ?? offeredKernel(flavour);
  fetchDebianSource([`linux-binary-${name}`, `linux-modules-${name}`]);
  return join(modules, name);
}

function offeredKernel(flavour: string): string {
  const shown = execFileSync(
    'apt-cache',
    ['show', '--no-all-versions', ...updatedLists(), `linux-image-${flavour}`],
    { encoding: 'utf8' },
  );
  const found = /^Depends:.*\blinux-image-([^ ,]+)/m.exec(shown)?.[1];
  if (found === undefined) throw new PackageGone(`suite ${suite} has no linux-image-${flavour}`);
  return found;
}

/** Says that package `name` of Linux `release` is unpacked. */
function stamp(name: string, release: string): string {
  return join(cache, release, `${name}.complete`);
}

/** Brings the package lists below the cache up to date; returns the options that make apt use them. */
export function updatedLists(): string[] {
  for (const folder of ['lists/partial', 'apt/archives/partial']) {
    mkdirSync(join(cache, folder), { recursive: true });
  }
  const options = aptOptions();
  apt(['update', ...options], 'the package lists', cache);
  return options;
}

/** Options that keep apt's state below the cache. Throws {@link PackageGone} where no source is configured. */
function aptOptions(): string[] {
  const etc = '/etc/apt';
  const parts = join(etc, 'sources.list.d');
  const extra = existsSync(parts) ? readdirSync(parts).map((name) => join(parts, name)) : [];
  const paths = [join(etc, 'sources.list'), ...extra].filter(
    (path) => /\.(list|sources)$/.test(path) && existsSync(path),
  );
  const list = sourcesForSuite(
    paths.map((path) => ({ path, text: readFileSync(path, 'utf8') })),
    suite,
  );
  if (list === '') throw new PackageGone(`no Debian package source is configured under ${etc}`);
  const file = join(cache, `${suite}.list`);
  writeFileSync(file, list);
  const settings: Readonly<Record<string, string>> = {
    'Dir::Etc::sourcelist': file,
    'Dir::Etc::sourceparts': '-',
    'Dir::State::Lists': join(cache, 'lists'),
    'Dir::Cache': join(cache, 'apt'),
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    // apt would rather drop privileges to a user that cannot write here.
    'APT::Sandbox::User': 'root',
  };
  return Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
}

/** Runs apt-get in `folder`; throws {@link PackageGone}. */
export function apt(args: readonly string[], what: string, folder: string): void {
  try {
    run('apt-get', ['-q', ...args], folder);
  } catch (error) {
    throw new PackageGone(`cannot get ${what} of suite ${suite}: ${(error as Error).message}`);
  }
}

/** Output goes to stderr, so that a tool's stdout is its own. */
export function run(command: string, args: readonly string[], folder = process.cwd()): void {
  execFileSync(command, args, { cwd: folder, stdio: ['ignore', 2, 2], timeout: 30 * 60_000 });
}
