/**
 * An engine with no IOMMU in it, for tests of the host alone: its calls read and write memory, give and take
 * descriptors, map pages and refuse, as the real ones do. All take `struct fake`; see programs/fake.h.
 */
import { refuse, type Rule } from '#ioasis/base/errno.js';
import { Injector } from '#ioasis/base/inject.js';
import { WorkQueue } from '#ioasis/base/work.js';
import type { Run } from '#ioasis/mem/client.js';
import {
  O_CLOEXEC,
  O_RDWR,
  type Capability,
  type MmapRequest,
  type OpenFile,
  type SharedPages,
  type Task,
} from '#ioasis/mem/task.js';

const SIZE = 40;
const TYPE = 0x3b00;
const rule = (errno: Rule['errno'], id: string): Rule => ({ id, errno, sentence: `${id} {why}` });
const rules = {
  unknown: rule('ENOTTY', 'fake.unknown'),
  fault: rule('EFAULT', 'fake.fault'),
  invalid: rule('EINVAL', 'fake.invalid'),
  noFile: rule('ENOENT', 'fake.no-file'),
  badFd: rule('EBADF', 'fake.bad-fd'),
  tooMany: rule('EMFILE', 'fake.too-many'),
  noMemory: rule('ENOMEM', 'fake.no-memory'),
  noMapping: rule('ENXIO', 'fake.no-mapping'),
  busy: rule('EBUSY', 'fake.busy'),
};

/** The struct of the call under way; calls do not overlap. */
const bytes = new Uint8Array(SIZE);
const view = new DataView(bytes.buffer);
const setA = (value: number): void => view.setUint32(4, value, true);
const b = (): bigint => view.getBigUint64(8, true);
const c = (): bigint => view.getBigUint64(16, true);
const d = (): bigint => view.getBigUint64(24, true);

interface Shared {
  live: number;
  released: number;
  /** Calls that heard in time that their answer cannot be written. */
  undone: number;
}

/** A device that never has done its work: each piece takes so many microseconds. */
class Storm {
  pieces = 0;
  microseconds = 0;

  constructor(readonly work: WorkQueue) {}

  step(): boolean {
    this.pieces += 1;
    for (const end = performance.now() + this.microseconds / 1000; performance.now() < end;);
    return true;
  }

  set(microseconds: number): void {
    this.microseconds = microseconds;
    if (microseconds === 0) this.work.cancel(this);
    else this.work.schedule(this);
  }
}

const REGISTERS = 8192;
/** Where the registers say how many stores there were, and of the last one its width and its offset. */
const COUNT = 0x10;
const WIDTH = 0x14;
const OFFSET = 0x18;

/** Registers that keep what is stored to them, but for those that tell of it. */
class Registers {
  readonly image: Uint8Array;
  readonly #view: DataView;

  constructor(services: Services) {
    this.image = services.allocateShared(REGISTERS) ?? refuse(rules.tooMany);
    this.#view = new DataView(this.image.buffer, this.image.byteOffset, REGISTERS);
  }

  store(offset: number, width: 1 | 2 | 4 | 8, lo: number, hi: number): void {
    const image = this.#view;
    if (width === 1) image.setUint8(offset, lo);
    else if (width === 2) image.setUint16(offset, lo, true);
    else image.setInt32(offset, lo, true);
    if (width === 8) image.setInt32(offset + 4, hi, true);
    image.setUint32(WIDTH, width, true);
    image.setUint32(OFFSET, offset, true);
    image.setUint32(COUNT, image.getUint32(COUNT, true) + 1, true);
  }
}

interface Services {
  allocateShared(length: number): Uint8Array | null;
  freeShared(bytes: Uint8Array): void;
}

const capabilities: Capability[] = ['CAP_IPC_LOCK', 'CAP_SYS_RESOURCE', 'CAP_SYS_RAWIO'];

class FakeFile implements OpenFile {
  readonly isEngineFile = true;
  readable = false;
  onReadableChange: (() => void) | null = null;
  readonly #pages: Uint8Array;
  #registers: Registers | null = null;
  #mapped = 0;
  #runs: Run[] = [];

  constructor(
    readonly name: string,
    readonly pollMode: OpenFile['pollMode'],
    readonly engine: { shared: Shared; injector: Injector; services: Services; storm: Storm },
  ) {
    this.#pages =
      (pollMode === 'none' ? engine.services.allocateShared(4096) : new Uint8Array()) ??
      refuse(rules.tooMany);
    engine.shared.live += 1;
  }

