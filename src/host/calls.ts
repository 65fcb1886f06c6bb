/**
 * Performs a client's request on the engine, and answers it. Whatever the engine throws ends here: an Errno is the
 * call's result; anything else is a bug of ours, which poisons the file it came from and nothing more.
 */
import { Errno } from '../base/errno.js';
import type { Events } from '../base/events.js';
import type { Injector } from '../base/inject.js';
import type { WorkQueue } from '../base/work.js';
import type { OpenFile, Task } from '../mem/task.js';
import type { Call } from './call.js';
import { openBlocks } from './block-file.js';
import { inbox, outboxReply } from './link.js';
import { allocateShared, descriptorOf, freeShared, Mapping } from './mappings.js';
import { DEBUG_ROOT, NO_OFFSET, NOT_SPECIAL, Op, request, TokenKind } from './protocol.js';
import * as sys from './sys.js';
import type { SysFile } from '../machine/sysfs/tree.js';
import { openForReading, wantsToWrite, WritableSysFile } from './sys-file.js';
import type { Shown, SysTree } from './sys-tree.js';
import type { Token } from './tokens.js';
import { explain, traceBytes, traceStruct, type Tracer, type TraceRecord } from './trace.js';
import { FailNthFile, openStatus, openText, parseProcessPath } from './virtual-files.js';
import { KVM_CREATE_VM } from '../wire/uapi/kvm.js';
import type { ClientProcess } from './client.js';
import type { ServedMachines } from './machines.js';

/** What the host needs of an engine; `src/machine/engine.ts` makes one. */
export interface ServedEngine {
  readonly devices: readonly { path: string; mode: number; major: number; minor: number }[];
  readonly injector: Injector;
  /** What it says while it runs. */
  readonly events?: Events;
  /** What its devices have to do between calls. */
  readonly work?: WorkQueue;
  open(path: string, flags: number, task: Task): OpenFile;
  /** What is alive in it, by kind; all zero once every file is released. */
  leaks?(): Readonly<Record<string, number>>;
  /** The text of a file below {@link DEBUG_ROOT}, by its name there; null: there is none. */
  debugFile?(name: string): string | null;
  /** What it shows below /sys, if anything. */
  readonly sysfs?: ServedSysfs | null;
  /** What becomes of machines of the system's KVM. */
  readonly systemMachines?: ServedMachines | null;
}

/** A machine's /sys. */
export interface ServedSysfs extends Shown {
  /** What is read and written at `path`; null: nothing. */
  file(path: string): SysFile | null;
  /** Something was written. */
  refresh(): void;
}

/** Files that are no devices: nothing of them is traced, and no failure is injected there. */
const isVirtual = (path: string): boolean => path.startsWith('/proc/') || path.startsWith('/sys/');

/** What the host gives an engine beside its configuration. */
export const hostServices = {
  allocateShared,
  freeShared,
  openBlocks,
  random: (length: number): Uint8Array => crypto.getRandomValues(new Uint8Array(length)),
};

/** The tables of the server that calls go by. */
export interface Registry {
  clientOf(pid: number): ClientProcess | undefined;
  /** Makes a token for `file` and ends the call with a descriptor for it, or with an errno. */
  give(call: Call, file: OpenFile, flags: number): void;
  /** The token that the request names, if the caller holds it. */
  tokenOf(call: Call): Token | null;
  /** The machine of the system's KVM whose descriptor the request has, new with KVM_CREATE_VM; null: it is none. */
  machineOf(call: Call): Token | null;
  mapping(id: number): Mapping | undefined;
  addMapping(mapping: Mapping): void;
  /** One mapping less. */
  unmapped(mapping: Mapping): void;
}

export interface CallOptions {
  readonly engine: ServedEngine;
  readonly tracer: Tracer | null;
  readonly selftest: boolean;
  /** What programs find below /sys; null: the system's. */
  readonly tree: SysTree | null;
  /** A bug of ours was met; the text says where. */
  readonly onBug: (text: string) => void;
}

const decoder = new TextDecoder();
const LONGEST_PATH = 4096;

export class Calls {
  /** How often each site was made to fail by fail-nth. */
  readonly fired = new Map<string, number>();
  readonly #registry: Registry;
  readonly #options: CallOptions;
  readonly #begun = performance.now();

  constructor(registry: Registry, options: CallOptions) {
    this.#registry = registry;
    this.#options = options;
  }

