/**
 * Where client memory lies in HPA. A GiB of a backing that somebody pins gets a GiB of HPA, so two mappings of
 * one file are one set of frames, and HPA and offset are equal modulo 1 GiB (modulo 1 TiB while there is room).
 * A window is counted by who uses it; it says nothing of which pages are pinned.
 */
import { invariant } from '../base/errno.js';
import type { Backing, DirectView } from './client.js';
import type { Epoch } from './epoch.js';

const SLOT_LG2 = 30n;
const SLOT_BYTES = 1n << SLOT_LG2;
const SLOT_MASK = SLOT_BYTES - 1n;
const LOW_SLOT_MASK = 0x3fff_ffff;
/** High words of HPA are below this. */
const HPA_HI = 1 << 19;
/** Output addresses of the mock unit have 51 bits; one address map serves every unit. */
const SLOTS = 1 << 21;
/** Slots in 1 TiB. The first TiB belongs to tables. */
const BLOCK_SLOTS = 1024;
/** How far apart new runs are placed: a TiB while there are free ones, so that a run can grow in place. */
const SPACINGS = [BLOCK_SLOTS, 32, 1] as const;

/** A piece of HPA. */
export interface HpaRange {
  readonly hpa: bigint;
  /** Bytes. */
  readonly length: bigint;
}

/** A place in client memory. */
export interface BackingPlace {
  readonly backing: Backing;
  readonly offset: bigint;
}

interface Window {
  readonly backing: Backing;
  /** Offset in the backing, in GiB. */
  readonly index: number;
  readonly slot: number;
  uses: number;
  /** The last piece that was reached directly, and where byte 0 of the GiB would be in it. */
  view: DirectView | null;
  shift: number;
}

/** How many bytes of a GiB lie at `at` and after it. */
const roomInSlot = (at: number): number => LOW_SLOT_MASK + 1 - at;

const NOTHING: DirectView = {
  start: 0,
  bytes: new Uint8Array(0),
  words: new Int32Array(0),
  alive: false,
};