  ioctl(cmd: number, arg: bigint, task: Task): number {
    if (cmd === (TYPE | 0x64)) return Number(arg);
    if (!task.mm.read(arg, bytes)) return refuse(rules.fault, { why: 'struct' });
    const handler = handlers[cmd - TYPE];
    if (handler === undefined) return refuse(rules.unknown, { why: cmd });
    const result = handler.call(this, task);
    if (task.reply(arg, bytes)) return result;
    this.engine.shared.undone += 1;
    return refuse(rules.fault, { why: 'answer' });
  }

  copy(task: Task): number {
    const data = new Uint8Array(Number(c()));
    if (!task.mm.read(b(), data) || !task.mm.write(d(), data)) return refuse(rules.fault, { why: 'copy' });
    return 0;
  }

  give(task: Task): number {
    const modes = ['none', 'in', 'in-out'] as const;
    const file = new FakeFile('[fake-queue]', modes[Number(b())] ?? 'none', this.engine);
    const fd = task.installFd(file, c() === 1n ? O_RDWR | O_CLOEXEC : O_RDWR);
    if (fd === null) {
      file.release();
      return refuse(rules.tooMany);
    }
    setA(fd);
    if (d() !== 1n) return 0;
    task.removeFd(fd);
    return refuse(rules.invalid, { why: 'taken back' });
  }

  /** a: what descriptor b is: 1 ours, 2 memfd, 3 dma-buf, 4 other, 5 an eventfd; c: its size; e: the byte at offset d. */
  take(task: Task): number {
    const file = task.fileOf(Number(b()));
    if (file === null) return refuse(rules.badFd);
    if (file.isEngineFile) {
      setA(1);
      return 0;
    }
    setA({ memfd: 2, 'dma-buf': 3, other: 4, eventfd: 5 }[file.kind]);
    view.setBigUint64(16, file.size(), true);
    const one = new Uint8Array(1);
    view.setBigUint64(32, file.backing.read(d(), one) ? BigInt(one[0] ?? 0) : ~0n & 0xffn, true);
    file.release();
    return 0;
  }

  /** Makes the file at descriptor b readable (c 1) or not (c 0). */
  show(task: Task): number {
    const file = task.fileOf(Number(b()));
    if (!(file instanceof FakeFile)) return refuse(rules.badFd);
    file.readable = c() === 1n;
    file.onReadableChange?.();
    return 0;
  }

  /** Remembers what backs c bytes at b, for writing if d is 1; a: how many runs. */
  pin(task: Task): number {
    const runs = task.mm.resolve(b(), c(), d() === 1n);
    if (runs === null) return refuse(rules.fault, { why: 'pin' });
    this.#runs = runs;
    setA(runs.length);
    view.setBigUint64(32, BigInt(runs[0]?.backing.id ?? 0), true);
    return 0;
  }

  /** A device's store of one byte (c) at b bytes into what was pinned; a: 1 if it went there. */
  store(): number {
    let skip = b();
    for (const run of this.#runs) {
      if (skip < run.length) {
        setA(run.backing.write(run.offset + skip, new Uint8Array([Number(c())])) ? 1 : 0);
        return 0;
      }
      skip -= run.length;
    }
    return refuse(rules.invalid, { why: 'behind the end' });
  }

  load(): number {
    const one = new Uint8Array(1);
    const run = this.#runs[0];
    setA(run !== undefined && run.backing.read(run.offset + b(), one) ? 1 : 0);
    view.setBigUint64(16, BigInt(one[0] ?? 0), true);
    return 0;
  }

  credentials(task: Task): number {
    setA(capabilities.reduce((mask, name, i) => mask | (task.capable(name) ? 1 << i : 0), 0));
    view.setBigUint64(8, task.memlockLimit, true);
    view.setUint32(16, task.mm.id, true);
    return 0;
  }

  /** Three points of failure, then success. */
  points(): number {
    for (const site of ['first', 'second', 'third']) {
      if (this.engine.injector.point('failslab', site)) return refuse(rules.noMemory);
    }
    return 0;
  }

