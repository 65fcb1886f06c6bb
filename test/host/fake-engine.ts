/**
 * An engine with no IOMMU in it, for tests of the host alone: its ioctls read and write memory, give and take
 * descriptors, and refuse, as the real ones do. `struct fake { u32 size; u32 a; u64 b; u64 c; u64 d; }`, 32 bytes.
 */
import { refuse, type Rule } from '#ioasis/base/errno.js';
import { Injector } from '#ioasis/base/inject.js';
import type { MmapRequest, OpenFile, SharedPages, Task } from '#ioasis/mem/task.js';

export const SIZE = 32;
const TYPE = 0x3b00;
export const FakeCall = {
  /** b = b + 1 */
  ADD: TYPE | 0x80,
  /** Copies c bytes (at most 1 MiB) from address b to address d. */
  COPY: TYPE | 0x81,
} as const;

const rule = (errno: Rule['errno'], id: string): Rule => ({ id, errno, sentence: id });
const UNKNOWN = rule('ENOTTY', 'fake.unknown');
const FAULT = rule('EFAULT', 'fake.fault');
const NO_FILE = rule('ENOENT', 'fake.no-file');

class FakeFile implements OpenFile {
  readonly isEngineFile = true;
  readonly name: string;
  readonly pollMode: OpenFile['pollMode'];
  readable = false;
  onReadableChange: (() => void) | null = null;

  constructor(name: string, pollMode: OpenFile['pollMode']) {
    this.name = name;
    this.pollMode = pollMode;
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    const bytes = new Uint8Array(SIZE);
    const view = new DataView(bytes.buffer);
    if (!task.mm.read(arg, bytes)) return refuse(FAULT);
    const b = view.getBigUint64(8, true);
    switch (cmd) {
      case FakeCall.ADD:
        view.setBigUint64(8, b + 1n, true);
        break;
      case FakeCall.COPY: {
        const data = new Uint8Array(Number(view.getBigUint64(16, true)) % (1 << 20));
        if (!task.mm.read(b, data) || !task.mm.write(view.getBigUint64(24, true), data)) return refuse(FAULT);
        break;
      }
      default:
        return refuse(UNKNOWN);
    }
    if (!task.reply(arg, bytes)) return refuse(FAULT);
    return 0;
  }

  read(_at: bigint, _count: number, _task: Task): number {
    return refuse(UNKNOWN);
  }

  write(_at: bigint, _count: number, _task: Task): number {
    return refuse(UNKNOWN);
  }

  mmap(_request: MmapRequest, _task: Task): SharedPages {
    return refuse(UNKNOWN);
  }

  release(): void {}
}

export function createEngine(_config: unknown) {
  return {
    injector: new Injector(),
    devices: [{ path: '/dev/iommu', mode: 0o660, major: 10, minor: 125 }],
    open(path: string, _flags: number, _task: Task): OpenFile {
      if (path !== '/dev/iommu') return refuse(NO_FILE);
      return new FakeFile('/dev/iommu', 'none');
    },
  };
}
