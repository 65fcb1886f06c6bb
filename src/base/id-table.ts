/**
 * Object ids, the lowest free one first: 1 up to 2^31-1, as Linux hands them out. An id is free, reserved (taken,
 * but nobody sees anything there), published (stands for an object) or a tombstone (never used again).
 *
 * Invariant: bit i of level 0 says that id i + 1 is free; bit i of a level above, that word i below has a free id.
 */
import { invariant } from './errno.js';

const FREE = 0;
const RESERVED = 1;
const PUBLISHED = 2;
const TOMBSTONE = 3;

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

export class IdTable<T> {
  readonly #lastId: number;
  /** The highest level is one word; every level has one bit a word of the level below. */
  #levels: Int32Array[] = [];
  #states = new Uint8Array(0);
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
    if (this.#levels.at(-1)![0] === 0) {
      const now = this.#levels[0]!.length;
      const most = Math.ceil(this.#lastId / FAN);
      if (now === most) return null;
      this.#resize(Math.min(now * 2, most));
    }
    let index = 0;
    for (let level = this.#levels.length - 1; level >= 0; level--) {
      index = index * FAN + lowestBit(this.#levels[level]![index]!);
    }
    this.#take(index);
    const id = index + 1;
    this.#states[id] = RESERVED;
    this.#reserved += 1;
    return id;
  }

  /** Makes `object` visible under a reserved id. */
  publish(id: number, object: T): void {
    this.#leave(id, RESERVED);
    this.#states[id] = PUBLISHED;
    this.#objects[id] = object;
    this.#reserved -= 1;
    this.#published += 1;
  }

  /** Gives a reserved id back. */
  abort(id: number): void {
    this.#leave(id, RESERVED);
    this.#reserved -= 1;
    this.#giveBack(id);
  }

  /** The published object; undefined for whatever else the id is. Any number may be asked for. */
  get(id: number): T | undefined {
    return this.#objects[id];
  }

  /** Removes a published object; its id is free again. */
  erase(id: number): void {
    this.#leave(id, PUBLISHED);
    this.#published -= 1;
    this.#giveBack(id);
  }

  /** Removes a published object; its id is never used again. */
  entomb(id: number): void {
    this.#leave(id, PUBLISHED);
    this.#published -= 1;
    this.#objects[id] = undefined;
    this.#states[id] = TOMBSTONE;
  }

  /** The published objects with their ids, in the order of ids. Objects may be removed meanwhile. */
  *entries(): Generator<[number, T]> {
    for (let id = 1; id < this.#objects.length; id++) {
      if (this.#states[id] === PUBLISHED) yield [id, this.#objects[id] as T];
    }
  }

  /** The published objects in the order of ids. Objects may be removed meanwhile. */
  *values(): Generator<T> {
    for (const [, object] of this.entries()) yield object;
  }

  #leave(id: number, state: number): void {
    invariant(this.#states[id] === state, 'id table: the id is not in the state that this needs');
  }

  #giveBack(id: number): void {
    this.#objects[id] = undefined;
    this.#states[id] = FREE;
    let index = id - 1;
    for (const level of this.#levels) {
      const at = index >> FAN_LG2;
      const before = level[at]!;
      level[at] = before | (1 << index);
      if (before !== 0) return;
      index = at;
    }
  }

  #take(first: number): void {
    let index = first;
    for (const level of this.#levels) {
      const at = index >> FAN_LG2;
      const after = level[at]! & ~(1 << index);
      level[at] = after;
      if (after !== 0) return;
      index = at;
    }
  }

  /** Grows level 0 to `count` words, the new ids free, and builds the levels above anew. */
  #resize(count: number): void {
    const old = this.#levels[0] ?? new Int32Array(0);
    let level = new Int32Array(count);
    level.set(old);
    for (let at = old.length; at < count; at++) level[at] = ones(this.#lastId - at * FAN);
    this.#levels = [level];
    while (level.length > 1) {
      const above = new Int32Array(Math.ceil(level.length / FAN));
      for (let at = 0; at < level.length; at++) {
        if (level[at] !== 0) above[at >> FAN_LG2]! |= 1 << at;
      }
      this.#levels.push(above);
      level = above;
    }
    const states = new Uint8Array(count * FAN + 1);
    states.set(this.#states);
    this.#states = states;
    while (this.#objects.length < states.length) this.#objects.push(undefined);
  }
}