  /** c is 1: from now on a piece of the storm takes b microseconds, 0 ends it. d: pieces so far. */
  storm(): number {
    const { storm } = this.engine;
    if (c() === 1n) storm.set(Number(b()));
    view.setBigUint64(24, BigInt(storm.pieces), true);
    return 0;
  }

  account(task: Task): number {
    task.mm.account.pinnedVm = Number(b());
    task.mm.account.lockedVm = Number(c());
    return 0;
  }

  /** a: calls undone; b: live mappings of this file; c: open files; d: released files; e: the first byte of the shared page. */
  look(): number {
    setA(this.engine.shared.undone);
    view.setBigUint64(8, BigInt(this.#mapped), true);
    view.setBigUint64(16, BigInt(this.engine.shared.live), true);
    view.setBigUint64(24, BigInt(this.engine.shared.released), true);
    view.setBigUint64(32, BigInt(this.#pages[0] ?? 0), true);
    return 0;
  }

  read(at: bigint, count: number, task: Task): number {
    if (this.pollMode === 'none') return refuse(rules.invalid, { why: 'read' });
    const data = new Uint8Array(count).fill(0x52);
    return task.reply(at, data) ? count : refuse(rules.fault, { why: 'read' });
  }

  write(at: bigint, count: number, task: Task): number {
    if (this.pollMode !== 'in-out') return refuse(rules.invalid, { why: 'write' });
    const data = new Uint8Array(count);
    return task.mm.read(at, data)
      ? data.filter((byte) => byte === 0x57).length
      : refuse(rules.fault, { why: 'write' });
  }

  mmap(request: MmapRequest, _task: Task): SharedPages {
    if (request.offset === BigInt(REGISTERS)) return this.#mapRegisters(Number(request.length));
    if (request.offset !== 0n || request.length !== 4096n) return refuse(rules.noMapping);
    return {
      bytes: this.#pages,
      onGone: null,
      opened: () => {
        this.#mapped += 1;
      },
      closed: () => {
        this.#mapped -= 1;
      },
    };
  }

  #mapRegisters(length: number): SharedPages {
    this.#registers ??= new Registers(this.engine.services);
    const { image } = this.#registers;
    return {
      bytes: image.subarray(0, length),
      store: (...store) => this.#registers!.store(...store),
      onGone: null,
      opened: () => {},
      closed: () => {},
    };
  }

  release(): void {
    this.engine.services.freeShared(this.#pages);
    if (this.#registers !== null) this.engine.services.freeShared(this.#registers.image);
    this.engine.shared.live -= 1;
    this.engine.shared.released += 1;
  }
}

const handlers: Record<number, (this: FakeFile, task: Task) => number> = {
  0x80: () => {
    view.setUint32(8, view.getUint32(8, true) + 1, true);
    return 0;
  },
  0x81(task) {
    return this.copy(task);
  },
  0x82(task) {
    return this.give(task);
  },
  0x83(task) {
    return this.take(task);
  },
  0x84(task) {
    return this.show(task);
  },
  0x85() {
    throw new Error('a bug of the engine');
  },
  0x86(task) {
    return this.pin(task);
  },
  0x87() {
    return this.store();
  },
  0x88() {
    return this.load();
  },
  0x89(task) {
    return this.credentials(task);
  },
  0x8a() {
    return this.points();
  },
  0x8b(task) {
    return this.account(task);
  },
  0x8c() {
    return this.look();
  },
  /** Keeps the engine busy for b milliseconds. */
  0x8d() {
    for (const end = Date.now() + Number(b()); Date.now() < end;);
    return 0;
  },
  0x8e() {
    return this.storm();
  },
};

export function createEngine(_config: unknown, services: Services) {
  const injector = new Injector();
  const work = new WorkQueue();
  const storm = new Storm(work);
  const engine = { shared: { live: 0, released: 0, undone: 0 }, injector, services, storm };
  return {
    injector,
    work,
    devices: [
      { path: '/dev/iommu', mode: 0o660, major: 10, minor: 125 },
      { path: '/dev/vfio/devices/vfio0', mode: 0o600, major: 511, minor: 0 },
    ],
    open(path: string, _flags: number, _task: Task): OpenFile {
      if (path !== '/dev/iommu' && path !== '/dev/vfio/devices/vfio0') return refuse(rules.noFile);
      return new FakeFile(path, 'none', engine);
    },
  };
}
