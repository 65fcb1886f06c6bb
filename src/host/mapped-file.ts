/**
 * A client's file of shared memory as bytes of our own: mapped in pieces, as far as devices reach it, and only while a
 * device can. A file that is cut short under a mapping is a SIGBUS, so a piece is mapped only if the file is sealed
 * against that or the guard watches it; a page that was lost ends the view, and system calls say what is still there.
 */
import { fileURLToPath } from 'node:url';
import type { DirectView } from '../mem/client.js';
import type { RunList } from '../mem/runs.js';
import { Spares } from './spares.js';
import * as sys from './sys.js';

/** Pieces start at multiples of this, as windows do. */
const PIECE_LG2 = 30;
const PIECE = 2 ** PIECE_LG2;
const LEAST_RESERVATION = 2 ** 21;
const PAGE = 4096;
const TMPFS_MAGIC = 0x01021994;
const F_GETFL = 3;
const F_GET_SEALS = 1034;
const F_SEAL_SHRINK = 2;

const guardPath = fileURLToPath(new URL('../../shim/build/libioasis-guard.so', import.meta.url));
let loadedGuard: sys.Guard | null | undefined;

/** Loaded when the first file is mapped: most runs have none. */
function theGuard(): sys.Guard | null {
  if (loadedGuard === undefined) loadedGuard = sys.loadGuard(guardPath);
  return loadedGuard;
}

const spares = new Spares();

function takeAddresses(length: number): sys.Block | null {
  let size = LEAST_RESERVATION;
  while (size < length) size *= 2;
  return spares.take(size) ?? sys.reserve(size);
}

function giveAddressesBack(block: sys.Block): void {
  sys.unmapAt(block);
  spares.keep(block);
}

/** A piece of a file that is mapped. */
class FileView implements DirectView {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  #isOver = false;
  readonly #block: sys.Block;
  readonly #mover: sys.Guard | null;
  readonly #guard: sys.Guard | null;
  readonly #range: number;

  /** `mover` moves runs; `guard` is the same, or null where no page can be lost. */
  constructor(
    readonly start: number,
    block: sys.Block,
    length: number,
    mover: sys.Guard | null,
    guard: sys.Guard | null,
  ) {
    this.#block = block;
    this.#mover = mover;
    this.bytes = new Uint8Array(block.bytes.buffer, 0, length);
    this.words = new Int32Array(block.bytes.buffer, 0, length >>> 2);
    this.#guard = guard;
    this.#range = guard === null ? -1 : guard.add(block.address, pagesOf(length));
  }

  /** False: pages of it could be lost, and nobody would survive it. */
  get isGuarded(): boolean {
    return this.#range >= 0;
  }

  get alive(): boolean {
    return !this.#isOver && (this.#guard === null || this.#guard.marks[this.#range] === 0);
  }

  gather(runs: RunList, into: Uint8Array, at: number): boolean {
    const mover = this.#mover;
    if (mover === null) return false;
    this.#order(mover, sys.ORDER_FROM, runs);
    mover.order[sys.ORDER_AMOUNT] = runs.count;
    mover.order[sys.ORDER_AT] = at;
    return mover.gather(into) === 1;
  }

  scatter(runs: RunList, from: Uint8Array, at: number): boolean {
    const mover = this.#mover;
    if (mover === null) return false;
    this.#order(mover, sys.ORDER_TO, runs);
    mover.order[sys.ORDER_AMOUNT] = runs.count;
    mover.order[sys.ORDER_AT] = at;
    return mover.scatter(from) === 1;
  }

  copyRuns(runs: RunList, target: DirectView, targetRuns: RunList): boolean {
    const mover = this.#mover;
    if (mover === null || !(target instanceof FileView)) return false;
    this.#order(mover, sys.ORDER_FROM, runs);
    target.#order(mover, sys.ORDER_TO, targetRuns);
    mover.order[sys.ORDER_AMOUNT] = targetRuns.bytes;
    return mover.copy() === 1;
  }

  /**
   * Says which runs are at one side of the next move. Doubles go into the order alone: one that is handed on may be an
   * object each time.
   */
  #order({ order, addressOf }: sys.Guard, side: number, runs: RunList): void {
    if (runs.address === 0) runs.address = addressOf(runs.words);
    order[side + sys.SIDE_BASE] = this.#block.address;
    order[side + sys.SIDE_HPA] = runs.words[0]! * 2 ** 32 + ((runs.words[1]! & -PIECE) >>> 0);
    order[side + sys.SIDE_LENGTH] = this.bytes.length;
    order[side + sys.SIDE_RUNS] = runs.address;
  }

  end(): void {
    this.#isOver = true;
    giveAddressesBack(this.#block);
    if (this.#range >= 0) this.#guard!.remove(this.#range);
  }
}

const pagesOf = (length: number): number => Math.ceil(length / PAGE) * PAGE;

export class MappedFile {
  readonly #fd: number;
  /** By number of the piece. */
  readonly #pieces = new Map<number, FileView>();
  #isMappable: boolean | null = null;

  /** `fd` stays open as long as this is used. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The piece around `offset`; null where the file ends before, or cannot be mapped. */
  view(offset: number): DirectView | null {
    const index = Math.floor(offset / PIECE);
    const known = this.#pieces.get(index);
    if (known !== undefined && known.alive && offset < known.start + known.bytes.length) return known;
    this.#isMappable ??= this.#canMap();
    if (!this.#isMappable) return null;
    const size = Number(sys.fstat(this.#fd)?.size ?? 0n);
    if (offset >= size) return null;
    known?.end();
    this.#pieces.delete(index);
    const view = this.#map(index * PIECE, Math.min(PIECE, size - index * PIECE));
    if (view !== null) this.#pieces.set(index, view);
    return view;
  }

  /** Nothing is mapped any more. */
  end(): void {
    for (const piece of this.#pieces.values()) piece.end();
    this.#pieces.clear();
  }

  /** Shared memory that we may write: nothing else stays as it is while a device has it. */
  #canMap(): boolean {
    if ((sys.fcntl(this.#fd, F_GETFL, 0) & sys.O_ACCMODE) !== sys.O_RDWR) return false;
    return sys.fileSystem(this.#fd) === TMPFS_MAGIC;
  }

  #map(start: number, length: number): FileView | null {
    const seals = sys.fcntl(this.#fd, F_GET_SEALS, 0);
    const isSealed = seals >= 0 && (seals & F_SEAL_SHRINK) !== 0;
    const mover = theGuard();
    const guard = isSealed ? null : mover;
    if (!isSealed && guard === null) return null;
    const block = takeAddresses(length);
    if (block === null) return null;
    if (!sys.mapAt(block, pagesOf(length), this.#fd, start)) {
      giveAddressesBack(block);
      return null;
    }
    const view = new FileView(start, block, length, mover, guard);
    if (isSealed || view.isGuarded) return view;
    view.end();
    return null;
  }
}
