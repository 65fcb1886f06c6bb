/** Files that ioasis answers and that are no devices: of /proc `status` (locked memory) and `fail-nth`, and plain text. */
import { readFileSync } from 'node:fs';
import { refuse, type Rule } from '../base/errno.js';
import type { MmAccount } from '../mem/client.js';
import type { Task } from '../mem/task.js';
import type { ClientProcess } from './client.js';
import { PositionedFile } from './positioned-file.js';
import * as sys from './sys.js';

const PAGE_KB = 4;
const MFD_CLOEXEC = 1;

/** `/proc/PID/status` with VmLck and VmPin as the account says; a descriptor, or -errno. */
export function openStatus(pid: number, account: MmAccount): number {
  return openText('status', editStatus(readFileSync(`/proc/${pid}/status`, 'latin1'), account));
}

/** A file of its own that says `text`; a descriptor, or -errno. */
export function openText(name: string, text: string | Uint8Array): number {
  const fd = sys.memfdCreate(name, MFD_CLOEXEC);
  if (fd < 0) return fd;
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  sys.pwrite(fd, bytes, bytes.length, 0);
  return fd;
}

/** Adds the account's pages to the lines that Linux would show them in. */
export function editStatus(text: string, account: MmAccount): string {
  return text
    .replace(/^(VmLck:\t) *(\d+)/m, (_, head: string, kb: string) => head + raise(kb, account.lockedVm))
    .replace(/^(VmPin:\t) *(\d+)/m, (_, head: string, kb: string) => head + raise(kb, account.pinnedVm));
}

/** Width of a number in /proc/PID/status. */
const COLUMN = 8;

function raise(kb: string, pages: number): string {
  return String(Number(kb) + pages * PAGE_KB).padStart(COLUMN);
}

const NOT_A_NUMBER: Rule = {
  id: 'proc.fail-nth.number',
  errno: 'EINVAL',
  sentence: 'fail-nth takes a number, not "{text}"',
};
const BAD_ADDRESS: Rule = { id: 'proc.fail-nth.address', errno: 'EFAULT', sentence: 'no memory at {at}' };
const NO_OPERATION: Rule = {
  id: 'proc.no-operation',
  errno: 'EINVAL',
  sentence: '{path} has no such operation',
};
const NO_IOCTL: Rule = { id: 'proc.no-ioctl', errno: 'ENOTTY', sentence: '{path} has no ioctls' };

/** `fail-nth` of one task: writing n makes the n-th point from there fail; reading says what is left of n. */
export class FailNthFile extends PositionedFile {
  readonly #client: ClientProcess;
  readonly #tid: number;

  constructor(name: string, client: ClientProcess, tid: number) {
    super(name, { address: BAD_ADDRESS, ioctl: NO_IOCTL, mmap: NO_OPERATION });
    this.#client = client;
    this.#tid = tid;
  }

  protected override content(): Uint8Array {
    return new TextEncoder().encode(`${this.#client.failNth.get(this.#tid) ?? 0}\n`);
  }

  override writeAt(_offset: bigint | null, at: bigint, count: number, task: Task): number {
    const bytes = new Uint8Array(Math.min(count, 32));
    if (!task.mm.read(at, bytes)) return refuse(BAD_ADDRESS, { at });
    const text = new TextDecoder().decode(bytes).trim();
    if (!/^\d+$/.test(text)) return refuse(NOT_A_NUMBER, { text });
    const left = Number(text);
    if (left === 0) this.#client.failNth.delete(this.#tid);
    else this.#client.failNth.set(this.#tid, left);
    return count;
  }
}

/** What a path below /proc asks for: the process, the task, the file; `self` and `thread-self` are the caller's. */
export interface ProcessPath {
  readonly pid: number;
  readonly tid: number;
  readonly file: string;
}

const processPath = /^\/proc\/(self|thread-self|\d+)(?:\/task\/(\d+))?\/(status|fail-nth)$/;

/** Null when the path is of another kind. */
export function parseProcessPath(path: string, pid: number, tid: number): ProcessPath | null {
  const part = processPath.exec(path);
  if (part === null) return null;
  const [, who = '', task, file = ''] = part;
  const isCaller = who === 'self' || who === 'thread-self';
  const process = isCaller ? pid : Number(who);
  if (task !== undefined) return { pid: process, tid: Number(task), file };
  return { pid: process, tid: who === 'thread-self' ? tid : process, file };
}
