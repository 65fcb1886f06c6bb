/**
 * `npm run generic-pt`: random maps, unmaps and dirty scans on ioasis' page tables and on Linux' own, its generic_pt
 * compiled as a program. Every answer and every bit of every entry has to be equal. Exit code 1 on a difference, 2
 * if the sources cannot be had. `npm run generic-pt -- SEED` repeats a run.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { misused, readArguments, readCount } from '../lib/arguments.js';
import { linuxSource, runWithPackages } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';
import { Random } from '../differential/random.js';
import { commandsFor } from './commands.js';
import { Ours } from './ours.js';
import { tables, type TableKind } from './tables.js';

const here = join(repoRoot, 'tools/generic-pt');
const work = join(repoRoot, '.cache/generic-pt');
const RUNS = 12;

/** Lays out Linux' files so that every kernel header they name is kernel.h. */
function prepare(): void {
  const source = linuxSource();
  rmSync(work, { recursive: true, force: true });
  const parts = [
    [join(source, 'drivers/iommu/generic_pt'), join(work, 'iommu/generic_pt')],
    [join(source, 'include/linux/generic_pt'), join(work, 'include/linux/generic_pt')],
  ] as const;
  const wanted = new Set<string>();
  for (const [from, to] of parts) {
    cpSync(from, to, { recursive: true });
    for (const name of readdirSync(to, { recursive: true, encoding: 'utf8' })) {
      if (!/\.[ch]$/.test(name)) continue;
      const found = readFileSync(join(to, name), 'utf8').matchAll(/#include <((?:linux|asm)\/[-\w]+\.h)>/g);
      for (const [, header] of found) wanted.add(join('include', header!));
    }
  }
  // These two are the C library's business.
  for (const own of ['include/linux/errno.h', 'include/linux/limits.h']) wanted.delete(own);
  for (const header of [...wanted, 'iommu/iommu-pages.h']) {
    mkdirSync(dirname(join(work, header)), { recursive: true });
    writeFileSync(join(work, header), '#include "kernel.h"\n');
  }
}

function compile(kind: TableKind): string {
  const program = join(work, kind.name);
  const width = `.common.hw_max_vasz_lg2=${kind.maxVaLg2},.common.hw_max_oasz_lg2=${kind.format.maxOaLg2}`;
  execFileSync('gcc', [
    ...['-std=gnu11', '-O1', '-w', `-I${join(work, 'include')}`, `-I${here}`],
    ...[`-I${join(work, 'iommu/generic_pt/fmt')}`, `-DFORMAT_FILE="iommu_${kind.file}.c"`],
    ...[`-DPREFIX=${kind.prefix}`, `-DCONFIG=${width},${kind.config}`, join(here, 'oracle.c'), '-o', program],
  ]);
  return program;
}

/** The first command that is answered differently, or null. */
function firstDifference(kind: TableKind, program: string, commands: readonly string[]): string | null {
  const linux = spawnSync(program, {
    input: `${commands.join('\n')}\n`,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (linux.error !== undefined) throw linux.error;
  if (linux.status !== 0) return `${commands.join('\n')}\nLinux ended with ${linux.signal ?? linux.status}\n`;
  const answers = linux.stdout.split('\n');
  const ours = new Ours(kind);
  for (const [index, command] of commands.entries()) {
    const answer = ours.answer(command);
    if (answer === answers[index]) continue;
    const before = commands.slice(0, index).filter((each) => !each.startsWith('d'));
    return `${[...before, command].join('\n')}\nLinux:  ${answers[index]}\nioasis: ${answer}\n`;
  }
  return null;
}

function main(): number {
  const [given, ...more] = readArguments({}, true).positionals;
  if (more.length > 0) misused(`one seed at a time: ${more.join(' ')}`);
  const seed = given === undefined ? Date.now() % 1_000_000 : readCount('the seed', given);
  const random = new Random(seed, 0);
  prepare();
  let wrong = 0;
  for (const kind of tables) {
    const program = compile(kind);
    let count = 0;
    let difference: string | null = null;
    for (let run = 0; run < RUNS && difference === null; run += 1) {
      const commands = commandsFor(kind, random);
      count += commands.length;
      difference = firstDifference(kind, program, commands);
    }
    if (difference !== null) wrong += 1;
    process.stdout.write(
      `${kind.name}: ${difference === null ? `${count} answers, all equal` : 'differs after'}\n`,
    );
    process.stdout.write(difference ?? '');
  }
  process.stdout.write(`seed ${seed}\n`);
  return wrong === 0 ? 0 : 1;
}

await runWithPackages(main);
