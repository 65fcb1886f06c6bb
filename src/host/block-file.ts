/**
 * Blocks of a device in a file: what was flushed is there after whatever ends this program. The file stays open as long
 * as the machine is there.
 */
import type { BlockStore } from '../machine/load.js';
import * as sys from './sys.js';

/** Bytes that are moved at once. */
const ROOM = 1 << 18;
const BLOCK = 512;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/** Bytes on their way: between two calls nobody looks at them. */
let shared: sys.Block | null = null;
const room = (): sys.Block => (shared ??= sys.map(ROOM));

class BlockFile implements BlockStore {
  readonly #fd: number;
  readonly #room = room();

  constructor(
    fd: number,
    readonly size: number,
  ) {
    this.#fd = fd;
  }

  read(offset: number, length: number): Uint8Array | null {
    const count = Math.min(length, ROOM);
    const { address, bytes } = this.#room;
    for (let done = 0; done < count;) {
      const got = sys.preadAt(this.#fd, address + done, count - done, offset + done);
      if (got < 0) return null;
      // The file was cut short: there is a hole.
      if (got === 0) bytes.fill(0, done, count);
      done += got === 0 ? count - done : got;
    }
    return bytes.subarray(0, count);
  }

  room(_offset: number, length: number): Uint8Array {
    return this.#room.bytes.subarray(0, Math.min(length, ROOM));
  }

  write(offset: number, { length }: Uint8Array): boolean {
    for (let done = 0; done < length;) {
      const put = sys.pwriteAt(this.#fd, this.#room.address + done, length - done, offset + done);
      if (put <= 0) return false;
      done += put;
    }
    return true;
  }

  /** By a hole, where the file system knows them. */
  zero(offset: number, length: number): boolean {
    if (length === 0) return true;
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (sys.fallocate(this.#fd, mode, offset, length) === 0) return true;
    this.#room.bytes.fill(0);
    for (let done = 0; done < length; done += ROOM) {
      const bytes = this.room(offset + done, Math.min(ROOM, length - done));
      if (!this.write(offset + done, bytes)) return false;
    }
    return true;
  }

  flush(): boolean {
    return sys.fdatasync(this.#fd) === 0;
  }
}

const CREATED = 0o600;
const SEEK_END = 2;

/** Opens `file`, and makes it `size` bytes long if it is shorter; null: it is as long as it should be. */
export function openBlocks(file: string, size: number | null): BlockStore {
  const flags = sys.O_RDWR | sys.O_CLOEXEC | (size === null ? 0 : sys.O_CREAT);
  const fd = sys.open(file, flags, CREATED);
  if (fd < 0) throw new Error(`${file} cannot be opened for reading and writing: errno ${-fd}`);
  const length = sys.lseek(fd, 0, SEEK_END);
  const wanted = size ?? length - (length % BLOCK);
  const isLong = length >= wanted || sys.ftruncate(fd, wanted) === 0;
  if (!isLong || wanted < BLOCK) throw new Error(`${file} has ${length} bytes, and cannot have ${wanted}`);
  return new BlockFile(fd, wanted);
}
