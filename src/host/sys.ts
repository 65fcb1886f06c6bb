/**
 * Linux system calls, synchronously, and nothing else: the only module that uses koffi. Every call returns what the
 * kernel returned, or -errno. Memory for the kernel lies in {@link allocate}d blocks whose addresses are plain
 * numbers, because a number costs a fraction of what a pointer argument costs.
 */
import koffi from 'koffi';

/** Native memory that never moves. */
export interface Block {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

type Arg = number | bigint | string | Uint8Array;
type NativeCall = (...args: Arg[]) => number;

const libc = koffi.load(null);

const judge = (value: number): number => (value === -1 ? -koffi.errno() : value);

/** Binds `name`; a result of -1 becomes -errno. Spelled out by arity, because a spread costs as much as the call. */
function bind(name: string, result: string, args: string[]): NativeCall {
  const native = libc.func(name, result, args) as NativeCall;
  switch (args.length) {
    case 0:
      return () => judge(native());
    case 3:
      return (a, b, c) => judge(native(a!, b!, c!));
    case 4:
      return (a, b, c, d) => judge(native(a!, b!, c!, d!));
    case 6:
      return (a, b, c, d, e, f) => judge(native(a!, b!, c!, d!, e!, f!));
    default:
      return (...values) => judge(native(...values));
  }
}

const mmapNative = libc.func('mmap', 'int64_t', ['int64_t', 'int64_t', 'int', 'int', 'int', 'int64_t']);

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const MAP_SHARED = 1;
const MAP_PRIVATE_ANONYMOUS = 0x22;

/** Maps `length` bytes of `fd` (-1: anonymous, private). The bytes stay mapped for ever, see {@link remap}. */
export function map(length: number, fd = -1): Block {
  const block = tryMap(length, fd);
  if (block === null) throw new Error(`cannot map ${length} bytes: errno ${koffi.errno()}`);
  return block;
}

/** {@link map}, or null where a process has all the mappings that it may have. */
export function tryMap(length: number, fd: number): Block | null {
  const flags = fd < 0 ? MAP_PRIVATE_ANONYMOUS : MAP_SHARED;
  const address = mmapNative(0, length, PROT_READ | PROT_WRITE, flags, fd, 0) as number;
  if (address === -1) return null;
  const buffer = koffi.view(BigInt(address), length);
  return { address, bytes: new Uint8Array(buffer), view: new DataView(buffer) };
}

const MAP_FIXED = 0x10;
const MAP_NORESERVE = 0x4000;

/** Addresses for `length` bytes, and nothing there: to be used by {@link mapAt}. Null when there are none. */
export function reserve(length: number): Block | null {
  const address = mmapNative(0, length, 0, MAP_PRIVATE_ANONYMOUS | MAP_NORESERVE, -1, 0) as number;
  if (address === -1) return null;
  const buffer = koffi.view(BigInt(address), length);
  return { address, bytes: new Uint8Array(buffer), view: new DataView(buffer) };
}

/** Puts `length` bytes of `fd` from `offset` on at the start of `block`; false when the file cannot be mapped so. */
export function mapAt(block: Block, length: number, fd: number, offset: number): boolean {
  const prot = PROT_READ | PROT_WRITE;
  return mmapNative(block.address, length, prot, MAP_SHARED | MAP_FIXED, fd, offset) !== -1;
}

/** Takes back what {@link mapAt} put into `block`: there is nothing again. */
export function unmapAt(block: Block): void {
  const flags = MAP_PRIVATE_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  mmapNative(block.address, block.bytes.length, 0, flags, -1, 0);
}

/** Memory that the kernel has mapped at `address`. */
export const viewOf = (address: number, length: number): ArrayBuffer => koffi.view(BigInt(address), length);

/** Puts `fd` (-1: fresh private pages) where `block` is; views of the block stay good. False: what was there still is. */
export function remap(block: Block, fd: number): boolean {
  const flags = MAP_FIXED | (fd < 0 ? MAP_PRIVATE_ANONYMOUS : MAP_SHARED);
  return mmapNative(block.address, block.bytes.length, PROT_READ | PROT_WRITE, flags, fd, 0) !== -1;
}

/** Maps what may not be mapped at a place of our choice: the address, for {@link memcpy} only. */
export const mapAnywhere = (fd: number, length: number, offset: number): number =>
  mmapNative(0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset) as number;
export const unmap = bind('munmap', 'int', ['int64_t', 'int64_t']);
/** Between two addresses, of which each is a block's or was mapped. */
export const memcpy = bind('memcpy', 'int64_t', ['int64_t', 'int64_t', 'uint64_t']);

const memcpyOf = bind('memcpy', 'int64_t', ['void*', 'int64_t', 'uint64_t']);
/** Where bytes of the collector's are: as long as they are, since it does not move what was asked for once. */
export const addressOf = (bytes: Uint8Array): number => memcpyOf(bytes, 0, 0);

const ARENA = 1 << 18;
let arena = map(ARENA);
let arenaUsed = 0;

/** Carves a block out of native memory, for the life of the thread. */
export function allocate(size: number): Block {
  if (size > ARENA) return map(size);
  if (arenaUsed + size > ARENA) {
    arena = map(ARENA);
    arenaUsed = 0;
  }
  const { bytes, address } = arena;
  const block = {
    address: address + arenaUsed,
    bytes: new Uint8Array(bytes.buffer, arenaUsed, size),
    view: new DataView(bytes.buffer, arenaUsed, size),
  };
  arenaUsed += (size + 63) & ~63;
  return block;
}

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_PATH = 0o10000000;
export const O_ACCMODE = 3;
export const O_CREAT = 0o100;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

export const close = bind('close', 'int', ['int']);
export const open = bind('open', 'int', ['str', 'int', 'int']);
export const lseek = bind('lseek', 'int64_t', ['int', 'int64_t', 'int']);
export const pipe2 = bind('pipe2', 'int', ['int64_t', 'int']);
export const read = bind('read', 'int64_t', ['int', 'int64_t', 'int64_t']);
export const write = bind('write', 'int64_t', ['int', 'int64_t', 'int64_t']);
export const pread = bind('pread64', 'int64_t', ['int', 'void*', 'int64_t', 'int64_t']);
export const pwrite = bind('pwrite64', 'int64_t', ['int', 'void*', 'int64_t', 'int64_t']);
export const preadAt = bind('pread64', 'int64_t', ['int', 'int64_t', 'int64_t', 'int64_t']);
export const pwriteAt = bind('pwrite64', 'int64_t', ['int', 'int64_t', 'int64_t', 'int64_t']);
export const fdatasync = bind('fdatasync', 'int', ['int']);
export const fallocate = bind('fallocate', 'int', ['int', 'int', 'int64_t', 'int64_t']);
export const fcntl = bind('fcntl', 'int', ['int', 'int', 'int']);
/** With a struct. */
export const fcntlAt = bind('fcntl', 'int', ['int', 'int', 'int64_t']);
export const ioctl = bind('ioctl', 'int', ['int', 'uint64_t', 'int64_t']);
export const ftruncate = bind('ftruncate', 'int', ['int', 'int64_t']);
const fstatfs = bind('fstatfs', 'int', ['int', 'int64_t']);
export const memfdCreate = bind('memfd_create', 'int', ['str', 'uint']);
export const eventfd = bind('eventfd', 'int', ['uint', 'int']);
export const readlink = bind('readlink', 'int64_t', ['str', 'int64_t', 'int64_t']);
export const getxattr = bind('getxattr', 'int64_t', ['str', 'str', 'int64_t', 'uint64_t']);
export const futimens = bind('futimens', 'int', ['int', 'int64_t']);
const fstatInto = bind('fstat', 'int', ['int', 'int64_t']);
export const socket = bind('socket', 'int', ['int', 'int', 'int']);
export const bindSocket = bind('bind', 'int', ['int', 'int64_t', 'int']);
export const connect = bind('connect', 'int', ['int', 'int64_t', 'int']);
export const listen = bind('listen', 'int', ['int', 'int']);
export const accept4 = bind('accept4', 'int', ['int', 'int64_t', 'int64_t', 'int']);
export const getsockopt = bind('getsockopt', 'int', ['int', 'int', 'int', 'int64_t', 'int64_t']);
export const poll = bind('poll', 'int', ['int64_t', 'int', 'int']);
export const recv = bind('recv', 'int', ['int', 'int64_t', 'int64_t', 'int']);
export const send = bind('send', 'int', ['int', 'int64_t', 'int64_t', 'int']);
export const recvmsg = bind('recvmsg', 'int64_t', ['int', 'int64_t', 'int']);
export const sendmsg = bind('sendmsg', 'int64_t', ['int', 'int64_t', 'int']);
export const epollCreate = bind('epoll_create1', 'int', ['int']);
export const epollCtl = bind('epoll_ctl', 'int', ['int', 'int', 'int', 'int64_t']);
export const epollWait = bind('epoll_wait', 'int', ['int', 'int64_t', 'int', 'int']);
export const vmRead = bind('process_vm_readv', 'int64_t', [
  'int',
  'int64_t',
  'uint64_t',
  'int64_t',
  'uint64_t',
  'uint64_t',
]);
export const vmWrite = bind('process_vm_writev', 'int64_t', [
  'int',
  'int64_t',
  'uint64_t',
  'int64_t',
  'uint64_t',
  'uint64_t',
]);
const syscall3 = bind('syscall', 'int64_t', ['int64_t', 'int64_t', 'int64_t', 'int64_t']);
const syscall6 = bind('syscall', 'int64_t', Array<string>(7).fill('int64_t'));
const prlimitNative = bind('prlimit64', 'int', ['int', 'int', 'int64_t', 'int64_t']);

const [SYS_io_setup, SYS_io_destroy, SYS_io_submit] = process.arch === 'x64' ? [206, 207, 209] : [0, 1, 2];
export const ioSetup = (events: number, context: number): number =>
  syscall3(SYS_io_setup!, events, context, 0);
export const ioDestroy = (context: number): number => syscall3(SYS_io_destroy!, context, 0, 0);
export const ioSubmit = (context: number, count: number, blocks: number): number =>
  syscall3(SYS_io_submit!, context, count, blocks);

const SYS_preadv2 = process.arch === 'x64' ? 327 : 286;
/** Of `count` vectors at `vectors`; `offset` -1 is where the file is. */
export const preadv2 = (fd: number, vectors: number, count: number, offset: number, flags: number): number =>
  syscall6(SYS_preadv2, fd, vectors, count, offset, offset, flags);

const SYS_futex = process.arch === 'x64' ? 202 : 98;
const FUTEX_WAKE = 1;
/** Wakes whoever sleeps on the word at `address`, in any process. */
export const futexWake = (address: number): number => syscall3(SYS_futex, address, FUTEX_WAKE, 1);
/** The CPU that this thread runs on. */
export const currentCpu = bind('sched_getcpu', 'int', []);

const SYS_pidfd_send_signal = 424;
/** Whether the process of a descriptor of {@link pidfdOpen} is there, if only to be waited for: nobody else has its pid. */
export const hasItsPid = (pidfd: number): boolean =>
  syscall6(SYS_pidfd_send_signal, pidfd, 0, 0, 0, 0, 0) !== -Errno.ESRCH;

const SYS_pidfd_open = 434;
/** A descriptor that is readable once the process is dead. */
export const pidfdOpen = (pid: number): number => syscall3(SYS_pidfd_open, pid, 0, 0);

const SYS_pidfd_getfd = 438;
export const pidfdGetfd = (pidfd: number, fd: number): number => syscall3(SYS_pidfd_getfd, pidfd, fd, 0);
const SYS_io_uring_setup = 425;
const SYS_io_uring_enter = 426;
const SYS_io_uring_register = 427;
export const ioUringSetup = (entries: number, params: number): number =>
  syscall3(SYS_io_uring_setup, entries, params, 0);
export const ioUringEnter = (...args: readonly [number, number, number, number, number, number]): number =>
  syscall6(SYS_io_uring_enter, ...args);
export const ioUringUnregister = (fd: number, what: number): number =>
  syscall6(SYS_io_uring_register, fd, what, 0, 0, 0, 0);

const limits = allocate(16);
const RLIMIT_NOFILE = 7;
const RLIMIT_MEMLOCK = 8;
/** How many descriptors we may have. */
export function mostDescriptors(): number {
  return prlimitNative(0, RLIMIT_NOFILE, 0, limits.address) < 0 ? 0x7fffffff : limits.view.getUint32(0, true);
}

/** Soft RLIMIT_MEMLOCK of a process in bytes (2^64-1: none), or null when it may not be asked. */
export function memlockLimit(pid: number): bigint | null {
  return prlimitNative(pid, RLIMIT_MEMLOCK, 0, limits.address) < 0 ? null : limits.view.getBigUint64(0, true);
}

/** Indices in {@link Guard.order}, as struct order of shim/guard/runs.c has them; a side has four numbers. */
export const ORDER_FROM = 0;
export const ORDER_TO = 4;
/** Of a side: address of its mapping, HPA of the first byte there, length, address of the runs. */
export const SIDE_BASE = 0;
export const SIDE_HPA = 1;
export const SIDE_LENGTH = 2;
export const SIDE_RUNS = 3;
export const ORDER_AMOUNT = 8;
export const ORDER_AT = 9;
const ORDER_NUMBERS = 10;

/** What shim/guard offers: ranges in which a SIGBUS leaves a mark and not a corpse, and moves of many runs at once. */
export interface Guard {
  /** By range: how many pages were replaced in it. */
  readonly marks: Int32Array;
  /** The number of the range, or -1 when there is none left. */
  add(address: number, length: number): number;
  remove(range: number): void;
  /** What the next of these calls is to move: arguments are dear. */
  readonly order: Float64Array;
  /** Moves runs (see mem/runs.ts) of a mapping to bytes of our own, from there, or to other runs. 0: some lies elsewhere. */
  gather(into: Uint8Array): number;
  scatter(from: Uint8Array): number;
  copy(): number;
  /** Where bytes lie that do not move: more than 64 of them. */
  addressOf(words: Int32Array): number;
}

const GUARD_RANGES = 4096;

/** Installs the handler of the library at `path`; null when it is not there. */
export function loadGuard(path: string): Guard | null {
  try {
    const library = koffi.load(path);
    const marks = (library.func('guard_install', 'int64_t', []) as () => number)();
    if (marks === 0) return null;
    const order = library.func('guard_order', 'int64_t', []) as () => number;
    return {
      marks: new Int32Array(koffi.view(BigInt(marks), GUARD_RANGES * 4)),
      add: library.func('guard_add', 'int', ['int64_t', 'int64_t']) as Guard['add'],
      remove: library.func('guard_remove', 'void', ['int']) as Guard['remove'],
      order: new Float64Array(koffi.view(BigInt(order()), ORDER_NUMBERS * 8)),
      gather: library.func('guard_gather', 'int', ['void*']) as Guard['gather'],
      scatter: library.func('guard_scatter', 'int', ['void*']) as Guard['scatter'],
      copy: library.func('guard_copy', 'int', []) as Guard['copy'],
      addressOf: library.func('guard_address', 'int64_t', ['void*']) as Guard['addressOf'],
    };
  } catch {
    return null;
  }
}

/** What fstat says, as far as anybody here asks. */
export interface Status {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mode: number;
  readonly size: bigint;
  /** Seconds. */
  readonly mtime: bigint;
}

const S_IFMT = 0o170000;
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFREG = 0o100000;
export const fileType = (status: Status): number => status.mode & S_IFMT;

const statBlock = allocate(256);
/** The offset of st_mode differs: aarch64 has the generic layout. */
const ST_MODE = process.arch === 'x64' ? 24 : 16;
const ST_SIZE = 48;
const ST_MTIME = 88;

/** fstat; null when `fd` is no descriptor. */
export function fstat(fd: number): Status | null {
  if (fstatInto(fd, statBlock.address) < 0) return null;
  const { view } = statBlock;
  return {
    dev: view.getBigUint64(0, true),
    ino: view.getBigUint64(8, true),
    mode: view.getUint32(ST_MODE, true),
    size: view.getBigInt64(ST_SIZE, true),
    mtime: view.getBigInt64(ST_MTIME, true),
  };
}

const statfsBlock = allocate(128);

/** The kernel's magic number of the file system that `fd` is on; 0 when it is not known. */
export function fileSystem(fd: number): number {
  return fstatfs(fd, statfsBlock.address) < 0 ? 0 : statfsBlock.view.getUint32(0, true);
}

export const Errno = {
  ESRCH: 3,
  EINTR: 4,
  EBADF: 9,
  EACCES: 13,
  EAGAIN: 11,
  EFAULT: 14,
  ENOENT: 2,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  ENOMEM: 12,
  ENFILE: 23,
  EMFILE: 24,
  ENOSPC: 28,
  ESPIPE: 29,
} as const;
