/**
 * A client's mm. While one of its threads is in a call its memory is reached by process_vm_readv/writev (or, where
 * that is denied, through that thread); at any other time through /proc/PID/mem, which is bound to the mm and so
 * cannot meet another program after exec or pid reuse.
 */
import type { AddressSpace, MmAccount, Run } from '../mem/client.js';
import type { LiveWatcher } from '../mem/live-space.js';
import type { FileBackings } from './backing.js';
import { deviceMemoryOf } from './device-memory.js';
import type { HeldBuffers } from './held-buffers.js';
import { inbox, type Link } from './link.js';
import { PrivateBacking, type HoldPolicy } from './private-backing.js';
import { request } from './protocol.js';
import * as sys from './sys.js';
import { allVmas, findVma, isDeviceMemory, type Vma } from './vma.js';
import { Witness } from './witness.js';

/** What is longer is moved from and to where it is; to ask where that is costs more than to copy so much. */
const SCRATCH = 4096;
const scratch = sys.allocate(SCRATCH);
const vectors = sys.allocate(32);
const MOST_PAGES = 512;
const pagemap = sys.allocate(MOST_PAGES * 8);
const pagemapWords = new Int32Array(pagemap.bytes.buffer, pagemap.bytes.byteOffset, MOST_PAGES * 2);

/** User addresses are below this on every machine; a length is added to an address only after this check. */
const ADDRESS_LIMIT = 1n << 57n;
const PAGE = 4096n;
/** File systems whose shared pages may be pinned for writing for long: nothing has to be written back. */
const PINNABLE = new Set([0x01021994, 0x958458f6, 0x858458f6]);

const WRITTEN_KEPT = 256;

/** How the daemon reaches memory: 'verbs' forces the way through the client's own thread. */
export type MemoryMode = 'direct' | 'verbs';

/** What memory is resolved for: to be read or written, or as the memory of a device that it has to be. */
type Use = 'read' | 'write' | 'device';

function deviceRun(vma: Vma, from: bigint, to: bigint): Run | null {
  const backing = deviceMemoryOf(vma);
  return backing === null
    ? null
    : { backing, offset: vma.offset + (from - vma.start), length: to - from + 1n };
}

let lastId = 0;

export class ProcessSpace implements AddressSpace {
  readonly id = ++lastId;
  readonly account: MmAccount = { pinnedVm: 0, lockedVm: 0 };
  /** Pages that are held; the system counts them as pinned by itself. */
  heldPages = 0;
  /** Of the process; -1: not known. */
  pidfd = -1;
  #witness: Witness | null = null;
  #alive = true;
  #direct: boolean;
  readonly #pid: number;
  readonly #files: FileBackings;
  /** The link whose call is running, if it belongs to this mm. */
  #caller: Link | null = null;
  /** What travelled with the request: `#windowLength` bytes from `#windowAt`. */
  #windowAt = 0n;
  #windowLength = 0;
  #memFd = -1;
  #mapsFd = -1;
  #pagemapFd = -1;
  readonly #policy: HoldPolicy;
  /** Devices share this address space, and hear of its end. */
  readonly #watchers = new Set<LiveWatcher>();
  /** The last one is what lies at the addresses now; the others keep what lay there. */
  #private: PrivateBacking[] = [];
  /** Pages that were written lately, at {@link #epoch}: what is put off for them will very likely arrive. */
  readonly #written = new Set<number>();
  #epoch = 0;

