/** Engine memory that clients map: a memfd for each piece, and how many mappings of it live. */
import type { SharedPages } from '../mem/task.js';
import * as sys from './sys.js';
import { forgetDeviceMemory, noteDeviceMemory } from './device-memory.js';
import { Spares } from './spares.js';
import type { Token } from './tokens.js';

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const F_SEAL_FUTURE_WRITE = 16;

/** Memory of {@link allocateShared}, by its buffer. */
const ownMemory = new Map<ArrayBufferLike, { readonly block: sys.Block; readonly fd: number }>();
const spares = new Spares();
const most = sys.mostDescriptors();

/** Part of our descriptors that memory does not take: clients need some to come to us. */
const KEPT_PART = 4;

/** A memfd of `length` zero bytes, for good; or -errno. */
export function makeMemfd(length: number): number {
  const fd = sys.memfdCreate('ioasis', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return fd;
  sys.ftruncate(fd, length);
  // Nobody can make it shorter under our own mapping, which would kill us.
  sys.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
  return fd;
}

/**
 * Zeroed memory that clients can map, a multiple of the page size: stores of either side are seen by the other. For
 * an engine's SharedPages; {@link freeShared} takes it back. Null when there is no descriptor or no mapping for it.
 */
export function allocateShared(length: number): Uint8Array | null {
  const fd = makeMemfd(length);
  if (fd < 0) return null;
  // The lowest that is free: that many are in use.
  const isSpare = fd < most - Math.floor(most / KEPT_PART);
  const block = isSpare ? mapAgain(length, fd) : null;
  if (block === null) {
    sys.close(fd);
    return null;
  }
  ownMemory.set(block.bytes.buffer, { block, fd });
  return block.bytes;
}

/** Maps `fd`, at an address that {@link unmap} gave back if there is one. Null: the system does not let us. */
export function mapAgain(length: number, fd: number): sys.Block | null {
  const old = spares.take(length);
  if (old === undefined) return sys.tryMap(length, fd);
  if (sys.remap(old, fd)) return old;
  spares.keep(old);
  return null;
}

/** Takes the memory away from `block`, which here reads as zero from now on. */
export function unmap(block: sys.Block): void {
  // Memory that could not be taken away is still somebody's: nobody else may get its address.
  if (sys.remap(block, -1)) spares.keep(block);
}

/** Lets memory of {@link allocateShared} go. Clients that have it mapped keep it; here it reads as zero. */
export function freeShared(bytes: Uint8Array): void {
  const own = ownMemory.get(bytes.buffer);
  if (own === undefined) return;
  ownMemory.delete(bytes.buffer);
  unmap(own.block);
  forgetDeviceMemory(own.fd);
  sys.close(own.fd);
}

/** Pages that at least one client has mapped at some time. The id cannot be guessed by a client that has not. */
export class Mapping {
  readonly id = 1 + Math.floor(Math.random() * 2 ** 48);
  /** What takes stores, if they are registers. */
  readonly store: SharedPages['store'];
  readonly length: number;
  /** The file that was mapped: it stays open as long as the mapping. */
  readonly token: Token;
  /** Live mappings of it, in all clients. */
  count = 0;
  readonly #pages: SharedPages;

  constructor(token: Token, pages: SharedPages) {
    this.token = token;
    this.store = pages.store;
    this.length = pages.bytes.length;
    this.#pages = pages;
  }

  opened(): void {
    this.count += 1;
    this.token.mappings += 1;
    this.#pages.opened();
  }

  closed(): void {
    this.count -= 1;
    this.token.mappings -= 1;
    this.#pages.closed();
  }
}

/** Memory of the engine's that clients have mapped: what they share, until the engine says that it is gone. */
const handedOut = new WeakMap<SharedPages, number>();

/** A descriptor to map `pages` by, and the offset in it; negative for -errno. */
export function descriptorOf(pages: SharedPages): { fd: number; offset: number } {
  const { bytes } = pages;
  const known = ownMemory.get(bytes.buffer);
  if (known !== undefined) {
    // Registers are ours to write: no client can map them otherwise than to load from them.
    if (pages.store !== undefined) sys.fcntl(known.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
    noteDeviceMemory(known.fd, bytes.byteOffset, pages);
    return { fd: known.fd, offset: bytes.byteOffset };
  }
  const shared = handedOut.get(pages);
  if (shared !== undefined) return { fd: shared, offset: 0 };
  // Only clients write this memory: they start from what is in it now.
  const memfd = makeMemfd(bytes.length);
  if (memfd < 0) return { fd: memfd, offset: 0 };
  sys.pwrite(memfd, bytes, bytes.length, 0);
  handedOut.set(pages, memfd);
  pages.onGone = () => {
    handedOut.delete(pages);
    sys.close(memfd);
  };
  return { fd: memfd, offset: 0 };
}
