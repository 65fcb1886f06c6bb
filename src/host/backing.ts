/**
 * What backs client memory: files, each once however often it is mapped. All of them can be reached by system calls;
 * shared memory is also mapped here, where that is safe (mapped-file.ts).
 */
import type { Backing, DirectView } from '../mem/client.js';
import type { ProcessSpace } from './address-space.js';
import { MappedFile } from './mapped-file.js';
import { newBackingId } from './private-backing.js';
import * as sys from './sys.js';
import { deviceName, type Vma } from './vma.js';

/** An area of a client through which a file can be reached when we have no descriptor of it. */
interface View {
  readonly space: ProcessSpace;
  /** As it was; what lies there now is asked at every use. */
  readonly vma: Vma;
}

const VIEWS_KEPT = 64;

/** A file (memfd, shmem, hugetlbfs or other), by device and inode. */
class FileBacking implements Backing {
  readonly id = newBackingId();
  /** Open descriptors of clients' that stand for it. */
  users = 0;
  /** A mapping was resolved to it. */
  isMapped = false;
  readonly #fd: number;
  readonly #views: View[] = [];
  readonly #mapped: MappedFile | null;

  readonly #spaces: ReadonlySet<ProcessSpace>;

  /**
   * `fd` (-1: none could be had) belongs to the backing from now on. Without one, `spaces` are the processes to look
   * for a mapping of the file in.
   */
  constructor(fd: number, spaces: ReadonlySet<ProcessSpace>) {
    this.#fd = fd;
    this.#spaces = spaces;
    this.#mapped = fd < 0 ? null : new MappedFile(fd);
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
    return this.#fd < 0 ? 0 : sys.fileSystem(this.#fd);
  }

  addView(view: View): void {
    if (this.#fd >= 0) return;
    const { space, vma } = view;
    if (this.#views.some((known) => known.space === space && known.vma.start === vma.start)) return;
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

  view(offset: number): DirectView | null {
    return this.#mapped?.view(offset) ?? null;
  }

  unseen(): void {
    this.#mapped?.end();
  }

  close(): void {
    this.#mapped?.end();
    if (this.#fd >= 0) sys.close(this.#fd);
  }

  #throughView(offset: bigint, bytes: Uint8Array, writing: boolean): boolean {
    for (let done = 0; done < bytes.length;) {
      const at = offset + BigInt(done);
      const rest = bytes.subarray(done);
      const moved = this.#throughKnownView(at, rest, writing) || this.#throughAnyClient(at, rest, writing);
      if (moved === 0) return false;
      done += moved;
    }
    return true;
  }

  /** Copies what the first view that still shows `offset` has of it; how many bytes that was. */
  #throughKnownView(offset: bigint, bytes: Uint8Array, writing: boolean): number {
    for (const view of this.#views) {
      const moved = copyThrough(view, offset, bytes, writing);
      if (moved > 0) return moved;
    }
    return 0;
  }

  /** Who mapped it here may be gone: any client that has it mapped will do. */
  #throughAnyClient(offset: bigint, bytes: Uint8Array, writing: boolean): number {
    const known = this.#views.at(-1);
    if (known === undefined) return 0;
    for (const space of this.#spaces) {
      const vma = space.areaOfFile(known.vma.device, known.vma.inode, offset);
      if (vma === null) continue;
      const moved = copyThrough({ space, vma }, offset, bytes, writing);
      if (moved === 0) continue;
      this.addView({ space, vma });
      return moved;
    }
    return 0;
  }
}

/** How many bytes from `offset` on were copied through `view`: as many as it still shows. */
function copyThrough({ space, vma }: View, offset: bigint, bytes: Uint8Array, writing: boolean): number {
  const at = vma.start + (offset - vma.offset);
  if (offset < vma.offset || at > vma.last) return 0;
  return space.copyShared(at, vma, offset, bytes, writing);
}

/** More files than this are reached through their clients. */
const FILES_HELD = 512;

/** Every file that backs something now, by `major:minor:inode`. */
export class FileBackings {
  readonly #files = new Map<string, FileBacking>();
  /** Every mm that is alive. */
  readonly spaces = new Set<ProcessSpace>();

  /** The backing of a file of which we have a descriptor; takes `fd` over. Each call needs one {@link put}. */
  ofDescriptor(fd: number, status: sys.Status): FileBacking {
    const key = `${deviceName(status.dev)}:${status.ino}`;
    let backing = this.#files.get(key);
    if (backing?.hasFile) sys.close(fd);
    else this.#files.set(key, (backing = new FileBacking(fd, this.spaces)));
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
      backing = new FileBacking(this.#files.size < FILES_HELD ? openMapped(vma, pid) : -1, this.spaces);
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
