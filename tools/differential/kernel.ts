/**
 * Linux itself as the judge: boots a kernel in QEMU (TCG, no privileges, no KVM) with the static player and the
 * programs in its initramfs, and reads what the player prints from a serial port. One boot plays one file.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { cpioEnd, cpioEntry, FILE, FOLDER, LINK } from '../lib/cpio.js';
import { fetchDebianSource, linuxVersion } from '../lib/debian.js';
import { repoRoot } from '../lib/repo.js';

const cache = join(repoRoot, '.cache', 'differential');

/** What a tinyconfig needs on top. IOMMUFD_TEST wants DEBUG_KERNEL and FAULT_INJECTION. */
const options =
  `64BIT SMP PRINTK TTY SERIAL_8250 SERIAL_8250_CONSOLE BINFMT_ELF BINFMT_SCRIPT BLK_DEV_INITRD RD_GZIP
  PROC_FS PROC_PAGE_MONITOR SYSFS DEVTMPFS TMPFS SHMEM MEMFD_CREATE TRANSPARENT_HUGEPAGE EPOLL EVENTFD SIGNALFD
  TIMERFD FUTEX POSIX_TIMERS MULTIUSER PCI PCI_MSI PCI_PASID PCI_PRI PCI_ATS ACPI DEBUG_KERNEL DEBUG_FS BUG KALLSYMS
  FAULT_INJECTION RUNTIME_TESTING_MENU IOMMU_SUPPORT IOMMUFD IOMMUFD_TEST INTEL_IOMMU INTEL_IOMMU_SVM AMD_IOMMU
  VFIO VFIO_DEVICE_CDEV VFIO_GROUP VFIO_CONTAINER HIGH_RES_TIMERS DMA_SHARED_BUFFER UDMABUF`.split(/\s+/);

function run(command: string, args: readonly string[], cwd: string): void {
  const { status, stderr, stdout, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (error !== undefined) throw error;
  if (status !== 0) {
    throw new Error(`${command} ${args.join(' ')}: exit ${status}\n${`${stdout}${stderr}`.slice(-2000)}`);
  }
}

/** Builds the kernel from Debian's source package, once; about six minutes on two cores. */
function buildKernel(): string {
  const image = join(cache, 'bzImage');
  if (existsSync(image)) return image;
  const name = `linux-source-${linuxVersion}`;
  const tar = join(fetchDebianSource([name]), 'usr/src', `${name}.tar.xz`);
  const build = join(cache, 'kernel');
  mkdirSync(build, { recursive: true });
  run('tar', ['-xJf', tar, '-C', cache], cache);
  const source = join(cache, name);
  const make = (...args: string[]): void => run('make', ['-C', source, `O=${build}`, ...args], cache);
  make('tinyconfig');
  run(
    join(source, 'scripts', 'config'),
    ['--file', join(build, '.config'), ...options.flatMap((o) => ['-e', o])],
    cache,
  );
  make('olddefconfig');
  make(`-j${availableParallelism()}`, 'bzImage');
  copyFileSync(join(build, 'arch', 'x86', 'boot', 'bzImage'), image);
  return image;
}

const init = (mode: string): string => `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
stty -F /dev/ttyS1 raw -echo
echo 1 > /sys/kernel/rcu_expedited
/player ${mode} /program > /dev/ttyS1
echo "W $(dmesg | grep -c -e WARNING: -e BUG: -e Oops)" > /dev/ttyS1
dmesg | grep -A 3 -e WARNING: -e BUG: -e Oops | head -60
poweroff -f
`;

function initramfs(player: string, mode: string, program: Uint8Array): Buffer {
  const busybox = readFileSync('/bin/busybox');
  const empty = Buffer.alloc(0);
  const applets = ['sh', 'mount', 'stty', 'dmesg', 'grep', 'head', 'poweroff'];
  return Buffer.concat([
    ...['bin', 'proc', 'sys', 'dev', 'tmp'].map((name) => cpioEntry(name, FOLDER, empty)),
    cpioEntry('bin/busybox', FILE, busybox),
    ...applets.map((name) => cpioEntry(`bin/${name}`, LINK, Buffer.from('busybox'))),
    cpioEntry('init', FILE, Buffer.from(init(mode))),
    cpioEntry('player', FILE, readFileSync(player)),
    cpioEntry('program', FILE, program),
    cpioEnd(),
  ]);
}

function buildPlayer(folder: string): string {
  const player = join(folder, 'player');
  run('gcc', ['-O2', '-static', '-o', player, join(repoRoot, 'tools', 'differential', 'player.c')], repoRoot);
  return player;
}

/** A boot that takes longer hangs. */
const TIMEOUT_MS = 20 * 60_000;

let boots = 0;

/** Plays `program` on Linux; returns the lines that the player printed. `mode` is player.c's first argument. */
export async function playOnKernel(program: Uint8Array, mode: 'brief' | 'full'): Promise<string[]> {
  const kernel = process.env['IOASIS_KERNEL'] ?? buildKernel();
  const work = join(cache, `boot-${process.pid}-${boots++}`);
  mkdirSync(work, { recursive: true });
  const paths = {
    initrd: join(work, 'initrd'),
    answers: join(work, 'answers'),
    console: join(work, 'console'),
  };
  writeFileSync(paths.initrd, initramfs(buildPlayer(work), mode, program));
  const memory = process.env['IOASIS_KERNEL_MEMORY'] ?? '3G';
  const args = `-machine q35,accel=tcg -cpu max -m ${memory} -smp 2 -display none -monitor none -no-reboot
    -serial file:${paths.console} -serial file:${paths.answers} -kernel ${kernel} -initrd ${paths.initrd}`.split(
    /\s+/,
  );
  const append = ['-append', 'console=ttyS0 panic=-1 quiet nokaslr rcupdate.rcu_expedited=1'];
  const guest = spawn('qemu-system-x86_64', [...args, ...append], { stdio: 'ignore' });
  const kill = (): void => void guest.kill('SIGKILL');
  const killAndEnd = (): void => {
    kill();
    process.exit(1);
  };
  const timer = setTimeout(kill, TIMEOUT_MS);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, killAndEnd);
  await new Promise<void>((resolve, reject) => {
    guest.on('error', reject);
    guest.on('exit', () => resolve());
  }).finally(() => clearTimeout(timer));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, killAndEnd);
  const lines: string[] = [];
  for await (const line of createInterface({ input: createReadStream(paths.answers) })) lines.push(line);
  const talk = readFileSync(paths.console, 'utf8');
  if (!lines.includes('end')) throw new Error(`the guest ended early:\n${talk.slice(-3000)}`);
  if (/BUG|WARNING|Oops/.test(talk)) process.stderr.write(`the guest's console said:\n${talk}`);
  rmSync(work, { recursive: true });
  return lines.filter((line) => line !== 'end');
}
