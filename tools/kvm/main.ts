/**
 * `npm run kvm`: programs that use slots of a virtual machine under DMA, on a real KVM: that of a guest (see guest.ts),
 * since few machines that build software have one. Exit code 1 if one of them met what it did not expect, 2 if the
 * guest's kernel cannot be had.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { printHeader } from '../../src/wire/header.js';
import { readArguments } from '../lib/arguments.js';
import { runWithPackages } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';
import { playInGuest, type Scene } from './guest.js';

const work = join(repoRoot, '.cache/kvm');
const sources = [
  'tools/kvm/processor.c',
  'examples/machine.c',
  'examples/two-machines.c',
  'test/host/programs/machine-files.c',
];
const nameOf = (source: string): string => source.replace(/^.*\/|\.c$/g, '');

function compile(source: string): string {
  const program = join(work, nameOf(source));
  const includes = ['-I', work, '-I', join(repoRoot, 'examples')];
  const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-pthread', ...includes];
  execFileSync(process.env['CC'] ?? 'gcc', [...flags, '-o', program, join(repoRoot, source)], {
    stdio: 'inherit',
  });
  return program;
}

readArguments({});
await runWithPackages(async () => {
  mkdirSync(work, { recursive: true });
  writeFileSync(join(work, 'ioasis.h'), printHeader());
  const scenes: Scene[] = sources.map((source) => ({
    name: nameOf(source),
    command: `node /ioasis/dist/cli/main.js run --profile vtd -- /programs/${nameOf(source)}`,
  }));
  const lines = await playInGuest(work, sources.map(compile), scenes);
  process.stdout.write(`${lines.join('\n')}\n`);
  const passed = scenes.filter(({ name }) => lines.includes(`= ${name} 0`));
  const hasKvm = lines.some((line) => /^c.* 10, *232 .*\/dev\/kvm$/.test(line));
  if (!hasKvm) process.stdout.write('the guest has no /dev/kvm\n');
  process.stdout.write(`${passed.length} of ${scenes.length} passed\n`);
  return hasKvm && passed.length === scenes.length ? 0 : 1;
});
