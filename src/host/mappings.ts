/** Engine memory that clients map: a memfd for each piece, and how many mappings of it live. */
import type { SharedPages } from '../mem/task.js';
import * as sys from './sys.js';

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;

/** Memory of {@link allocateShared}, by its buffer. */
const ownMemory = new Map<ArrayBufferLike, number>();

function makeMemfd(length: number): number {
  const fd = sys.memfdCreate('ioasis', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return fd;
  sys.ftruncate(fd, length);
  // Nobody can make it shorter under our own mapping, which would kill us.
  sys.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
  return fd;
}

/** Zeroed memory that clients can map: stores of either side are seen by the other. For an engine's SharedPages. */
export function allocateShared(length: number): Uint8Array {
  const fd = makeMemfd(length);
  if (fd < 0) throw new Error(`memfd_create: errno ${-fd}`);
  const { bytes } = sys.map(length, fd);
  ownMemory.set(bytes.buffer, fd);
  return bytes;
}

/** Pages that at least one client has mapped at some time. The id cannot be guessed by a client that has not. */
export class Mapping {
  readonly id = 1 + Math.floor(Math.random() * 2 ** 48);
  readonly pages: SharedPages;

  constructor(pages: SharedPages) {
    this.pages = pages;
  }
}

/** A descriptor to map `pages` by, and the offset in it. The caller closes it if it is `own`. */
export function descriptorOf(pages: SharedPages): { fd: number; offset: number; own: boolean } {
  const { bytes } = pages;
  const fd = ownMemory.get(bytes.buffer);
  if (fd !== undefined) return { fd, offset: bytes.byteOffset, own: false };
  // Memory of the engine's own that only it writes: the client gets what is in it now.
  const copy = makeMemfd(bytes.length);
  if (copy >= 0) sys.pwrite(copy, bytes, bytes.length, 0);
  return { fd: copy, offset: 0, own: true };
}
