/** One number of a C struct at a time: little endian, whatever the host's own byte order. */

/** How the bytes of one element are read. */
export type Scalar = 'u8' | 'u16' | 'u32' | 's32' | 'u64';

/** The least significant byte of a Uint32Array comes first here, or last. */
const littleEndianHost = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
const low = littleEndianHost ? 0 : 1;
const high = 1 - low;
/** A u64 passes through here: two words on one side, one bigint on the other. A third of the time of arithmetic. */
const words = new Uint32Array(2);
const wide = new BigUint64Array(words.buffer);

function word(from: Uint8Array, at: number): number {
  return (
    (from[at] as number) |
    ((from[at + 1] as number) << 8) |
    ((from[at + 2] as number) << 16) |
    ((from[at + 3] as number) << 24)
  );
}

function putWord(value: number, into: Uint8Array, at: number): void {
  into[at] = value;
  into[at + 1] = value >>> 8;
  into[at + 2] = value >>> 16;
  into[at + 3] = value >>> 24;
}

/** Readers, by kind. */
export const get = {
  u8: (from: Uint8Array, at: number): number => from[at] as number,
  u16: (from: Uint8Array, at: number): number => (from[at] as number) | ((from[at + 1] as number) << 8),
  u32: (from: Uint8Array, at: number): number => word(from, at) >>> 0,
  s32: word,
  u64(from: Uint8Array, at: number): bigint {
    words[low] = word(from, at);
    words[high] = word(from, at + 4);
    return wide[0] as bigint;
  },
} as const;

/** Writers, by kind. Each cuts the value to its width. */
export const put = {
  u8(value: number, into: Uint8Array, at: number): void {
    into[at] = value;
  },
  u16(value: number, into: Uint8Array, at: number): void {
    into[at] = value;
    into[at + 1] = value >>> 8;
  },
  u32: putWord,
  s32: putWord,
  u64(value: bigint, into: Uint8Array, at: number): void {
    wide[0] = value;
    putWord(words[low] as number, into, at);
    putWord(words[high] as number, into, at + 4);
  },
} as const;
