/**
 * Can this program be preloaded? Answered from the file alone: nothing is executed.
 * LD_PRELOAD is read by the program's loader, so what decides is which loader that is, and whether it dares.
 */
import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { isElf, machineName, nodeArch, readElf, type ElfFile } from '../../inspect/elf.js';
import { fail, note, ok, warn, type Finding } from './finding.js';

/** What the checks have to know of the machine, so that tests can be another one. */
export interface Machine {
  readonly uid: number;
  /** process.arch. */
  readonly arch: string;
  /** PATH. */
  readonly path: string;
  /** True if the file carries capabilities; null when that cannot be read here. */
  hasFileCapabilities(path: string): boolean | null;
}

/** The kernel follows at most this many `#!` lines. */
const maxScripts = 5;
const shebangBytes = 256;
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;

/** Findings about `name`, a path or a command of PATH. */
export function checkProgram(name: string, machine: Machine): Finding[] {
  return follow(name, machine, maxScripts);
}

function follow(name: string, machine: Machine, scriptsLeft: number): Finding[] {
  const path = findProgram(name, machine.path);
  if (path === null) return [fail('program', `${name}: not found`)];
  const stat = statSync(path);
  if (!stat.isFile()) return [fail('program', `${path}: not a regular file`)];
  if (!canExecute(path)) return [fail('program', `${path}: not executable (chmod +x?)`)];
  const head = readHead(path);
  if (head === null) return [fail('program', `${path}: not readable, so nothing is known about it`)];
  if (head[0] === 0x23 && head[1] === 0x21) return followScript(path, head, machine, scriptsLeft);
  if (!isElf(head)) return [fail('program', `${path}: neither an ELF file nor a script with #!`)];
  const elf = withFile(path, readElf);
  if (elf === null) return [fail('program', `${path}: a damaged ELF file`)];
  return [...checkElf(path, elf, machine), ...checkPrivilege(path, stat, machine)];
}

function followScript(path: string, head: Uint8Array, machine: Machine, scriptsLeft: number): Finding[] {
  const line = new TextDecoder('latin1').decode(head).split('\n', 1)[0] ?? '';
  const [interpreter = '', ...words] = line.slice(2).trim().split(/\s+/);
  if (interpreter === '') return [fail('program', `${path}: a script that names no interpreter`)];
  if (scriptsLeft === 0) return [fail('program', `${path}: scripts of scripts, more than Linux follows`)];
  const script = note('program', `${path}: a script, so what counts is ${interpreter}`);
  const found = follow(interpreter, machine, scriptsLeft - 1);
  const command = interpreter.endsWith('/env') ? envCommand(words) : null;
  return [script, ...found, ...(command === null ? [] : follow(command, machine, scriptsLeft - 1))];
}

/** The command that `#!/usr/bin/env [-S] [NAME=VALUE] command` runs. */
function envCommand(words: readonly string[]): string | null {
  return words.find((word) => !word.startsWith('-') && !word.includes('=')) ?? null;
}

function checkElf(path: string, elf: ElfFile, machine: Machine): Finding[] {
  if (elf.type === 'other') return [fail('program', `${path}: an object or core file, not a program`)];
  const arch = nodeArch(elf);
  if (arch !== machine.arch) {
    const what = `${elf.bits}-bit ${machineName(elf.machine)}`;
    return [fail('architecture', `${path}: ${what}; the shim here is for ${machine.arch}`)];
  }
  if (elf.interpreter === null) {
    const cure = elf.go ? 'build it with CGO_ENABLED=1 and external linking' : 'link it dynamically';
    return [fail('static', `${path}: statically linked, so no loader reads LD_PRELOAD; ${cure}`)];
  }
  return [checkLoader(path, elf.interpreter), ...(elf.go ? [goProgram(path)] : [])];
}

function checkLoader(path: string, interpreter: string): Finding {
  if (/ld-musl/.test(interpreter)) {
    return fail('libc', `${path}: uses musl (${interpreter}); the shim here is for glibc`);
  }
  if (!exists(interpreter)) return fail('libc', `${path}: its loader ${interpreter} is not there`);
  return ok('program', `${path}: dynamically linked, loaded by ${interpreter}`);
}

function goProgram(path: string): Finding {
  return warn(
    'Go',
    `${path}: a Go program makes system calls without libc; those of Go code itself are not seen`,
  );
}

/** The loader drops LD_PRELOAD when the kernel says that the program gains rights (AT_SECURE). */
function checkPrivilege(
  path: string,
  stat: { mode: number; uid: number; gid: number },
  machine: Machine,
): Finding[] {
  const out: Finding[] = [];
  if ((stat.mode & S_ISUID) !== 0 && stat.uid !== machine.uid) {
    out.push(fail('setuid', `${path}: set-user-id to ${stat.uid}, so its loader ignores LD_PRELOAD`));
  }
  if ((stat.mode & S_ISGID) !== 0 && stat.gid !== process.getegid?.()) {
    out.push(fail('setgid', `${path}: set-group-id to ${stat.gid}, so its loader ignores LD_PRELOAD`));
  }
  const capabilities = machine.uid === 0 ? false : machine.hasFileCapabilities(path);
  if (capabilities === true) {
    out.push(
      fail('capabilities', `${path}: has file capabilities, so its loader ignores LD_PRELOAD (getcap)`),
    );
  }
  if (capabilities === null) out.push(note('capabilities', `${path}: file capabilities cannot be read here`));
  return out;
}

/** As execvp looks: a name with a slash is a path, another is searched in PATH. Null: nowhere. */
function findProgram(name: string, path: string): string | null {
  if (name.includes('/')) return exists(name) ? name : null;
  const places = path.split(delimiter).map((directory) => join(directory || '.', name));
  const files = places.filter((place) => exists(place) && statSync(place).isFile());
  return files.find(canExecute) ?? files[0] ?? null;
}

const exists = (path: string): boolean => canAccess(path, constants.F_OK);
const canExecute = (path: string): boolean => canAccess(path, constants.X_OK);

function canAccess(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

function readHead(path: string): Uint8Array | null {
  return canAccess(path, constants.R_OK) ? withFile(path, (readAt) => readAt(0, shebangBytes)) : null;
}

/** Opens `path` for `use`; reads come back short at the end of the file. */
export function withFile<T>(
  path: string,
  use: (readAt: (offset: number, length: number) => Uint8Array) => T,
): T {
  const fd = openSync(path, 'r');
  try {
    return use((offset, length) => {
      const bytes = new Uint8Array(length);
      const last = Number.MAX_SAFE_INTEGER - length;
      return bytes.subarray(0, offset > last ? 0 : readSync(fd, bytes, 0, length, offset));
    });
  } finally {
    closeSync(fd);
  }
}
