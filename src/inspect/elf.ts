/**
 * What an ELF file says about how it will be started: class, machine, interpreter, dynamic or static, Go or not.
 * Reads only the header and the program headers; never trusts a count or an offset of the file.
 * Invariant: any bytes at all give an answer; a damaged file is null, never an exception.
 */

/** Reads `length` bytes at `offset`; fewer come back where the file ends. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

export interface ElfFile {
  readonly bits: 32 | 64;
  readonly littleEndian: boolean;
  /** e_machine. */
  readonly machine: number;
  /** 'other' is a relocatable object or a core file: nothing to run. */
  readonly type: 'executable' | 'shared' | 'other';
  /** PT_INTERP: the loader, which is what reads LD_PRELOAD. */
  readonly interpreter: string | null;
  /** Has a PT_DYNAMIC segment. */
  readonly dynamic: boolean;
  /** Carries the note of a Go linker: such a program makes most of its system calls without libc. */
  readonly go: boolean;
}

const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const PT_NOTE = 4;
const ET_EXEC = 2;
const ET_DYN = 3;
/** Linux itself takes no more than 64 KiB of program headers. */
const maxHeaderBytes = 65536;
const maxInterpreter = 4096;
const maxNoteBytes = 4096;

/** Names of the machines that people meet, by e_machine. */
const machineNames: Readonly<Record<number, string>> = {
  3: 'i386',
  8: 'MIPS',
  20: 'PowerPC',
  21: 'PowerPC64',
  22: 's390',
  40: 'Arm',
  62: 'x86-64',
  183: 'AArch64',
  243: 'RISC-V',
  258: 'LoongArch',
};

export function machineName(machine: number): string {
  return machineNames[machine] ?? `machine ${machine}`;
}

/** Node's name of the machine that a program of e_machine `machine` runs on, or null. */
export function nodeArch(elf: ElfFile): string | null {
  const names: Readonly<Record<string, string>> = {
    '3/32': 'ia32',
    '40/32': 'arm',
    '62/64': 'x64',
    '183/64': 'arm64',
    '243/64': 'riscv64',
    '258/64': 'loong64',
    '22/64': 's390x',
    '21/64': 'ppc64',
  };
  return names[`${elf.machine}/${elf.bits}`] ?? null;
}

/** True if the file starts as every ELF file does. */
export function isElf(head: Uint8Array): boolean {
  return head.length >= 4 && head[0] === 0x7f && head[1] === 0x45 && head[2] === 0x4c && head[3] === 0x46;
}

/** Null: no ELF file, or one too damaged to start. */
export function readElf(readAt: ReadAt): ElfFile | null {
  const head = readAt(0, 64);
  if (!isElf(head) || head.length < 52) return null;
  const elfClass = head[4];
  const data = head[5];
  if ((elfClass !== 1 && elfClass !== 2) || (data !== 1 && data !== 2)) return null;
  const bits = elfClass === 2 ? 64 : 32;
  if (bits === 64 && head.length < 64) return null;
  const littleEndian = data === 1;
  const view = fields(head, littleEndian);
  const segments = readSegments(readAt, view, bits, littleEndian);
  if (segments === null) return null;
  const type = view.u16(16);
  return {
    bits,
    littleEndian,
    machine: view.u16(18),
    type: type === ET_EXEC ? 'executable' : type === ET_DYN ? 'shared' : 'other',
    interpreter: readInterpreter(readAt, segments),
    dynamic: segments.some((segment) => segment.type === PT_DYNAMIC),
    go: segments.some((segment) => segment.type === PT_NOTE && hasGoNote(readAt, segment, littleEndian)),
  };
}

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
}

function readSegments(
  readAt: ReadAt,
  head: FieldReader,
  bits: 32 | 64,
  littleEndian: boolean,
): Segment[] | null {
  const wide = bits === 64;
  const start = wide ? head.u64(32) : head.u32(28);
  const entryBytes = head.u16(wide ? 54 : 42);
  const count = head.u16(wide ? 56 : 44);
  if (count === 0) return [];
  if (entryBytes !== (wide ? 56 : 32) || entryBytes * count > maxHeaderBytes) return null;
  const table = readAt(start, entryBytes * count);
  if (table.length < entryBytes * count) return null;
  const view = fields(table, littleEndian);
  return Array.from({ length: count }, (_, i) => {
    const at = i * entryBytes;
    return wide
      ? { type: view.u32(at), offset: view.u64(at + 8), size: view.u64(at + 32) }
      : { type: view.u32(at), offset: view.u32(at + 4), size: view.u32(at + 16) };
  });
}

function readInterpreter(readAt: ReadAt, segments: readonly Segment[]): string | null {
  const segment = segments.find((candidate) => candidate.type === PT_INTERP);
  if (segment === undefined) return null;
  const text = readAt(segment.offset, Math.min(segment.size, maxInterpreter));
  const zero = text.indexOf(0);
  return new TextDecoder().decode(zero < 0 ? text : text.subarray(0, zero));
}

/** A note is namesz, descsz, type, then the name padded to four bytes, then the descriptor likewise. */
function hasGoNote(readAt: ReadAt, segment: Segment, littleEndian: boolean): boolean {
  const bytes = readAt(segment.offset, Math.min(segment.size, maxNoteBytes));
  const view = fields(bytes, littleEndian);
  let at = 0;
  while (at + 12 <= bytes.length) {
    const nameBytes = view.u32(at);
    const name = new TextDecoder().decode(bytes.subarray(at + 12, at + 12 + Math.min(nameBytes, 8)));
    if (name === 'Go\0\0') return true;
    at += 12 + roundUp4(nameBytes) + roundUp4(view.u32(at + 4));
  }
  return false;
}

const roundUp4 = (value: number): number => Math.ceil(value / 4) * 4;

interface FieldReader {
  u16(at: number): number;
  u32(at: number): number;
  /** As a double: an offset above 2^53 reads past the end of any file, as it would exactly. */
  u64(at: number): number;
}

function fields(bytes: Uint8Array, little: boolean): FieldReader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    u16: (at) => view.getUint16(at, little),
    u32: (at) => view.getUint32(at, little),
    u64: (at) => Number(view.getBigUint64(at, little)),
  };
}
