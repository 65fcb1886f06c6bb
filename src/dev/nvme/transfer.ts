/**
 * The memory of a command: pieces of the address space, found by following PRPs or an SGL through the unit, then read or
 * written from the first to the last byte.
 * Invariant: however the lists lead, what is followed is bounded by the length of the data or by {@link MOST_PIECES}.
 */
import { carry } from '../../base/words.js';
import type { DmaPort } from '../../bus/dma-port.js';
import { DATA_POINTER, PSDT_PRP, PSDT_RESERVED, type Command } from './command.js';
import { PAGE } from './registers.js';
import * as status from './status.js';
import { followSgl, MOST_PIECES, type Pieces } from './sgl.js';

/** Bytes of a piece that is joined of several: sums of two stay small integers. */
const LONGEST_JOINED = 1 << 29;
const PRP_BYTES = 8;

export class Transfer implements Pieces {
  /** Bytes that the pieces have together. */
  length = 0;
  readonly #hi = new Int32Array(MOST_PIECES);
  readonly #lo = new Int32Array(MOST_PIECES);
  readonly #lengths = new Uint32Array(MOST_PIECES);
  /** 1: what would go there goes nowhere. */
  readonly #isBucket = new Uint8Array(MOST_PIECES);
  #count = 0;
  /** The piece in hand, and how much of it is used up. */
  #piece = 0;
  #used = 0;
  readonly #list = new Uint8Array(PAGE);
  readonly #entries = new DataView(this.#list.buffer);

  constructor(readonly port: DmaPort) {}

  /** Finds the pieces of `length` bytes of data of `command`. */
  resolve(command: Command, length: number): number {
    this.#count = 0;
    this.length = 0;
    this.#piece = 0;
    this.#used = 0;
    if (length === 0) return status.SUCCESS;
    if (command.psdt === PSDT_PRP) return this.#followPrps(command, length);
    if (command.psdt === PSDT_RESERVED) return status.INVALID_FIELD;
    return followSgl(command, this, length);
  }

  /** One more piece; false: there are too many. What follows the one before is joined to it. */
  add(hi: number, lo: number, length: number, isBucket: boolean): boolean {
    this.length += length;
    const last = this.#count - 1;
    if (last >= 0 && this.#isBucket[last] === 0 && !isBucket) {
      const lastLo = this.#lo[last]!;
      const before = this.#lengths[last]!;
      const follows =
        ((lastLo + before) | 0) === lo && ((this.#hi[last]! + carry(lastLo, before)) | 0) === hi;
      if (follows && before + length <= LONGEST_JOINED) {
        this.#lengths[last]! += length;
        return true;
      }
    }
    if (this.#count === MOST_PIECES) return false;
    const at = this.#count++;
    this.#hi[at] = hi;
    this.#lo[at] = lo;
    this.#lengths[at] = length;
    this.#isBucket[at] = isBucket ? 1 : 0;
    return true;
  }

  /** NVM Express Base 1.4, 4.3. */
  #followPrps({ view }: Command, length: number): number {
    const lo = view.getInt32(DATA_POINTER, true);
    const hi = view.getInt32(DATA_POINTER + 4, true);
    if ((lo & 3) !== 0) return status.PRP_OFFSET_INVALID;
    const first = Math.min(length, PAGE - (lo & (PAGE - 1)));
    this.add(hi, lo, first, false);
    const left = length - first;
    if (left === 0) return status.SUCCESS;
    const lo2 = view.getInt32(DATA_POINTER + 8, true);
    const hi2 = view.getInt32(DATA_POINTER + 12, true);
    if (left > PAGE) return this.#followList(hi2, lo2, left);
    if ((lo2 & (PAGE - 1)) !== 0) return status.PRP_OFFSET_INVALID;
    this.add(hi2, lo2, left, false);
    return status.SUCCESS;
  }

  /** The last entry of a list's page leads to the next list, if more pages are needed. */
  #followList(hi: number, lo: number, length: number): number {
    if ((lo & 7) !== 0) return status.PRP_OFFSET_INVALID;
    let left = length;
    let listHi = hi;
    let listLo = lo;
    for (let isFirst = true; left > 0; isFirst = false) {
      const offset = listLo & (PAGE - 1);
      // Only where the list begins may be inside a page, so that each further list has room for data.
      if (!isFirst && offset !== 0) return status.PRP_OFFSET_INVALID;
      const pages = Math.ceil(left / PAGE);
      const room = (PAGE - offset) / PRP_BYTES;
      const isLast = pages <= room;
      const count = isLast ? pages : room;
      if (!this.port.read(listHi, listLo, this.#list.subarray(0, count * PRP_BYTES)))
        return status.DATA_TRANSFER_ERROR;
      const data = isLast ? count : count - 1;
      for (let i = 0; i < data; i++) {
        const pageLo = this.#entries.getInt32(i * PRP_BYTES, true);
        if ((pageLo & (PAGE - 1)) !== 0) return status.PRP_OFFSET_INVALID;
        const bytes = Math.min(left, PAGE);
        this.add(this.#entries.getInt32(i * PRP_BYTES + 4, true), pageLo, bytes, false);
        left -= bytes;
      }
      listLo = this.#entries.getInt32(data * PRP_BYTES, true);
      listHi = this.#entries.getInt32(data * PRP_BYTES + 4, true);
    }
    return status.SUCCESS;
  }

  /** Writes `bytes`, all the data of `command`. */
  give(command: Command, bytes: Uint8Array): number {
    const failure = this.resolve(command, bytes.length);
    if (failure !== status.SUCCESS) return failure;
    return this.toMemory(bytes) ? status.SUCCESS : status.DATA_TRANSFER_ERROR;
  }

  /** Fills `bytes` with all the data of `command`. */
  take(command: Command, bytes: Uint8Array): number {
    const failure = this.resolve(command, bytes.length);
    if (failure !== status.SUCCESS) return failure;
    return this.fromMemory(bytes) ? status.SUCCESS : status.DATA_TRANSFER_ERROR;
  }

  /** Writes `bytes` to where the last call left off. False: a request was refused. */
  toMemory(bytes: Uint8Array): boolean {
    return this.#move(bytes, true);
  }

  /** Fills `bytes` from there. */
  fromMemory(bytes: Uint8Array): boolean {
    return this.#move(bytes, false);
  }

  #move(bytes: Uint8Array, isToMemory: boolean): boolean {
    let done = 0;
    while (done < bytes.length) {
      const piece = this.#piece;
      const length = Math.min(bytes.length - done, this.#lengths[piece]! - this.#used);
      if (length > 0 && this.#isBucket[piece] === 0) {
        const part = length === bytes.length ? bytes : bytes.subarray(done, done + length);
        const lo = (this.#lo[piece]! + this.#used) | 0;
        const hi = (this.#hi[piece]! + carry(this.#lo[piece]!, this.#used)) | 0;
        if (!(isToMemory ? this.port.write(hi, lo, part) : this.port.read(hi, lo, part))) return false;
      }
      done += length;
      this.#used += length;
      if (this.#used < this.#lengths[piece]!) continue;
      this.#piece += 1;
      this.#used = 0;
    }
    return true;
  }
}