  /** Serves the request in the inbox, `length` bytes. */
  perform(call: Call, length: number): void {
    const { view } = inbox;
    switch (view.getUint32(request.op, true)) {
      case Op.IOCTL:
      case Op.READ:
      case Op.WRITE:
      case Op.MMAP:
      case Op.SEEK:
        return this.#fileCall(call, this.#registry.tokenOf(call), view.getUint32(request.op, true));
      case Op.KVM:
        return this.#machineCall(call);
      case Op.OPEN:
        return this.#open(call, length);
      case Op.IDENTIFY:
        return this.#identify(call);
      case Op.NAME:
        return this.#name(call);
      case Op.MAPPED:
        return this.#mapped(call);
      case Op.STORE:
        return this.#store(call);
      case Op.LENT:
        call.client.privilegesChanged(
          view.getBigUint64(request.token, true),
          view.getBigUint64(request.offset, true),
        );
        return call.link.done(0, 0, 0);
      case Op.CUT:
        call.client.space.cut(view.getBigUint64(request.arg, true), view.getBigUint64(request.count, true));
        return call.link.done(0, 0, 0);
      default:
        call.link.broken = true;
    }
  }

  /** A machine is the kernel's, which has done the call; a new one has nothing more to say. */
  #machineCall(call: Call): void {
    const machine = this.#registry.machineOf(call);
    if (machine === null) return call.link.done(-1, NOT_SPECIAL, 0);
    if (inbox.view.getUint32(request.cmd, true) === KVM_CREATE_VM) return call.link.done(0, 0, 0);
    this.#fileCall(call, machine, Op.IOCTL);
  }

  #fileCall(call: Call, token: Token | null, op: number): void {
    if (token === null || token.poisoned) return call.link.done(-1, sys.Errno.ENODEV, 0);
    const { view } = inbox;
    const arg = view.getBigUint64(request.arg, true);
    const isTraced = this.#options.tracer !== null && op !== Op.SEEK;
    const traced = !isTraced ? null : this.#traceBefore(call, token, op, arg);
    call.epoch = view.getUint32(op === Op.IOCTL ? request.offset : request.cmd, true);
    call.begin(arg, view.getUint32(request.carried, true), op === Op.IOCTL || op === Op.READ);
    let result = 0;
    let mapping = 0;
    let thrown: unknown = null;
    const armed = call.client.failNth.size > 0 && this.#arm(call, token);
    try {
      if (op === Op.IOCTL) result = token.file.ioctl(view.getUint32(request.cmd, true), arg, call);
      else if (op === Op.MMAP) [result, mapping] = this.#map(call, token);
      else if (op === Op.SEEK) result = seek(token);
      else result = transfer(call, token, op === Op.READ);
    } catch (error) {
      thrown = error;
    }
    const injected = armed ? this.#disarm(call) : {};
    const errno = thrown === null ? (result < 0 ? -result : 0) : this.#errnoOf(thrown, token);
    if (traced !== null) this.#traceAfter(call, { ...traced, ...injected }, result, errno, thrown);
    call.end();
    call.link.done(errno === 0 ? result : -1, errno, errno === 0 ? call.deferred : 0, mapping);
  }

  #errnoOf(error: unknown, token: Token | null): number {
    if (error instanceof Errno) return error.errno;
    if (token !== null) token.poisoned = true;
    this.#options.onBug(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return sys.Errno.ENODEV;
  }

  /** The points of failure count for one task only; /proc's own files are beyond them, and what the kernel has done. */
  #arm(call: Call, token: Token): boolean {
    const left = call.client.failNth.get(call.tid);
    const isDone = inbox.view.getUint32(request.op, true) === Op.KVM;
    if (left === undefined || isDone || token.file instanceof FailNthFile) return false;
    this.#options.engine.injector.arm(left);
    return true;
  }

  /** What the call's trace says of a failure that was injected. */
  #disarm(call: Call): Pick<TraceRecord, 'injected'> {
    const { injector } = this.#options.engine;
    const { left, fired } = injector;
    injector.arm(0);
    if (left > 0) {
      call.client.failNth.set(call.tid, left);
      return {};
    }
    call.client.failNth.delete(call.tid);
    this.fired.set(fired, (this.fired.get(fired) ?? 0) + 1);
    return { injected: fired };
  }

  #map(call: Call, token: Token): [address: number, mapping: number] {
    const { view } = inbox;
    const flags = view.getUint32(request.cmd, true);
    const prot = flags & 0xff;
    // Linux asks the file only for what its descriptor allows; what cannot be written is never quite shared.
    const wantsShared = ((flags >>> 8) & sys.MAP_SHARED) !== 0;
    const writes = wantsShared && (prot & sys.PROT_WRITE) !== 0;
    if (!token.canRead || (writes && !token.canWrite)) return [-sys.Errno.EACCES, 0];
    const shared = wantsShared && token.canWrite;
    const pages = token.file.mmap(
      {
        offset: view.getBigUint64(request.offset, true),
        // mmap(2) maps whole pages.
        length: (view.getBigUint64(request.count, true) + 4095n) & ~4095n,
        shared,
        exec: (prot & sys.PROT_EXEC) !== 0,
      },
      call,
    );
    const { fd, offset } = descriptorOf(pages);
    const address = fd < 0 ? fd : call.link.mapRemote(fd, offset, pages.store !== undefined);
    if (address < 0) return [address, 0];
    const mapping = new Mapping(token, pages);
    this.#registry.addMapping(mapping);
    call.client.mappings.set(mapping.id, { mapping, count: 1 });
    mapping.opened();
    return [address, mapping.id];
  }

  #mapped(call: Call): void {
    const { view } = inbox;
    const id = Number(view.getBigUint64(request.arg, true));
    const opened = view.getUint32(request.cmd, true) === 1;
    const { mappings } = call.client;
    const held = mappings.get(id);
    const mapping = held?.mapping ?? (opened ? this.#registry.mapping(id) : undefined);
    if (mapping === undefined) return call.link.done(-1, sys.Errno.EINVAL, 0);
    const count = (held?.count ?? 0) + (opened ? 1 : -1);
    if (count === 0) mappings.delete(id);
    else mappings.set(id, { mapping, count });
    if (opened) mapping.opened();
    else this.#registry.unmapped(mapping);
    call.link.done(0, 0, 0);
  }

  /** An instruction stored to registers that it has mapped. What is not there any more takes nothing. */
  #store(call: Call): void {
    const { view } = inbox;
    const id = Number(view.getBigUint64(request.token, true));
    const offset = Number(view.getBigUint64(request.arg, true));
    const width = view.getUint32(request.cmd, true);
    const mapping = call.client.mappings.get(id)?.mapping;
    const isStore = width === 1 || width === 2 || width === 4 || width === 8;
    if (mapping?.store === undefined || !isStore || offset % width !== 0 || offset + width > mapping.length)
      return call.link.done(-1, sys.Errno.EINVAL, 0);
    try {
      mapping.store(
        offset,
        width,
        view.getInt32(request.count, true),
        view.getInt32(request.count + 4, true),
      );
    } catch (error) {
      return call.link.done(-1, this.#errnoOf(error, mapping.token), 0);
    }
    call.link.done(0, 0, 0);
  }

  #open(call: Call, length: number): void {
    if (length - request.size > LONGEST_PATH) return call.link.done(-1, sys.Errno.EINVAL, 0);
    const path = decoder.decode(inbox.bytes.subarray(request.size, length));
    const flags = inbox.view.getUint32(request.cmd, true);
    call.begin(0n, 0, false);
    let file: OpenFile | number | null = null;
    let thrown: unknown = null;
    const left = call.client.failNth.get(call.tid);
    if (left !== undefined && !isVirtual(path)) this.#options.engine.injector.arm(left);
    try {
      file = isVirtual(path)
        ? this.#openVirtual(call, path, flags)
        : this.#options.engine.open(path, flags, call);
    } catch (error) {
      thrown = error;
    }
    const injected = left !== undefined && !isVirtual(path) ? this.#disarm(call) : {};
    const errno = thrown === null ? 0 : this.#errnoOf(thrown, null);
    if (this.#options.tracer !== null && !isVirtual(path))
      this.#traceOpen({ ...this.#traceHead(call), ...injected }, path, flags, errno, thrown);
    call.end();
    if (errno !== 0) call.link.done(-1, errno, 0);
    else if (file === null) call.link.done(-1, NOT_SPECIAL, 0);
    else if (typeof file !== 'number') this.#registry.give(call, file, flags);
    else if (file < 0) call.link.done(-1, -file, 0);
    else {
      call.link.doneWithFd(file, (flags & sys.O_CLOEXEC) !== 0, TokenKind.NOT_OURS);
      sys.close(file);
    }
  }

  /** A file of ours, a descriptor, -errno, or null: the system's own file will do. */
  #openVirtual(call: Call, path: string, flags: number): OpenFile | number | null {
    if (path.startsWith(`${DEBUG_ROOT}/`)) {
      const text = this.#options.engine.debugFile?.(path.slice(DEBUG_ROOT.length + 1)) ?? null;
      return text === null ? -sys.Errno.ENOENT : openText('ioasis', text);
    }
    if (path.startsWith('/sys/')) return this.#openSysFile(path, flags);
    const asked = parseProcessPath(path, call.client.pid, call.tid);
    const client = asked === null ? undefined : this.#registry.clientOf(asked.pid);
    if (asked === null || client === undefined) return null;
    if (asked.file === 'fail-nth')
      return this.#options.selftest ? new FailNthFile(path, client, asked.tid) : null;
    const { account, heldPages } = client.space;
    // What is held is pinned in the system's eyes as well.
    const { lockedVm, pinnedVm } = account;
    if (lockedVm === 0 && pinnedVm === 0 && heldPages === 0) return null;
    return openStatus(asked.pid, { lockedVm, pinnedVm: pinnedVm - heldPages });
  }

  #openSysFile(path: string, flags: number): OpenFile | number {
    const { sysfs } = this.#options.engine;
    const file = sysfs?.file(path) ?? null;
    if (file === null || !sysfs) return -sys.Errno.ENOENT;
    if (!wantsToWrite(flags)) return openForReading(path, file);
    return new WritableSysFile(path, file, () => {
      sysfs.refresh();
      this.#options.tree?.show(sysfs);
    });
  }

  #identify(call: Call): void {
    const name = Number(inbox.view.getBigUint64(request.token, true));
    const token = this.#registry.tokenOf(call);
    call.link.done(token?.name === name ? token.kind : TokenKind.NOT_OURS, 0, 0);
  }

  #name(call: Call): void {
    const token = this.#registry.tokenOf(call);
    if (token === null) return call.link.done(-1, sys.Errno.ENODEV, 0);
    const { name } = token.file;
    const bytes = new TextEncoder().encode(name.startsWith('/') ? name : `anon_inode:${name}`);
    outboxReply.set(bytes);
    const device = this.#options.engine.devices.find(({ path }) => path === name);
    const numbers = device === undefined ? 0 : device.major * 2 ** 32 + device.minor * 2 ** 12 + device.mode;
    call.link.done(bytes.length, 0, bytes.length, numbers);
  }

  #traceBefore(call: Call, token: Token, op: number, arg: bigint): TraceRecord {
    const { view } = inbox;
    const count = Number(view.getBigUint64(request.count, true));
    call.begin(arg, view.getUint32(request.carried, true), false);
    let before: Uint8Array | null = null;
    if (op === Op.IOCTL) before = traceStruct(call, view.getUint32(request.cmd, true), arg);
    else if (op === Op.WRITE) before = traceBytes(call, arg, count);
    return {
      ...this.#traceHead(call),
      call: op === Op.IOCTL ? 'ioctl' : op === Op.READ ? 'read' : op === Op.WRITE ? 'write' : 'mmap',
      file: token.file.name,
      arg: op === Op.MMAP ? view.getBigUint64(request.offset, true) : arg,
      count,
      before,
    };
  }

  #traceHead(call: Call): TraceRecord {
    const { view } = inbox;
    return {
      pid: call.client.pid,
      tid: call.tid,
      call: 'ioctl',
      fd: view.getInt32(request.fd, true),
      file: '',
      cmd: view.getUint32(request.cmd, true),
      arg: 0n,
      count: 0,
      before: null,
      after: null,
      result: 0,
      errno: 0,
      rule: '',
      reason: '',
      time: Math.round((performance.now() - this.#begun) * 1000),
    };
  }

  #traceAfter(call: Call, begun: TraceRecord, result: number, errno: number, thrown: unknown): void {
    let after: Uint8Array | null = null;
    if (begun.call === 'ioctl' && begun.before !== null) {
      after = traceBytes(call, call.argument, begun.before.length);
      if (after !== null && errno === 0) after.set(call.deferredBytes().subarray(0, after.length));
    } else if (begun.call === 'read' && errno === 0) {
      after = call.deferred > 0 ? call.deferredBytes().slice() : traceBytes(call, call.argument, result);
    }
    const outcome = explain(thrown, errno);
    this.#options.tracer?.({ ...begun, after, result: errno === 0 ? result : -1, ...outcome });
  }

  #traceOpen(head: TraceRecord, path: string, flags: number, errno: number, thrown: unknown): void {
    const result = errno === 0 ? 0 : -1;
    this.#options.tracer?.({
      ...head,
      call: 'open',
      file: path,
      cmd: flags,
      result,
      ...explain(thrown, errno),
    });
  }
}

function seek({ file }: Token): number {
  const { view } = inbox;
  const offset = Number(view.getBigInt64(request.offset, true));
  return file.seek?.(offset, view.getUint32(request.cmd, true)) ?? -sys.Errno.ESPIPE;
}

/** read and write, with an offset where the file knows offsets. */
function transfer(call: Call, token: Token, reading: boolean): number {
  const { file } = token;
  const { view } = inbox;
  const arg = view.getBigUint64(request.arg, true);
  const count = Number(view.getBigUint64(request.count, true));
  const offset = view.getBigUint64(request.offset, true);
  // An anonymous file is a stream, whatever it was opened for; a device node gets as far as its own read.
  const seeks = file.readAt !== undefined || file.name.startsWith('/dev/');
  if (offset !== NO_OFFSET && !seeks) return -sys.Errno.ESPIPE;
  if (reading ? !token.canRead : !token.canWrite) return -sys.Errno.EBADF;
  const at = offset === NO_OFFSET ? null : offset;
  if (reading) return file.readAt?.(at, arg, count, call) ?? file.read(arg, count, call);
  return file.writeAt?.(at, arg, count, call) ?? file.write(arg, count, call);
}
