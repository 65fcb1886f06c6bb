/**
 * Pages of clients that are registered as the buffer of an io_uring. What is registered stays pinned by the kernel,
 * whatever its program does to the address or to itself. The client's thread makes the ring and registers its own pages;
 * we take the ring (a socket does not carry one, so by pidfd_getfd), which then is ours alone, and copy through it.
 * Every such ring has one entry and one buffer, so all of them are laid out alike.
 */
import * as sys from './sys.js';

const IORING_OFF_SQES = 0x10000000;
const IORING_FEAT_SINGLE_MMAP = 1;
const IORING_ENTER_GETEVENTS = 1;
const IORING_UNREGISTER_BUFFERS = 1;
const IORING_OP_READ_FIXED = 4;
const IORING_OP_WRITE_FIXED = 5;
const PAGE = 4096;
const SQE = 64;
const CQE = 16;
const SCRATCH = 1 << 16;
const MFD_CLOEXEC = 1;
/** A descriptor each. What is pinned beyond that is found by its address. */
const MOST = 512;

/** Offsets within `struct io_uring_params`. */
const params = { size: 120, features: 20, sqOff: 40, cqOff: 80 } as const;

export class HeldBuffers {
  readonly #layout: DataView;
  /** The ring that is mapped, and where: its queues, and its entry. */
  #mapped = -1;
  #queuesAt = 0;
  #entryAt = 0;
  /** A file of ours, for the kernel to copy from and to. */
  readonly #file: number;
  readonly #bytes: sys.Block;
  #count = 0;

  /** Null where the kernel gives no ring, or not one of this kind. */
  static open(): HeldBuffers | null {
    const setup = sys.allocate(params.size);
    setup.bytes.fill(0);
    const fd = sys.ioUringSetup(1, setup.address);
    if (fd < 0) return null;
    sys.close(fd);
    const at = (offset: number): number => setup.view.getUint32(offset, true);
    const isSingle = (at(params.features) & IORING_FEAT_SINGLE_MMAP) !== 0;
    const fits = at(params.sqOff + 24) + 4 <= PAGE && at(params.cqOff + 20) + 2 * CQE <= PAGE;
    return isSingle && fits ? new HeldBuffers(setup.view) : null;
  }

  private constructor(layout: DataView) {
    this.#layout = layout;
    this.#file = sys.memfdCreate('held', MFD_CLOEXEC);
    sys.ftruncate(this.#file, SCRATCH);
    this.#bytes = sys.map(SCRATCH, this.#file);
  }

  /** Whether there may be one more. */
  get hasRoom(): boolean {
    return this.#count < MOST;
  }

  /** Takes descriptor `fd` of process `pid`, which is in a call: ours, or -errno. */
  take(pid: number, fd: number): number {
    const pidfd = sys.pidfdOpen(pid);
    if (pidfd < 0) return pidfd;
    const taken = sys.pidfdGetfd(pidfd, fd);
    sys.close(pidfd);
    if (taken >= 0) this.#count += 1;
    return taken;
  }

  /** Lets the pages of a ring go. */
  release(ring: number): void {
    // A mapping would hold it as well as a descriptor.
    if (this.#mapped === ring) this.#show(-1);
    // Closing alone ends it some time later.
    sys.ioUringUnregister(ring, IORING_UNREGISTER_BUFFERS);
    sys.close(ring);
    this.#count -= 1;
  }

  /** Copies out of a ring's buffer, which was registered at the addresses around `at`. */
  read(ring: number, at: bigint, into: Uint8Array): boolean {
    for (let done = 0; done < into.length; done += SCRATCH) {
      const piece = into.subarray(done, done + SCRATCH);
      if (!this.#copy(ring, IORING_OP_WRITE_FIXED, at + BigInt(done), piece.length)) return false;
      piece.set(this.#bytes.bytes.subarray(0, piece.length));
    }
    return true;
  }

  write(ring: number, at: bigint, from: Uint8Array): boolean {
    for (let done = 0; done < from.length; done += SCRATCH) {
      const piece = from.subarray(done, done + SCRATCH);
      this.#bytes.bytes.set(piece);
      if (!this.#copy(ring, IORING_OP_READ_FIXED, at + BigInt(done), piece.length)) return false;
    }
    return true;
  }

  close(): void {
    this.#show(-1);
    sys.close(this.#file);
  }

  /** The kernel chooses where a ring is mapped, so no view can be made of it once for all: words are copied. */
  #show(ring: number): boolean {
    if (this.#mapped >= 0) {
      sys.unmap(this.#queuesAt, PAGE);
      sys.unmap(this.#entryAt, PAGE);
    }
    this.#mapped = ring;
    if (ring < 0) return true;
    this.#queuesAt = sys.mapAnywhere(ring, PAGE, 0);
    this.#entryAt = sys.mapAnywhere(ring, PAGE, IORING_OFF_SQES);
    return this.#queuesAt > 0 && this.#entryAt > 0;
  }

  /** Offset in the queues of what the kernel says lies at `field` of the parameters. */
  #at(field: number): number {
    return this.#layout.getUint32(field, true);
  }

  #copy(ring: number, operation: number, at: bigint, length: number): boolean {
    if (this.#mapped !== ring && !this.#show(ring)) {
      this.#show(-1);
      return false;
    }
    const tailAt = this.#at(params.sqOff + 4);
    const [doneHeadAt, doneTailAt] = [this.#at(params.cqOff), this.#at(params.cqOff + 4)];
    sys.memcpy(queues.address, this.#queuesAt, PAGE);
    const head = queues.view.getUint32(doneHeadAt, true);
    entry.bytes.fill(0);
    entry.view.setUint8(0, operation);
    entry.view.setInt32(4, this.#file, true);
    entry.view.setBigUint64(16, at, true);
    entry.view.setUint32(24, length, true);
    sys.memcpy(this.#entryAt, entry.address, SQE);
    this.#put(this.#at(params.sqOff + 24), 0);
    this.#put(tailAt, queues.view.getUint32(tailAt, true) + 1);
    // A signal may end the wait before or after the entry was taken.
    for (let left = 1; queues.view.getUint32(doneTailAt, true) === head;) {
      const taken = sys.ioUringEnter(ring, left, 1, IORING_ENTER_GETEVENTS, 0, 0);
      if (taken < 0 ? taken !== -sys.Errno.EINTR : taken < left) return false;
      if (taken > 0) left = 0;
      sys.memcpy(queues.address, this.#queuesAt, PAGE);
    }
    const mask = queues.view.getUint32(this.#at(params.cqOff + 8), true);
    const done = this.#at(params.cqOff + 20) + CQE * ((head & mask) >>> 0);
    this.#put(doneHeadAt, head + 1);
    return queues.view.getInt32(done + 8, true) === length;
  }

  #put(offset: number, value: number): void {
    word.view.setUint32(0, value >>> 0, true);
    sys.memcpy(this.#queuesAt + offset, word.address, 4);
  }
}

const queues = sys.allocate(PAGE);
const entry = sys.allocate(SQE);
const word = sys.allocate(8);