export class Windows {
  /** By backing id, then by offset in GiB. */
  readonly #byBacking = new Map<number, Map<number, Window>>();
  /** By slot, in arrays of 1 TiB. */
  readonly #bySlot: ((Window | null)[] | undefined)[] = [];
  /** Taken slots in each group, by spacing. */
  readonly #taken = new Map<number, Uint16Array>(
    SPACINGS.map((spacing) => [spacing, new Uint16Array(SLOTS / spacing)]),
  );
  #live = 0;
  readonly #epoch: Epoch;
  /** The one that {@link find} found last. */
  #last: Window | null = null;
  /** What {@link find} found: the memory, where in it, and how many bytes from there on. */
  found: DirectView = NOTHING;
  foundAt = 0;
  foundRoom = 0;

  /** `epoch` ends whenever a window does. */
  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  /** Windows in use; 0 when nothing leaks. */
  get live(): number {
    return this.#live;
  }

  /**
   * One more use of every window of `[offset, offset + length)`. Returns where the bytes lie, in order, adjacent
   * pieces as one; null when HPA is exhausted, and then nothing has changed.
   */
  acquire(backing: Backing, offset: bigint, length: bigint): HpaRange[] | null {
    const first = Number(offset >> SLOT_LG2);
    const last = Number((offset + length - 1n) >> SLOT_LG2);
    let windows = this.#byBacking.get(backing.id);
    if (windows === undefined) this.#byBacking.set(backing.id, (windows = new Map()));
    const pieces: HpaRange[] = [];
    let pieceSlot = -1;
    let pieceIndex = first;
    let previousSlot = -1;
    for (let index = first; index <= last; index += 1) {
      const window = windows.get(index) ?? this.#open(backing, windows, index, last - index + 1);
      if (window === null) {
        this.#put(backing, windows, first, index - 1);
        return null;
      }
      window.uses += 1;
      if (index !== first && window.slot !== previousSlot + 1) {
        pieces.push(pieceOf(offset, length, pieceIndex, index - 1, pieceSlot));
        pieceIndex = index;
        pieceSlot = -1;
      }
      if (pieceSlot < 0) pieceSlot = window.slot;
      previousSlot = window.slot;
    }
    pieces.push(pieceOf(offset, length, pieceIndex, last, pieceSlot));
    return pieces;
  }

  /** Ends one use that {@link acquire} began over the same range. */
  release(backing: Backing, offset: bigint, length: bigint): void {
    const windows = this.#byBacking.get(backing.id);
    invariant(windows !== undefined, `backing ${backing.id} has no window to release`);
    const last = Number((offset + length - 1n) >> SLOT_LG2);
    this.#put(backing, windows, Number(offset >> SLOT_LG2), last);
  }

  /** Null when that byte has no window. */
  hpaOf(backing: Backing, offset: bigint): bigint | null {
    const window = this.#byBacking.get(backing.id)?.get(Number(offset >> SLOT_LG2));
    if (window === undefined) return null;
    return (BigInt(window.slot) << SLOT_LG2) | (offset & SLOT_MASK);
  }

  #window(slot: number): Window | null {
    if (slot >= SLOTS) return null;
    return this.#bySlot[slot >>> 10]?.[slot & (BLOCK_SLOTS - 1)] ?? null;
  }

  /** What lies at `hpa`, or null. */
  placeOf(hpa: bigint): BackingPlace | null {
    const window = this.#window(Number(hpa >> SLOT_LG2));
    if (window === null) return null;
    return { backing: window.backing, offset: (BigInt(window.index) << SLOT_LG2) | (hpa & SLOT_MASK) };
  }

  isLive(hi: number, lo: number): boolean {
    return hi >>> 0 < HPA_HI && this.#window((hi << 2) | (lo >>> 30))?.backing.isLive === true;
  }

  /** Finds what lies at an HPA, to be reached directly; false where that cannot be. Allocates nothing for a known view. */
  find(hi: number, lo: number): boolean {
    if (hi >>> 0 >= HPA_HI) return false;
    const slot = (hi << 2) | (lo >>> 30);
    let window = this.#last;
    if (window === null || window.slot !== slot) {
      window = this.#window(slot);
      if (window === null) return false;
      this.#last = window;
    }
    const inSlot = lo & LOW_SLOT_MASK;
    let { view } = window;
    if (view === null || !view.alive || (inSlot + window.shift) >>> 0 >= view.bytes.length) {
      view = renewView(window, inSlot);
      if (view === null) return false;
    }
    const at = inSlot + window.shift;
    this.found = view;
    this.foundAt = at;
    this.foundRoom = Math.min(view.bytes.length - at, roomInSlot(inSlot));
    return true;
  }

  #open(backing: Backing, windows: Map<number, Window>, index: number, wanted: number): Window | null {
    const slot = this.#choose(windows, index, wanted);
    if (slot < 0) {
      if (windows.size === 0) this.#byBacking.delete(backing.id);
      return null;
    }
    const window: Window = { backing, index, slot, uses: 0, view: null, shift: 0 };
    windows.set(index, window);
    this.#mark(slot, window);
    return window;
  }

  /** Beside a neighbour of the same backing if that is free, else where `wanted` slots have most room. */
  #choose(windows: Map<number, Window>, index: number, wanted: number): number {
    const below = windows.get(index - 1);
    if (below !== undefined && this.#isFree(below.slot + 1)) return below.slot + 1;
    const above = windows.get(index + 1);
    if (above !== undefined && this.#isFree(above.slot - 1)) return above.slot - 1;
    for (const spacing of SPACINGS) {
      const within = index % spacing;
      const groups = Math.min(Math.ceil((within + wanted) / spacing), SLOTS / spacing);
      const group = this.#emptyGroups(spacing, groups);
      if (group >= 0) return group * spacing + within;
    }
    return -1;
  }

  /** The first of `count` adjacent empty groups, or else the first empty one; -1 when there is none. */
  #emptyGroups(spacing: number, count: number): number {
    const taken = this.#taken.get(spacing)!;
    let single = -1;
    let run = 0;
    for (let group = BLOCK_SLOTS / spacing; group < taken.length; group += 1) {
      run = taken[group] === 0 ? run + 1 : 0;
      if (run === count) return group - count + 1;
      if (run === 1 && single < 0) single = group;
    }
    return single;
  }

  #isFree(slot: number): boolean {
    return slot >= BLOCK_SLOTS && slot < SLOTS && this.#taken.get(1)![slot] === 0;
  }

  #mark(slot: number, window: Window | null): void {
    const change = window === null ? -1 : 1;
    for (const spacing of SPACINGS) {
      const taken = this.#taken.get(spacing)!;
      const group = Math.floor(slot / spacing);
      taken[group] = taken[group]! + change;
    }
    const block = (this.#bySlot[slot >>> 10] ??= Array.from({ length: BLOCK_SLOTS }, () => null));
    block[slot & (BLOCK_SLOTS - 1)] = window;
    this.#live += change;
  }

  #put(backing: Backing, windows: Map<number, Window>, first: number, last: number): void {
    for (let index = first; index <= last; index += 1) {
      const window = windows.get(index);
      invariant(
        window !== undefined && window.uses > 0,
        `GiB ${index} of backing ${backing.id} is not in use`,
      );
      window.uses -= 1;
      if (window.uses > 0) continue;
      windows.delete(index);
      this.#mark(window.slot, null);
      this.#epoch.end();
      if (this.#last === window) this.#last = null;
    }
    if (windows.size > 0 || !this.#byBacking.delete(backing.id)) return;
    this.found = NOTHING;
    backing.unseen?.();
  }
}

/** Asks the backing for a piece around byte `inSlot` of the window; null when it has none to give. */
function renewView(window: Window, inSlot: number): DirectView | null {
  const { backing, index } = window;
  const offset = index * 2 ** 30 + inSlot;
  if (offset > Number.MAX_SAFE_INTEGER) return null;
  window.view = backing.view?.(offset) ?? null;
  if (window.view !== null) window.shift = index * 2 ** 30 - window.view.start;
  return window.view;
}

/** The part of `[offset, offset + length)` that lies in GiB `first`..`last`, which start at `slot`. */
function pieceOf(offset: bigint, length: bigint, first: number, last: number, slot: number): HpaRange {
  const low = BigInt(first) << SLOT_LG2;
  const high = ((BigInt(last) + 1n) << SLOT_LG2) - 1n;
  const rangeLast = offset + length - 1n;
  const pieceStart = offset > low ? offset : low;
  const pieceLast = rangeLast < high ? rangeLast : high;
  return { hpa: (BigInt(slot) << SLOT_LG2) + (pieceStart - low), length: pieceLast - pieceStart + 1n };
}
