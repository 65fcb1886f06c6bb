/**
 * The arguments of the ioctls that programs make a million times, as the bytes that were copied in: a u64 is two int32
 * words, and a bigint of it is made where somebody needs one, mostly for a refusal. The answer is the same bytes, as in
 * Linux.
 *
 * Invariant: one of each serves all calls of that ioctl, because calls run one after the other.
 */
import { highWord, isBelow, joinWords, lastHigh, lastLow, lowWord, sumHigh } from '../base/words.js';
import type { Struct } from '../wire/struct.js';
import {
  IOMMU_IOAS_MAP_FIXED_IOVA,
  IOMMU_IOAS_MAP_READABLE,
  IOMMU_IOAS_MAP_WRITEABLE,
  iommu_ioas_map,
  iommu_ioas_unmap,
} from '../wire/uapi/iommufd.gen.js';
import { IOMMU_READ, IOMMU_WRITE } from '../hw/unit.js';

/** Where a field begins, in words. Of a u64 the low word comes first. */
function wordOf<T>(struct: Struct<T>, field: keyof T & string): number {
  return struct.fields[field].offset >> 2;
}

const MAP_FLAGS = wordOf(iommu_ioas_map, 'flags');
const MAP_RESERVED = wordOf(iommu_ioas_map, '__reserved');
const MAP_ADDRESS = wordOf(iommu_ioas_map, 'user_va');

interface Range {
  readonly ioas_id: number;
  readonly iova: bigint;
  readonly length: bigint;
}

/** What asks for a range of one IOAS. */
abstract class RangeRequest {
  readonly bytes: Uint8Array;
  protected readonly words: Int32Array;
  readonly #ioas: number;
  readonly #iova: number;
  readonly #length: number;

  constructor(struct: Struct<Range>) {
    const bytes = new Uint8Array(struct.size);
    this.bytes = bytes;
    this.words = new Int32Array(bytes.buffer);
    this.#ioas = wordOf(struct, 'ioas_id');
    this.#iova = wordOf(struct, 'iova');
    this.#length = wordOf(struct, 'length');
  }

  get ioas_id(): number {
    return this.words[this.#ioas]! >>> 0;
  }

  get iovaHi(): number {
    return this.words[this.#iova + 1]!;
  }

  get iovaLo(): number {
    return this.words[this.#iova]!;
  }

  get iova(): bigint {
    return joinWords(this.iovaHi, this.iovaLo);
  }

  set iova(at: bigint) {
    this.words[this.#iova] = lowWord(at);
    this.words[this.#iova + 1] = highWord(at);
  }

  get lengthHi(): number {
    return this.words[this.#length + 1]!;
  }

  get lengthLo(): number {
    return this.words[this.#length]!;
  }

  get length(): bigint {
    return joinWords(this.lengthHi, this.lengthLo);
  }

  set length(bytes: bigint) {
    this.words[this.#length] = lowWord(bytes);
    this.words[this.#length + 1] = highWord(bytes);
  }

  get isEmpty(): boolean {
    return (this.lengthHi | this.lengthLo) === 0;
  }

  /** The last iova, inclusive; of a range that {@link isEmpty} there is none. */
  get lastHi(): number {
    return lastHigh(this.iovaHi, this.iovaLo, this.lengthHi, this.lengthLo);
  }

  get lastLo(): number {
    return lastLow(this.iovaLo, this.lengthLo);
  }

  get last(): bigint {
    return joinWords(this.lastHi, this.lastLo);
  }

  /** The range passes 2^64-1. */
  get wraps(): boolean {
    return isBelow(this.lastHi, this.lastLo, this.iovaHi, this.iovaLo);
  }

  /** One of the two is U64_MAX, which Linux takes for a sum that has passed it. */
  get overflows(): boolean {
    return (this.iovaHi & this.iovaLo) === -1 || (this.lengthHi & this.lengthLo) === -1;
  }
}

/** What is asked of an address space when something is to be mapped: struct iommu_ioas_map. */
export class MapRequest extends RangeRequest {
  constructor() {
    super(iommu_ioas_map);
  }

  /** For whoever asks with another struct; `flags` are that of this one. */
  static of(flags: number, address: bigint, length: bigint, iova: bigint): MapRequest {
    const request = new MapRequest();
    const fields = { flags, user_va: address, length, iova };
    iommu_ioas_map.encode(iommu_ioas_map.create(fields), request.bytes);
    return request;
  }

  get flags(): number {
    return this.words[MAP_FLAGS]! >>> 0;
  }

  get __reserved(): number {
    return this.words[MAP_RESERVED]! >>> 0;
  }

  /** False: the place is chosen. */
  get isFixed(): boolean {
    return (this.words[MAP_FLAGS]! & IOMMU_IOAS_MAP_FIXED_IOVA) !== 0;
  }

  get prot(): number {
    const flags = this.words[MAP_FLAGS]!;
    return (
      ((flags & IOMMU_IOAS_MAP_READABLE) !== 0 ? IOMMU_READ : 0) |
      ((flags & IOMMU_IOAS_MAP_WRITEABLE) !== 0 ? IOMMU_WRITE : 0)
    );
  }

  get addressHi(): number {
    return this.words[MAP_ADDRESS + 1]!;
  }

  get addressLo(): number {
    return this.words[MAP_ADDRESS]!;
  }

  /** User address or file offset of the first byte. */
  get address(): bigint {
    return joinWords(this.addressHi, this.addressLo);
  }

  /** The address just past the end passes 2^64-1. */
  get addressWraps(): boolean {
    const { addressHi, addressLo, lengthHi, lengthLo } = this;
    const endHi = sumHigh(addressHi, addressLo, lengthHi, lengthLo);
    return isBelow(endHi, (addressLo + lengthLo) | 0, addressHi, addressLo);
  }
}

/** struct iommu_ioas_unmap. */
export class UnmapRequest extends RangeRequest {
  constructor() {
    super(iommu_ioas_unmap);
  }

  /** IOVA 0 and the largest length. */
  get isAll(): boolean {
    return (this.iovaHi | this.iovaLo) === 0 && (this.lengthHi & this.lengthLo) === -1;
  }
}