  constructor(pid: number, mode: MemoryMode, files: FileBackings, policy: HoldPolicy) {
    this.#pid = pid;
    this.#direct = mode === 'direct';
    this.#files = files;
    this.#policy = policy;
    files.spaces.add(this);
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  /** A thread of this mm begins a call; `carried` bytes from `argument` lie in the inbox. */
  enter(caller: Link, argument: bigint, carried: number): void {
    this.#caller = caller;
    this.#windowAt = argument;
    this.#windowLength = carried;
  }

  /**
   * True if bytes for pages `first` and `last` may be written when the call returns: they were written before, and
   * nothing that the client did since could have taken them away. Otherwise writing now says for certain.
   */
  mayDefer(first: number, last: number, epoch: number): boolean {
    if (epoch !== this.#epoch || this.#written.size > WRITTEN_KEPT) this.#written.clear();
    this.#epoch = epoch;
    return this.#written.has(first) && (first === last || this.#written.has(last));
  }

  /** Pages `first` and `last`, which is the next one at most, have just been written. */
  written(first: number, last: number): void {
    this.#written.add(first);
    this.#written.add(last);
  }

  leave(): void {
    this.#caller = null;
    this.#windowLength = 0;
  }

  read(at: bigint, into: Uint8Array): boolean {
    if (this.#windowLength > 0 && this.#readWindow(at, into)) return true;
    if (!this.#alive || at >= ADDRESS_LIMIT) return false;
    if (this.#caller === null) return this.#outside(at, into, false);
    if (this.#direct) {
      const outcome = this.#copyIn(at, into);
      if (outcome !== null) return outcome;
    }
    return this.#caller.readMemory(at, into);
  }

  write(at: bigint, from: Uint8Array): boolean {
    this.#windowLength = 0;
    if (!this.#alive || at >= ADDRESS_LIMIT) return false;
    if (this.#caller === null) return this.#outside(at, from, true);
    if (this.#direct) {
      const outcome = this.#copyOut(at, from);
      if (outcome !== null) return outcome;
    }
    return this.#caller.writeMemory(at, from);
  }

  resolve(at: bigint, length: bigint, write: boolean): Run[] | null {
    return this.#runs(at, length, write ? 'write' : 'read');
  }

  resolveDevice(at: bigint, length: bigint): Run[] | null {
    return this.#runs(at, length, 'device');
  }

  /** The process is dead or runs another program. What was resolved to a file stays reachable. */
  retire(): void {
    this.#alive = false;
    for (const watcher of [...this.#watchers]) watcher.ended();
    this.#files.spaces.delete(this);
    this.leave();
    if (this.#memFd >= 0) sys.close(this.#memFd);
    if (this.#mapsFd >= 0) sys.close(this.#mapsFd);
    if (this.#pagemapFd >= 0) sys.close(this.#pagemapFd);
    this.#memFd = -1;
    this.#mapsFd = -1;
    this.#pagemapFd = -1;
    for (const backing of this.#private) backing.retire();
  }

  #readWindow(at: bigint, into: Uint8Array): boolean {
    const skip = at === this.#windowAt ? 0 : Number(at - this.#windowAt);
    if (skip < 0 || skip + into.length > this.#windowLength) return false;
    const from = request.size + skip;
    const { bytes } = inbox;
    for (let i = 0; i < into.length; i++) into[i] = bytes[from + i] ?? 0;
    return true;
  }

  /** What lies at a range, area by area; null when some of it is not there for such a use. */
  #runs(at: bigint, length: bigint, use: Use): Run[] | null {
    if (!this.#alive || at >= ADDRESS_LIMIT || length >= ADDRESS_LIMIT || !this.#openMem()) return null;
    const runs: Run[] = [];
    const last = at + length - 1n;
    for (let from = at; from <= last;) {
      const vma = findVma(this.#mapsFd, from);
      if (vma === null) return null;
      const to = vma.last < last ? vma.last : last;
      const run =
        use === 'device' ? deviceRun(vma, from, to) : this.#memoryRun(vma, from, to, use === 'write');
      if (run === null) return null;
      runs.push(run);
      from = to + 1n;
    }
    return runs;
  }

  #memoryRun(vma: Vma, from: bigint, to: bigint, write: boolean): Run | null {
    if (!(write ? vma.writable : vma.readable)) return null;
    if (isDeviceMemory(vma) || deviceMemoryOf(vma) !== null) return null;
    const length = to - from + 1n;
    if (!vma.shared || vma.inode === 0n) {
      return { backing: this.#privateAt(from, to), offset: from, length };
    }
    const offset = vma.offset + (from - vma.start);
    const backing = this.#files.ofVma(vma, this.#pid);
    const size = backing.size();
    if (size !== null && offset + length > ((size + PAGE - 1n) & -PAGE)) return null;
    if (write && backing.hasFile && !PINNABLE.has(backing.fileSystem())) return null;
    backing.addView({ space: this, vma });
    return { backing, offset, length };
  }

  /** Two pins of one page are one frame; what has been put in place of a page that is held is another. */
  #privateAt(first: bigint, last: bigint): PrivateBacking {
    const shown = this.#private.find((backing) => backing.shows(first, last));
    if (shown !== undefined) return shown;
    const newest = this.#private.at(-1);
    if (newest !== undefined && !newest.isStale(first, last)) return newest;
    const made = new PrivateBacking(this, this.#memFd, this.#policy);
    this.#private = [...this.#private.filter((backing) => backing.isBusy), made];
    return made;
  }

  /** Addresses from `at` are not what they were. */
  cut(at: bigint, length: bigint): void {
    for (const backing of this.#private) backing.cut(at, at + length - 1n);
  }

  /** Has the thread that is in a call hold its pages: our descriptor of what holds them, or -errno. */
  holdPages(buffers: HeldBuffers | null, at: bigint, length: bigint): number {
    const caller = this.#caller;
    if (caller === null || buffers?.hasRoom !== true) return -sys.Errno.EMFILE;
    const remote = caller.holdPages(at, length);
    if (remote < 0) return remote;
    const ring = buffers.take(this.#pid, remote);
    caller.closeRemote(remote);
    if (ring >= 0) this.heldPages += Number(length / PAGE);
    return ring;
  }

  watch(watcher: LiveWatcher): void {
    this.#watchers.add(watcher);
    if (!this.#alive) watcher.ended();
  }

  unwatch(watcher: LiveWatcher): void {
    this.#watchers.delete(watcher);
  }

  /** The area that covers `at` now. */
  areaAt(at: bigint): Vma | null {
    return this.#alive && this.#openMem() ? findVma(this.#mapsFd, at) : null;
  }

  /**
   * The entries of /proc/PID/pagemap for `count` pages from `at` on, two words each, until the next call; null where they
   * cannot be had.
   */
  pagemap(at: bigint, count: number): Int32Array | null {
    if (!this.#alive) return null;
    if (this.#pagemapFd < 0)
      this.#pagemapFd = sys.open(`/proc/${this.#pid}/pagemap`, sys.O_RDONLY | sys.O_CLOEXEC, 0);
    const length = count * 8;
    const got = sys.preadAt(this.#pagemapFd, pagemap.address, length, Number(at / PAGE) * 8);
    return got === length ? pagemapWords : null;
  }

  /** Whether something lies at every address of a range. */
  isMapped(at: bigint, length: number): boolean {
    if (!this.#alive || !this.#openMem()) return false;
    for (let from = at; from < at + BigInt(length);) {
      const vma = findVma(this.#mapsFd, from);
      if (vma === null) return false;
      from = vma.last + 1n;
    }
    return true;
  }

  /**
   * Copies to or from the file behind `vma`, whose byte `offset` was at `at`: as many of `bytes` as the area there still
   * shows of it. Returns how many, 0 when it shows another file or may not be used so.
   */
  copyShared(at: bigint, vma: Vma, offset: bigint, bytes: Uint8Array, writing: boolean): number {
    if (!this.#alive || !this.#openMem()) return 0;
    const now = findVma(this.#mapsFd, at);
    if (now === null || !now.shared || now.inode !== vma.inode || now.device !== vma.device) return 0;
    if (now.offset + (at - now.start) !== offset) return 0;
    const shown = bytes.subarray(0, Math.min(Number(now.last - at + 1n), bytes.length));
    return this.#copyArea(now, at, shown, writing) ? shown.length : 0;
  }

  #copyArea(area: Vma, at: bigint, bytes: Uint8Array, writing: boolean): boolean {
    const isInCall = this.#caller !== null;
    if (isInCall || this.#memFd < 0) return writing ? this.write(at, bytes) : this.read(at, bytes);
    return (writing ? area.writable : area.readable) && this.#move(at, bytes, writing);
  }

  /** An area that shows byte `offset` of a file; null when this process maps it nowhere. */
  areaOfFile(device: string, inode: bigint, offset: bigint): Vma | null {
    if (!this.#alive || !this.#openMem()) return null;
    for (const vma of allVmas(this.#mapsFd)) {
      if (!vma.shared || vma.inode !== inode || vma.device !== device) continue;
      if (vma.offset <= offset && offset <= vma.offset + (vma.last - vma.start)) return vma;
    }
    return null;
  }

  #openMem(): boolean {
    if (this.#memFd < 0 && this.#direct)
      this.#memFd = sys.open(`/proc/${this.#pid}/mem`, sys.O_RDWR | sys.O_CLOEXEC, 0);
    if (this.#mapsFd < 0) this.#mapsFd = sys.open(`/proc/${this.#pid}/maps`, sys.O_RDONLY | sys.O_CLOEXEC, 0);
    return this.#mapsFd >= 0;
  }

  /** Outside of a call. /proc/PID/mem ignores protection, so the areas are asked first. */
  #outside(at: bigint, bytes: Uint8Array, writing: boolean): boolean {
    if (!this.#openMem() || this.#memFd < 0) return false;
    if (!writing && this.#readByPid(at, bytes)) return true;
    const last = at + BigInt(bytes.length) - 1n;
    for (let from = at; from <= last;) {
      const vma = findVma(this.#mapsFd, from);
      if (vma === null || !(writing ? vma.writable : vma.readable)) return false;
      from = vma.last + 1n;
    }
    return this.#move(at, bytes, writing);
  }

  #move(at: bigint, bytes: Uint8Array, writing: boolean): boolean {
    const transfer = writing ? sys.pwrite : sys.pread;
    return transfer(this.#memFd, bytes, bytes.length, at) === bytes.length;
  }

  /** By pid, which is three times as fast and obeys protection; true if it was this mm that was read, and all of it. */
  #readByPid(at: bigint, into: Uint8Array): boolean {
    if (this.pidfd < 0) return false;
    this.#witness ??= Witness.of(this.#pid, this.#memFd);
    if (this.#witness === null) return false;
    if (this.#witness.read(at, into, this.pidfd)) return true;
    this.#witness = null;
    return false;
  }

  /** process_vm_readv: whether every byte was there, or null when the kernel does not let us. */
  #copyIn(at: bigint, into: Uint8Array): boolean | null {
    const { length } = into;
    const isShort = length <= SCRATCH;
    const moved = this.#transfer(sys.vmRead, at, isShort ? scratch.address : sys.addressOf(into), length);
    if (moved !== length) return this.#judge(moved);
    if (isShort) into.set(scratch.bytes.subarray(0, length));
    return true;
  }

  #copyOut(at: bigint, from: Uint8Array): boolean | null {
    const { length } = from;
    const isShort = length <= SCRATCH;
    if (isShort) scratch.bytes.set(from);
    const moved = this.#transfer(sys.vmWrite, at, isShort ? scratch.address : sys.addressOf(from), length);
    return moved === length || this.#judge(moved);
  }

  #transfer(move: typeof sys.vmRead, at: bigint, local: number, length: number): number {
    const { view, address } = vectors;
    view.setBigUint64(0, BigInt(local), true);
    view.setUint32(8, length, true);
    view.setBigUint64(16, at, true);
    view.setUint32(24, length, true);
    return move(this.#pid, address, 1, address + 16, 1, 0);
  }

  #judge(moved: number): boolean | null {
    if (moved >= 0 || moved === -sys.Errno.EFAULT || moved === -sys.Errno.ESRCH) return false;
    this.#direct = false;
    return null;
  }
}
