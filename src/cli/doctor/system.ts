/** What this machine lets an ordinary user do, as far as the engine needs it; every check tries the thing itself. */
import { execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { runtimeDirectory } from '../../host/engine.js';
import { withFile, type Machine } from './program.js';
import { fail, note, ok, warn, type Finding } from './finding.js';
import { machineName, nodeArch, readElf } from '../../inspect/elf.js';
import { shimPath } from '../shim.js';
import type { Probe } from './probe.js';

/** package.json's engines. */
const oldestNode = [20, 19] as const;

export async function checkSystem(): Promise<Finding[]> {
  const findings = [checkNode(process.versions.node), checkKernel(), checkShim(), checkSocketDirectory()];
  try {
    const { makeProbe } = await import('./probe.js');
    const probe = makeProbe();
    findings.push(
      ok('native calls', 'koffi works'),
      ...(await checkMemory(probe)),
      checkMaps(probe),
      checkTerminals(probe),
      checkPins(probe),
    );
  } catch (error) {
    findings.push(fail('native calls', `koffi does not load: ${(error as Error).message}`));
  }
  return findings;
}

/** The real one, for {@link checkProgram}. */
export async function thisMachine(): Promise<Machine> {
  const probe = await import('./probe.js').then((module) => module.makeProbe()).catch(() => null);
  return {
    uid: process.geteuid?.() ?? 0,
    arch: process.arch,
    path: process.env['PATH'] ?? '',
    hasFileCapabilities: (path) => probe?.hasFileCapabilities(path) ?? null,
  };
}

export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const old = major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1]);
  return old ? fail('node', `v${version}; ${oldestNode.join('.')} is needed`) : ok('node', `v${version}`);
}

function checkKernel(): Finding {
  const status = procStatus();
  const filtered = status.get('Seccomp') === '2';
  const release = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
  const text = filtered ? `Linux ${release}, under a seccomp filter (a container?)` : `Linux ${release}`;
  return filtered ? note('kernel', text) : ok('kernel', text);
}

function procStatus(): Map<string, string> {
  const lines = readFileSync('/proc/self/status', 'utf8').split('\n');
  return new Map(lines.map((line) => line.split(/:\s*/, 2) as [string, string]));
}

function checkShim(): Finding {
  const path = shimPath();
  if (!existsSync(path)) {
    return hasCompiler()
      ? fail('shim', `${path} is not built; make -C shim builds it`)
      : fail('shim', `${path} is not built, and there is no C compiler (cc) to build it with`);
  }
  const elf = withFile(path, readElf);
  if (elf === null || nodeArch(elf) !== process.arch) {
    const what = elf === null ? 'no ELF file' : `for ${elf.bits}-bit ${machineName(elf.machine)}`;
    return fail('shim', `${path} is ${what}; make -C shim clean all builds one for ${process.arch}`);
  }
  return ok('shim', path);
}

function hasCompiler(): boolean {
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** sun_path holds 108 bytes with the final zero; the engine's own part of the path is about 30. */
function checkSocketDirectory(): Finding {
  const directory = runtimeDirectory();
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch {
    return fail('sockets', `${directory} is not writable; set XDG_RUNTIME_DIR or TMPDIR to a place that is`);
  }
  return Buffer.byteLength(directory) > 70
    ? fail('sockets', `${directory} is too long for the path of a socket; set TMPDIR`)
    : ok('sockets', `below ${directory}`);
}

/** Yama: 0 any process of the user, 1 descendants and who asked for it, 2 with CAP_SYS_PTRACE, 3 nobody. */
async function checkMemory(probe: Probe): Promise<Finding[]> {
  const scope = yamaScope();
  const findings: Finding[] = [];
  const own = probe.readsOwnMemory();
  const child = await readsChild(probe);
  if (own === null && child === null) {
    findings.push(ok('memory', 'process_vm_readv reads this process and a child'));
  } else {
    const what = own ?? child;
    findings.push(warn('memory', `process_vm_readv: ${what}; the shim reads and writes instead (slower)`));
  }
  if (scope === null || scope === 0) findings.push(ok('yama', 'ptrace_scope 0: any process of this user'));
  else if (scope === 1)
    findings.push(ok('yama', 'ptrace_scope 1: the shim lets the engine in (PR_SET_PTRACER)'));
  else findings.push(warn('yama', `ptrace_scope ${scope}: memory only through the shim (slower)`));
  return findings;
}

function yamaScope(): number | null {
  try {
    return Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'utf8'));
  } catch {
    return null;
  }
}

/** Null: it works; else the name of the errno. */
async function readsChild(probe: Probe): Promise<string | null> {
  const child = spawn('cat', [], { stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = new Promise((resolve) => {
    child.once('exit', resolve);
    child.once('error', resolve);
  });
  try {
    return child.pid === undefined ? 'no child to try it on' : probe.readsMemoryOf(child.pid);
  } finally {
    child.stdin.end();
    await ended;
  }
}

function checkMaps(probe: Probe): Finding {
  return probe.hasProcmapQuery()
    ? ok('maps', 'PROCMAP_QUERY finds one mapping at a time')
    : note('maps', 'no PROCMAP_QUERY (Linux 6.11 has it); /proc/PID/maps is read as text');
}

/** Private memory is found by its address, unless --hold-pins. */
function checkPins(probe: Probe): Finding {
  return probe.holdsPins()
    ? ok('pinned memory', 'private memory that a program unmaps can be kept for its devices: --hold-pins')
    : note('pinned memory', 'no io_uring and pidfd_getfd: what a program unmaps, its devices lose');
}

/** A terminal hangs up when the engine is killed; the pipe that takes its place does not. */
function checkTerminals(probe: Probe): Finding {
  const error = probe.opensTerminal();
  return error === null
    ? ok('terminals', 'a program that sleeps on a fault queue wakes when the engine is killed')
    : warn('terminals', `/dev/ptmx: ${error}; who sleeps on a fault queue does not notice a killed engine`);
}
