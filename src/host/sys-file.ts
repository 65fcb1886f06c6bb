/**
 * Opening a file of the machine's /sys whose content the engine has. Who only reads gets a file of its own with what is
 * there now, so that everything that a program can do with a file works; who may write gets a file of the engine's.
 */
import { refuse, type Rule } from '../base/errno.js';
import type { Task } from '../mem/task.js';
import type { SysFile } from '../machine/sysfs/tree.js';
import { PositionedFile } from './positioned-file.js';
import * as sys from './sys.js';
import { openText } from './virtual-files.js';

const BAD_ADDRESS: Rule = { id: 'sysfs.address', errno: 'EFAULT', sentence: 'no memory at {at}' };
const NO_OPERATION: Rule = {
  id: 'sysfs.no-operation',
  errno: 'ENODEV',
  sentence: '{path} cannot be mapped',
};
const BAD_POSITION: Rule = {
  id: 'sysfs.position',
  errno: 'EINVAL',
  sentence: 'there is no position {offset} in {path}, counted from {whence}',
};
const NO_IOCTL: Rule = { id: 'sysfs.no-ioctl', errno: 'ENOTTY', sentence: '{path} has no ioctls' };

/** Bytes that an attribute gets of one write. */
const PAGE = 4096;

/** A descriptor for what is in `file` now; or -errno. */
export function openForReading(path: string, { read }: SysFile): number {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return openText(name, read?.() ?? new Uint8Array());
}

export class WritableSysFile extends PositionedFile {
  readonly #file: SysFile;
  readonly #written: () => void;

  /** `written` is called after every write. */
  constructor(name: string, file: SysFile, written: () => void) {
    super(name, { address: BAD_ADDRESS, ioctl: NO_IOCTL, mmap: NO_OPERATION });
    this.#file = file;
    this.#written = written;
  }

  protected override content(): Uint8Array {
    return this.#file.read?.() ?? new Uint8Array();
  }

  override writeAt(offset: bigint | null, at: bigint, count: number, task: Task): number {
    if (count === 0) return 0;
    const bytes = new Uint8Array(Math.min(count, PAGE));
    if (!task.mm.read(at, bytes)) return refuse(BAD_ADDRESS, { at });
    const from = offset === null ? this.position : Number(offset);
    try {
      this.#file.write?.(bytes, from);
    } finally {
      this.#written();
    }
    if (offset === null) this.position = from + bytes.length;
    return bytes.length;
  }

  seek(offset: number, whence: number): number {
    const base = [0, this.position, this.#file.size][whence];
    const to = (base ?? NaN) + offset;
    if (!(to >= 0)) refuse(BAD_POSITION, { offset, path: this.name, whence });
    this.position = to;
    return to;
  }
}

/** Whether open's flags ask for more than reading. */
export const wantsToWrite = (flags: number): boolean => (flags & sys.O_ACCMODE) !== sys.O_RDONLY;
