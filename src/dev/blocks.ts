/**
 * Storage behind a device. The core has memory; the host has files. Ranges are inside and multiples of a block. What
 * fails is a value: the medium is not there any more, or is full.
 */

export interface BlockStore {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  /** The bytes from `offset` on, at least one and at most `length` of them, as they are until the next call; null: unreadable. */
  read(offset: number, length: number): Uint8Array | null;
  /** Where to put at most `length` bytes that are to be written at `offset`; {@link write} then takes them. */
  room(offset: number, length: number): Uint8Array;
  /** `bytes` is what {@link room} has given, filled. */
  write(offset: number, bytes: Uint8Array): boolean;
  /** These bytes read 0 from now on; they need not take room any more. */
  zero(offset: number, length: number): boolean;
  /** What was written survives whatever ends this program. */
  flush(): boolean;
}

/** Makes the store of a file, of `size` bytes; null: as many as it has. */
export type OpenBlocks = (file: string, size: number | null) => BlockStore;

const CHUNK = 1 << 18;
const nothing = new Uint8Array(CHUNK);

/** Blocks in memory, which takes room only where something was written. */
export class MemoryBlocks implements BlockStore {
  readonly #chunks = new Map<number, Uint8Array>();

  constructor(readonly size: number) {}

  read(offset: number, length: number): Uint8Array {
    const chunk = this.#chunks.get(Math.floor(offset / CHUNK)) ?? nothing;
    const start = offset % CHUNK;
    return chunk.subarray(start, Math.min(CHUNK, start + length));
  }

  room(offset: number, length: number): Uint8Array {
    const index = Math.floor(offset / CHUNK);
    let chunk = this.#chunks.get(index);
    if (chunk === undefined) this.#chunks.set(index, (chunk = new Uint8Array(CHUNK)));
    const start = offset % CHUNK;
    return chunk.subarray(start, Math.min(CHUNK, start + length));
  }

  /** It is there already. */
  write(): boolean {
    return true;
  }

  /** Takes as long as there are chunks, however much is asked for. */
  zero(offset: number, length: number): boolean {
    const first = Math.floor(offset / CHUNK);
    const last = Math.floor((offset + length - 1) / CHUNK);
    if (length === 0) return true;
    if (last - first >= this.#chunks.size) {
      for (const index of this.#chunks.keys()) this.#zeroIn(index, offset, length);
    } else {
      for (let index = first; index <= last; index++) this.#zeroIn(index, offset, length);
    }
    return true;
  }

  /** The part of the range that is in chunk `index`. */
  #zeroIn(index: number, offset: number, length: number): void {
    const start = Math.max(0, offset - index * CHUNK);
    const end = Math.min(CHUNK, offset + length - index * CHUNK);
    if (start >= end) return;
    if (start === 0 && end === CHUNK) this.#chunks.delete(index);
    else this.#chunks.get(index)?.fill(0, start, end);
  }

  /** It survives as long as it can. */
  flush(): boolean {
    return true;
  }
}
