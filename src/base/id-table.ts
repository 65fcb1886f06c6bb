/**
 * Object ids, the lowest free one first: 1 up to 2^31-1, as Linux hands them out. An id is free, reserved (taken,
 * but nobody sees anything there), published (stands for an object) or a tombstone (never used again).
 *
 * Invariant: bit i of the free bits says that id i + 1 is free; bit i of the words' bits, that word i below has a
 * free id; bit i of the groups' bits, that word i of those is not 0. The last are looked through from the first on:
 * one word for 32,768 ids. The height is fixed so that the cost hardly depends on how many ids there are.
 * States are bits too, so that a step touches little memory: an id that has none of the three is a tombstone.
 */
import { invariant } from './errno.js';

/** Ids of a word, and words below a word. */
const FAN_LG2 = 5;
const FAN = 1 << FAN_LG2;

/** The highest id, as in `xa_limit_31b`. */
const LAST_ID = 0x7fffffff;

/** The lowest bit that is set; `word` is not 0. */
function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** A word whose lowest `bits` (0 to 32) are set. */
function ones(bits: number): number {
  return bits >= FAN ? -1 : (1 << bits) - 1;
}

/** Ends the state that `bits` stand for; a bug unless the id is in it. */
function leave(bits: Int32Array, index: number): void {
  const at = index >> FAN_LG2;
  const word = bits[at] ?? 0;
  invariant((word & (1 << index)) !== 0, 'id table: the id is not in the state that this step needs');
  bits[at] = word & ~(1 << index);
}

/** A longer copy. */
function grown(bits: Int32Array, length: number): Int32Array<ArrayBuffer> {
  const copy = new Int32Array(length);
  copy.set(bits);
  return copy;
}

export class IdTable<T> {
  readonly #lastId: number;
  #freeBits = new Int32Array(0);
  #wordBits = new Int32Array(0);
  #groupBits = new Int32Array(0);
  #reservedBits = new Int32Array(0);
  #publishedBits = new Int32Array(0);
  /** By id - 1. */
  #objects: (T | undefined)[] = [];
  #published = 0;
  #reserved = 0;

  /** `lastId` is the highest id that may be given. */
  constructor(lastId = LAST_ID) {
    this.#lastId = lastId;
    this.#resize(1);
  }

  /** Published objects. */
  get size(): number {
    return this.#published;
  }

  /** Nothing published and nothing reserved; tombstones do not count. */
  get empty(): boolean {
    return this.#published === 0 && this.#reserved === 0;
  }

  /** Takes the lowest free id; null when every id is taken. */
  reserve(): number | null {
    let top = 0;
    while (top < this.#groupBits.length && this.#groupBits[top] === 0) top += 1;
    if (top === this.#groupBits.length) {
      const now = this.#freeBits.length;
      const most = Math.ceil(this.#lastId / FAN);
      if (now === most) return null;
      this.#resize(Math.min(now * 2, most));
      return this.reserve();
    }
    const group = top * FAN + lowestBit(this.#groupBits[top]!);
    const at = group * FAN + lowestBit(this.#wordBits[group]!);
    const index = at * FAN + lowestBit(this.#freeBits[at]!);
    if ((this.#freeBits[at]! &= ~(1 << index)) === 0) {
      if ((this.#wordBits[group]! &= ~(1 << at)) === 0) this.#groupBits[top]! &= ~(1 << group);
    }
    this.#reservedBits[index >> FAN_LG2]! |= 1 << index;
    this.#reserved += 1;
    return index + 1;
  }

  /** Makes `object` visible under a reserved id. */
  publish(id: number, object: T): void {
    const index = this.#endReservation(id);
    this.#publishedBits[index >> FAN_LG2]! |= 1 << index;
    this.#objects[index] = object;
    this.#published += 1;
  }

  /** Makes another object visible under a published id. */
  replace(id: number, object: T): void {
    invariant(this.#objects[id - 1] !== undefined, 'id table: nothing is published under the id');
    this.#objects[id - 1] = object;
  }

  /** Gives a reserved id back. */
  abort(id: number): void {
    this.#giveBack(this.#endReservation(id));
  }

  /** The published object; undefined for whatever else the id is. Any number may be asked for. */
  get(id: number): T | undefined {
    return this.#objects[id - 1];
  }

  /** Removes a published object; its id is free again. */
  erase(id: number): void {
    this.#giveBack(this.#unpublish(id));
  }

  /** Removes a published object; its id is never used again. */
  entomb(id: number): void {
    this.#unpublish(id);
  }

  /** The published objects with their ids, in the order of ids. Objects may be removed meanwhile. */
  *entries(): Generator<[number, T]> {
    for (let at = 0; at < this.#publishedBits.length; at++) {
      for (let left = this.#publishedBits[at]!; left !== 0; left &= left - 1) {
        const bit = lowestBit(left);
        // Asked again, as it may have gone since the word was read.
        if ((this.#publishedBits[at]! & (1 << bit)) === 0) continue;
        const index = at * FAN + bit;
        yield [index + 1, this.#objects[index] as T];
      }
    }
  }

  /** The published objects in the order of ids. Objects may be removed meanwhile. */
  *values(): Generator<T> {
    for (const [, object] of this.entries()) yield object;
  }

  #endReservation(id: number): number {
    leave(this.#reservedBits, id - 1);
    this.#reserved -= 1;
    return id - 1;
  }

  #unpublish(id: number): number {
    leave(this.#publishedBits, id - 1);
    this.#objects[id - 1] = undefined;
    this.#published -= 1;
    return id - 1;
  }

  #giveBack(index: number): void {
    const at = index >> FAN_LG2;
    const group = at >> FAN_LG2;
    this.#freeBits[at]! |= 1 << index;
    this.#wordBits[group]! |= 1 << at;
    this.#groupBits[group >> FAN_LG2]! |= 1 << group;
  }

  /** Grows to `count` words of ids, the new ones free. */
  #resize(count: number): void {
    const before = this.#freeBits.length;
    this.#freeBits = grown(this.#freeBits, count);
    this.#wordBits = grown(this.#wordBits, Math.ceil(count / FAN));
    this.#groupBits = grown(this.#groupBits, Math.ceil(this.#wordBits.length / FAN));
    this.#reservedBits = grown(this.#reservedBits, count);
    this.#publishedBits = grown(this.#publishedBits, count);
    while (this.#objects.length < count * FAN) this.#objects.push(undefined);
    for (let at = before; at < count; at++) {
      this.#freeBits[at] = ones(this.#lastId - at * FAN);
      this.#wordBits[at >> FAN_LG2]! |= 1 << at;
      this.#groupBits[at >> (2 * FAN_LG2)]! |= 1 << (at >> FAN_LG2);
    }
  }
}
