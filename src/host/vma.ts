/**
 * What is mapped in a client: one area at a time, by PROCMAP_QUERY where the kernel has it (6.11), else out of the
 * text of /proc/PID/maps. The descriptor is bound to the mm, whatever becomes of the pid.
 */
import * as sys from './sys.js';

export interface Vma {
  readonly start: bigint;
  /** Inclusive. */
  readonly last: bigint;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  readonly shared: boolean;
  /** Offset of `start` in the file, bytes. */
  readonly offset: bigint;
  /** 0: no file. */
  readonly inode: bigint;
  /** `major:minor`, decimal. */
  readonly device: string;
  readonly name: string;
}

/** As {@link Vma.device} has it. */
export function deviceName(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

const PROCMAP_QUERY = 0xc0686611;
const QUERY_SIZE = 104;
const READABLE = 1;
const WRITABLE = 2;
const EXECUTABLE = 4;
const SHARED = 8;
const NAME_SIZE = 4096;
const query = sys.allocate(QUERY_SIZE);
const nameBlock = sys.allocate(NAME_SIZE);
const text = sys.allocate(1 << 16);
const decoder = new TextDecoder();

let queryKnown = true;

/** The area that covers `at`, or null. `mapsFd` is an open /proc/PID/maps. */
export function findVma(mapsFd: number, at: bigint): Vma | null {
  if (queryKnown) {
    const found = askKernel(mapsFd, at);
    if (found !== undefined) return found;
    queryKnown = false;
  }
  return searchText(mapsFd, at);
}

/** Undefined where the kernel has no such ioctl. */
function askKernel(mapsFd: number, at: bigint): Vma | null | undefined {
  const { view, bytes } = query;
  bytes.fill(0);
  view.setBigUint64(0, BigInt(QUERY_SIZE), true);
  view.setBigUint64(16, at, true);
  view.setUint32(80, NAME_SIZE, true);
  view.setBigUint64(88, BigInt(nameBlock.address), true);
  const result = sys.ioctl(mapsFd, PROCMAP_QUERY, query.address);
  if (result === -sys.Errno.ENOTTY) return undefined;
  if (result < 0) return null;
  const flags = view.getUint32(40, true);
  return {
    start: view.getBigUint64(24, true),
    last: view.getBigUint64(32, true) - 1n,
    readable: (flags & READABLE) !== 0,
    writable: (flags & WRITABLE) !== 0,
    executable: (flags & EXECUTABLE) !== 0,
    shared: (flags & SHARED) !== 0,
    offset: view.getBigUint64(56, true),
    inode: view.getBigUint64(64, true),
    device: `${view.getUint32(72, true)}:${view.getUint32(76, true)}`,
    name: decoder.decode(nameBlock.bytes.subarray(0, Math.max(0, view.getUint32(80, true) - 1))),
  };
}

const line =
  /^([0-9a-f]+)-([0-9a-f]+) ([r-])([w-])([x-])([sp]) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)$/;

/** One line of /proc/PID/maps; null when it is none. */
export function parseVma(row: string): Vma | null {
  const part = line.exec(row);
  if (part === null) return null;
  const hex = (index: number): bigint => BigInt(`0x${part[index] ?? '0'}`);
  return {
    start: hex(1),
    last: hex(2) - 1n,
    readable: part[3] === 'r',
    writable: part[4] === 'w',
    executable: part[5] === 'x',
    shared: part[6] === 's',
    offset: hex(7),
    device: `${hex(8)}:${hex(9)}`,
    inode: BigInt(part[10] ?? '0'),
    name: part[11] ?? '',
  };
}

function searchText(mapsFd: number, at: bigint): Vma | null {
  for (const vma of allVmas(mapsFd)) if (vma.last >= at) return vma.start <= at ? vma : null;
  return null;
}

/** Every area, in address order. */
export function* allVmas(mapsFd: number): Generator<Vma> {
  let rest = '';
  for (let offset = 0; ;) {
    const got = sys.preadAt(mapsFd, text.address, text.bytes.length, offset);
    if (got <= 0) return;
    offset += got;
    const rows = (rest + decoder.decode(text.bytes.subarray(0, got))).split('\n');
    rest = rows.pop() ?? '';
    for (const row of rows) {
      const vma = parseVma(row);
      if (vma !== null) yield vma;
    }
  }
}

/** I/O memory and the kernel's own pages, which get_user_pages refuses. */
export function isDeviceMemory(vma: Vma): boolean {
  const { name } = vma;
  if (name.startsWith('[v') && name !== '[vdso]') return true;
  return name.startsWith('/dev/') && !name.startsWith('/dev/zero') && !name.startsWith('/dev/shm/');
}
