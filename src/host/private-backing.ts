/**
 * Private memory of an mm, by its address. Linux keeps a pinned page whatever its program does; here the address leads
 * to what lies there now, unless the pages are held: then they stay what they were when they were pinned. Stores go
 * through as a device's do, whatever mprotect says later.
 */
import type { Backing } from '../mem/client.js';
import type { ProcessSpace } from './address-space.js';
import type { HeldBuffers } from './held-buffers.js';
import * as sys from './sys.js';

let lastId = 0;
/** Ids of backings of every kind. */
export const newBackingId = (): number => ++lastId;

/** How private memory is kept for devices. */
export interface HoldPolicy {
  /** Null: it is found by its address. */
  readonly buffers: HeldBuffers | null;
  /** A device has met pinned memory that is not there any more. */
  lost(at: bigint, alive: boolean): void;
}

/** The longest buffer that a ring takes. */
const LONGEST = 1n << 30n;

/** In place of a ring: these pages are found by their address although others are held. */
const NOT_HELD = -1;

/** Pages `first..last` (addresses, inclusive) that are pinned; kept only where something holds them. */
interface Hold {
  readonly first: bigint;
  readonly last: bigint;
  readonly ring: number;
  /** Pins that overlap it. Each is covered by the holds there were when it was made, so later ones do not overlap. */
  uses: number;
  /** The address leads elsewhere now. */
  cut: boolean;
}

export class PrivateBacking implements Backing {
  readonly id = newBackingId();
  readonly #space: ProcessSpace;
  readonly #policy: HoldPolicy;
  #memFd: number;
  /** Ascending, disjoint. */
  #holds: Hold[] = [];

  /** `memFd`: /proc/PID/mem, which belongs to the mm's object; -1 where it may not be opened. */
  constructor(space: ProcessSpace, memFd: number, policy: HoldPolicy) {
    this.#space = space;
    this.#memFd = memFd;
    this.#policy = policy;
  }

  /** Whether it keeps anything. */
  get isBusy(): boolean {
    return this.#holds.length > 0;
  }

  /** Whether all of `first..last` is held and still lies at its address. */
  shows(first: bigint, last: bigint): boolean {
    let from = first;
    for (const hold of this.#holds) {
      if (hold.last < from || hold.cut) continue;
      if (hold.first > from || from > last) break;
      from = hold.last + 1n;
    }
    return from > last;
  }

  /** Whether something of `first..last` is held here that lies there no more. */
  isStale(first: bigint, last: bigint): boolean {
    return this.#holds.some((hold) => hold.cut && hold.first <= last && hold.last >= first);
  }

  /** The program has unmapped or moved `first..last`, or started something else in its place. */
  cut(first: bigint, last: bigint): void {
    for (const hold of this.#holds) if (hold.first <= last && hold.last >= first) hold.cut = true;
  }

  hold(offset: bigint, length: bigint): boolean {
    if (this.#policy.buffers === null) return true;
    const last = offset + length - 1n;
    for (let from = offset; from <= last;) {
      const next = this.#holds.find((hold) => hold.last >= from);
      if (next !== undefined && next.first <= from) {
        next.uses += 1;
        from = next.last + 1n;
        continue;
      }
      const end = min(min(last, from + LONGEST - 1n), next === undefined ? last : next.first - 1n);
      if (!this.#register(from, end)) {
        this.#release(offset, from - 1n);
        return false;
      }
      from = end + 1n;
    }
    return true;
  }

  unhold(offset: bigint, length: bigint): void {
    this.#release(offset, offset + length - 1n);
  }

  read(offset: bigint, into: Uint8Array): boolean {
    return this.#copy(offset, into, false);
  }

  write(offset: bigint, from: Uint8Array): boolean {
    return this.#copy(offset, from, true);
  }

  /** The mm is gone, and its descriptor with it. */
  retire(): void {
    this.#memFd = -1;
  }

  /** False is ENOMEM. What cannot be held for another reason, read-only memory for one, is found by its address. */
  #register(first: bigint, last: bigint): boolean {
    const found = this.#space.holdPages(this.#policy.buffers, first, last - first + 1n);
    if (found === -sys.Errno.ENOMEM) return false;
    const ring = found < 0 ? NOT_HELD : found;
    const at = this.#holds.findIndex((hold) => hold.first > last);
    this.#holds.splice(at < 0 ? this.#holds.length : at, 0, { first, last, ring, uses: 1, cut: false });
    return true;
  }

  #release(first: bigint, last: bigint): void {
    let ended = false;
    for (const hold of this.#holds) {
      if (hold.first > last || hold.last < first) continue;
      hold.uses -= 1;
      if (hold.uses > 0) continue;
      if (hold.ring !== NOT_HELD) this.#letGo(hold);
      ended = true;
    }
    if (ended) this.#holds = this.#holds.filter(({ uses }) => uses > 0);
  }

  #letGo({ ring, first, last }: Hold): void {
    this.#policy.buffers?.release(ring);
    this.#space.heldPages -= Number((last - first + 1n) >> 12n);
  }

  #copy(offset: bigint, bytes: Uint8Array, writing: boolean): boolean {
    if (this.#holds.length === 0) return this.#copyByAddress(offset, bytes, writing);
    for (let done = 0; done < bytes.length;) {
      const at = offset + BigInt(done);
      const next = this.#holds.find((hold) => hold.last >= at);
      const isInside = next !== undefined && next.first <= at;
      const room = next === undefined ? LONGEST : isInside ? next.last - at + 1n : next.first - at;
      const piece = bytes.subarray(done, done + Number(min(room, LONGEST)));
      const ring = isInside ? next.ring : NOT_HELD;
      const copied =
        ring === NOT_HELD
          ? this.#copyByAddress(at, piece, writing)
          : this.#copyHeld(ring, at, piece, writing);
      if (!copied) return false;
      done += piece.length;
    }
    return true;
  }

  #copyHeld(ring: number, at: bigint, bytes: Uint8Array, writing: boolean): boolean {
    const { buffers } = this.#policy;
    return buffers !== null && (writing ? buffers.write(ring, at, bytes) : buffers.read(ring, at, bytes));
  }

  #copyByAddress(at: bigint, bytes: Uint8Array, writing: boolean): boolean {
    if (this.#memFd < 0) {
      if (writing ? this.#space.write(at, bytes) : this.#space.read(at, bytes)) return true;
    } else {
      const transfer = writing ? sys.pwrite : sys.pread;
      if (transfer(this.#memFd, bytes, bytes.length, at) === bytes.length) return true;
    }
    if (!this.#space.isMapped(at, bytes.length)) this.#policy.lost(at, this.#space.isAlive);
    return false;
  }
}

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b);
