/**
 * What backs client memory: files, each once however often it is mapped, and the private memory of an mm. Files are
 * read and written by system calls, never mapped here: a file that shrinks under a mapping is a SIGBUS.
 */
import type { Backing } from '../mem/client.js';
import type { ProcessSpace } from './address-space.js';
import * as sys from './sys.js';
import type { Vma } from './vma.js';

let lastId = 0;

/** A place in a client through which a file can be reached when we have no descriptor of it. */
interface View {
  readonly space: ProcessSpace;
  readonly at: bigint;
  readonly offset: bigint;
  readonly length: bigint;
}

const VIEWS_KEPT = 64;

/** A file (memfd, shmem, hugetlbfs or other), by device and inode. */
export class FileBacking implements Backing {
  readonly id = ++lastId;
  /** Open descriptors of clients' that stand for it. */
  users = 0;
  /** A mapping was resolved to it. */
  isMapped = false;
  readonly #fd: number;
  readonly #views: View[] = [];

  /** `fd` (-1: none could be had) belongs to the backing from now on. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  get hasFile(): boolean {
    return this.#fd >= 0;
  }

  /** Bytes; null when it is not known. */
  size(): bigint | null {
    return this.#fd < 0 ? null : (sys.fstat(this.#fd)?.size ?? null);
  }

  /** Kernel magic number of its file system, 0 when it is not known. */
  fileSystem(): number {
    if (this.#fd < 0 || sys.fstatfs(this.#fd, statfs.address) < 0) return 0;
    return statfs.view.getUint32(0, true);
  }

  addView(view: View): void {
    if (this.#fd >= 0) return;
    this.#views.push(view);
    if (this.#views.length > VIEWS_KEPT) this.#views.shift();
  }

  read(offset: bigint, into: Uint8Array): boolean {
    if (this.#fd < 0) return this.#throughView(offset, into, false);
    return sys.pread(this.#fd, into, into.length, offset) === into.length;
  }

  write(offset: bigint, from: Uint8Array): boolean {
    if (this.#fd < 0) return this.#throughView(offset, from, true);
    // A write behind the end would make the file longer, where a device would have met a hole.
    const size = this.size();
    if (size === null || offset + BigInt(from.length) > size) return false;
    return sys.pwrite(this.#fd, from, from.length, offset) === from.length;
  }

  close(): void {
    if (this.#fd >= 0) sys.close(this.#fd);
  }

  #throughView(offset: bigint, bytes: Uint8Array, writing: boolean): boolean {
    for (const view of this.#views) {
      const skip = offset - view.offset;
      if (skip < 0n || skip + BigInt(bytes.length) > view.length) continue;
      const at = view.at + skip;
      if (writing ? view.space.write(at, bytes) : view.space.read(at, bytes)) return true;
    }
    return false;
  }
}

const statfs = sys.allocate(128);

/** Private memory of an mm; offset = address. Stores go through as a device's do, whatever mprotect says later. */
export class PrivateBacking implements Backing {
  readonly id = ++lastId;
  readonly #space: ProcessSpace;
  #memFd: number;

  /** `memFd`: /proc/PID/mem, which belongs to the mm's object; -1 where it may not be opened. */
  constructor(space: ProcessSpace, memFd: number) {
    this.#space = space;
    this.#memFd = memFd;
  }

  read(offset: bigint, into: Uint8Array): boolean {
    if (this.#memFd < 0) return this.#space.read(offset, into);
    return sys.pread(this.#memFd, into, into.length, offset) === into.length;
  }

  write(offset: bigint, from: Uint8Array): boolean {
    if (this.#memFd < 0) return this.#space.write(offset, from);
    return sys.pwrite(this.#memFd, from, from.length, offset) === from.length;
  }

  /** The mm is gone, and its descriptor with it. */
  retire(): void {
    this.#memFd = -1;
  }
}

/** More files than this are reached through their clients. */
const FILES_HELD = 512;

/** Every file that backs something now, by `major:minor:inode`. */
export class FileBackings {
  readonly #files = new Map<string, FileBacking>();

  /** The backing of a file of which we have a descriptor; takes `fd` over. Each call needs one {@link put}. */
  ofDescriptor(fd: number, status: sys.Status): FileBacking {
    const key = `${deviceName(status.dev)}:${status.ino}`;
    let backing = this.#files.get(key);
    if (backing?.hasFile) sys.close(fd);
    else this.#files.set(key, (backing = new FileBacking(fd)));
    backing.users += 1;
    return backing;
  }

  put(backing: FileBacking): void {
    backing.users -= 1;
    // What a mapping was resolved to may be in use for as long as any file of the engine is open.
    if (backing.users > 0 || backing.isMapped) return;
    for (const [key, file] of this.#files) if (file === backing) this.#files.delete(key);
    backing.close();
  }

  /** The backing of a shared mapping in a client. */
  ofVma(vma: Vma, pid: number): FileBacking {
    const key = `${vma.device}:${vma.inode}`;
    let backing = this.#files.get(key);
    if (backing === undefined) {
      backing = new FileBacking(this.#files.size < FILES_HELD ? openMapped(vma, pid) : -1);
      this.#files.set(key, backing);
    }
    backing.isMapped = true;
    return backing;
  }

  /** No file of the engine is open any more. */
  clear(): void {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
  }
}

function deviceName(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

/** A descriptor of the file behind an area: by its own link (root only), else one that the client has open. */
function openMapped(vma: Vma, pid: number): number {
  const direct = `/proc/${pid}/map_files/${vma.start.toString(16)}-${(vma.last + 1n).toString(16)}`;
  for (const mode of [sys.O_RDWR, sys.O_RDONLY]) {
    const fd = sys.open(direct, mode | sys.O_CLOEXEC, 0);
    if (fd >= 0) return fd;
  }
  for (let number = 0; number < SEARCHED; number++) {
    const fd = sys.open(`/proc/${pid}/fd/${number}`, sys.O_PATH | sys.O_CLOEXEC, 0);
    if (fd < 0) continue;
    const status = sys.fstat(fd);
    sys.close(fd);
    if (status?.ino !== vma.inode || deviceName(status.dev) !== vma.device) continue;
    const found = sys.open(`/proc/${pid}/fd/${number}`, sys.O_RDWR | sys.O_CLOEXEC | sys.O_NONBLOCK, 0);
    if (found >= 0) return found;
  }
  return -1;
}

/** Descriptors of a client that are looked at. */
const SEARCHED = 256;
