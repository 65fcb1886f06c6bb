/**
 * A machine with a real /dev/kvm where there is none: QEMU's TCG plays a processor with AMD's virtualisation, Debian's
 * kernel has KVM for that, and its first root file system has Node, ioasis and the programs.
 */
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { cpioEnd, cpioEntry, FILE, FOLDER, LINK } from '../lib/cpio.js';
import { debianKernel } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';

/** In the order of loading, as modules.dep has them. */
const MODULES = ['virt/lib/irqbypass.ko', 'arch/x86/kvm/kvm.ko', 'arch/x86/kvm/kvm-amd.ko'];
const APPLETS = ['sh', 'mount', 'mkdir', 'insmod', 'ls', 'cat', 'stty', 'dmesg', 'grep', 'poweroff'];
/** What ioasis needs to run, of this checkout. */
const OURS = [
  'package.json',
  'dist',
  'shim/build',
  'examples/topologies',
  ...['commander', 'koffi', '@koromix/koffi-linux-x64', 'yaml', 'zod'].map((name) => `node_modules/${name}`),
];
const EMPTY = Buffer.alloc(0);
/** A guest that takes longer hangs. */
const TIMEOUT_MS = 30 * 60_000;

/** Collects entries, with the folders above each. */
class Archive {
  readonly #entries: Buffer[] = [];
  readonly #names = new Set<string>();

  add(name: string, mode: number, data: Uint8Array): void {
    const path = name.replace(/^\//, '');
    if (this.#names.has(path)) return;
    const folder = dirname(path);
    if (folder !== '.') this.add(folder, FOLDER, EMPTY);
    this.#names.add(path);
    this.#entries.push(cpioEntry(path, mode, data));
  }

  /** A file or a folder with all that is in it, as `name`. */
  copy(path: string, name: string): void {
    if (statSync(path).isDirectory()) {
      for (const entry of readdirSync(path)) this.copy(join(path, entry), join(name, entry));
    } else this.add(name, FILE, readFileSync(path));
  }

  /** A program or a library, and the libraries that it wants, where its loader looks for them. */
  copyProgram(path: string, name: string): void {
    this.copy(path, name);
    const wanted = execFileSync('ldd', [path], { encoding: 'utf8' });
    for (const [, library] of wanted.matchAll(/(\/\S+) \(0x/g)) this.copy(library!, library!);
  }

  toBuffer(): Buffer {
    return Buffer.concat([...this.#entries, cpioEnd()]);
  }
}

/** `run NAME COMMAND...` says what became of a command: its lines, then `= NAME STATUS`. */
const init = (commands: readonly string[]): string => `#!/bin/sh
mkdir -p /proc /sys /dev /tmp /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t devpts devpts /dev/pts
stty -F /dev/ttyS1 raw -echo
exec > /dev/ttyS1 2>&1
export HOME=/root PATH=/bin
for module in ${MODULES.map((module) => basename(module)).join(' ')}; do insmod /modules/$module; done
cat /proc/version
ls -l /dev/kvm
run() { name=$1; shift; "$@"; echo "= $name $?"; }
${commands.join('\n')}
dmesg | grep -A 9 -e BUG: -e Oops
echo end
poweroff -f
`;

export interface Scene {
  readonly name: string;
  /** Of the programs. */
  readonly command: string;
}

/** Plays the scenes in one guest; returns its lines. `programs` by path. */
export async function playInGuest(
  work: string,
  programs: readonly string[],
  scenes: readonly Scene[],
): Promise<string[]> {
  const kernel = debianKernel();
  const archive = new Archive();
  archive.copy('/bin/busybox', 'bin/busybox');
  for (const name of APPLETS) archive.add(`bin/${name}`, LINK, Buffer.from('busybox'));
  for (const module of MODULES) {
    const plain = execFileSync('xz', ['-dc', join(kernel, 'kernel', `${module}.xz`)], { maxBuffer: 1 << 26 });
    archive.add(`modules/${basename(module)}`, FILE, plain);
  }
  archive.copyProgram(process.execPath, 'bin/node');
  for (const path of OURS) archive.copy(join(repoRoot, path), join('ioasis', path));
  for (const program of programs) archive.copyProgram(program, join('programs', basename(program)));
  const commands = scenes.map(({ name, command }) => `run ${name} ${command}`);
  archive.add('init', FILE, Buffer.from(init(commands)));
  const paths = {
    initrd: join(work, 'initrd'),
    said: join(work, 'said'),
    console: join(work, 'console'),
  };
  writeFileSync(paths.initrd, archive.toBuffer());
  await boot(join(kernel, 'vmlinuz'), paths);
  const lines = readFileSync(paths.said, 'utf8').split('\n');
  if (!lines.includes('end')) {
    const talk = readFileSync(paths.console, 'utf8').slice(-3000);
    throw new Error(`the guest ended early:\n${lines.slice(-20).join('\n')}\n${talk}`);
  }
  return lines.slice(0, lines.indexOf('end'));
}

async function boot(kernel: string, paths: { initrd: string; said: string; console: string }): Promise<void> {
  const args = `-machine q35,accel=tcg -cpu max -m 3G -smp 2 -display none -monitor none -no-reboot
    -serial file:${paths.console} -serial file:${paths.said} -kernel ${kernel} -initrd ${paths.initrd}`.split(
    /\s+/,
  );
  const append = ['-append', 'console=ttyS0 panic=-1 quiet'];
  const guest = spawn('qemu-system-x86_64', [...args, ...append], { stdio: ['ignore', 'ignore', 'inherit'] });
  const kill = (): void => void guest.kill('SIGKILL');
  const timer = setTimeout(kill, TIMEOUT_MS);
  process.once('exit', kill);
  await new Promise<void>((resolve, reject) => {
    guest.on('error', reject);
    guest.on('exit', () => resolve());
  }).finally(() => clearTimeout(timer));
  process.off('exit', kill);
}
