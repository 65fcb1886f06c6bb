/**
 * Memory for what hardware structures are made of: page tables, context tables, queues. It is the low part of
 * HPA, cut into 4 KiB frames (frame = HPA >> 12), held as flat int32 words so that a 64-bit entry is two loads.
 * Frame 0 is never given out, so HPA 0 never is a table. A block is zero when it is handed out.
 */
import type { Injector } from '../base/inject.js';
import { Bug, invariant } from '../base/errno.js';
import type { Epoch } from './epoch.js';

const FRAME_LG2 = 12;
const FRAME_WORDS_LG2 = FRAME_LG2 - 2;
/** A chunk is 4 MiB: the largest block, and the step in which the store grows. */
const CHUNK_FRAMES_LG2 = 10;
const CHUNK_FRAMES = 1 << CHUNK_FRAMES_LG2;
export const CHUNK_BYTES = CHUNK_FRAMES << FRAME_LG2;
const MAX_LG2 = FRAME_LG2 + CHUNK_FRAMES_LG2;
/** 64 GiB of tables. */
const MAX_FRAMES = 1 << 24;
/** The high word of every table's HPA is below this. */
export const TABLE_SPACE_HI = MAX_FRAMES >>> (32 - FRAME_LG2);
/** 0xfee00000..0xfeefffff is where interrupts are written to, on every x86 machine: no memory can lie there. */
const INTERRUPT_FIRST_FRAME = 0xfee00;
const INTERRUPT_LAST_FRAME = 0xfeeff;
/** Arenas share generation counters when there are more of them than this; then a check is made in vain. */
const GENERATIONS = 1 << 16;
/** `#owner` of a frame that no live block starts at. */
const NOBODY = 0;

/** A limit that several arenas share, in bytes of tables. */
export class TableQuota {
  usedBytes = 0;
  constructor(public maxBytes: number) {}
}

/**
 * The chunk that was looked at last, and which of its frames have been given out. Frames nearly always lie where the one
 * before did, so who follows tables compares here first, and then no load waits for the list of chunks.
 */
export class NearChunk {
  words: Int32Array = new Int32Array(0);
  first = 0;
  frames = 0;
}

export class TableStore {
  readonly #injector: Injector;
  readonly #epoch: Epoch;
  readonly #chunks: Int32Array[] = [];
  /** Counts {@link bump}: while it stands still, no table has changed. */
  moves = 0;
  /** By arena, modulo their number: how often its tables changed. */
  readonly generations = new Int32Array(GENERATIONS);
  /** By frame: which arena holds the block that starts here (inside a block: minus the way back), and its size. */
  #owner = new Int32Array(CHUNK_FRAMES);
  #sizeLg2 = new Uint8Array(CHUNK_FRAMES);
  /** By first frame of a live block: its neighbours in the list of its arena. */
  #next = new Int32Array(CHUNK_FRAMES);
  #previous = new Int32Array(CHUNK_FRAMES);
  /** Freed blocks by `sizeLg2 - 12`; a block is never split or merged again. */
  readonly #free: number[][] = Array.from({ length: CHUNK_FRAMES_LG2 + 1 }, () => []);
  /** First frame that was never given out. */
  #fresh = 1;
  #lastOwner = NOBODY;
  #liveBlocks = 0;
  #liveBytes = 0;

  /** `epoch` ends whenever a table changes. */
  constructor(injector: Injector, epoch: Epoch) {
    this.#injector = injector;
    this.#epoch = epoch;
  }

  readonly near = new NearChunk();

  /** Blocks that somebody holds; 0 when nothing leaks. */
  get liveBlocks(): number {
    return this.#liveBlocks;
  }

  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** Opens a set of blocks that are freed together. */
  openArena(quota: TableQuota | null = null): TableArena {
    this.#lastOwner += 1;
    return new TableArena(this, this.#lastOwner, quota);
  }

  /** The words that hold `frame`, from index {@link wordOf}. Null when that frame was never given out. */
  wordsOf(frame: number): Int32Array | null {
    if (frame <= 0 || frame >= this.#fresh) return null;
    return this.#chunks[frame >>> CHUNK_FRAMES_LG2]!;
  }

  /** Makes the chunk of `frame` the near one; false when that frame was never given out. */
  approach(frame: number): boolean {
    if (frame <= 0 || frame >= this.#fresh) return false;
    const chunk = frame >>> CHUNK_FRAMES_LG2;
    const { near } = this;
    near.words = this.#chunks[chunk]!;
    near.first = Math.max(1, chunk << CHUNK_FRAMES_LG2);
    near.frames = Math.min(this.#fresh, (chunk + 1) << CHUNK_FRAMES_LG2) - near.first;
    return true;
  }

  /** Notes that an entry of one of the arena's tables, which somebody may have cached, is no longer what it was. */
  bump(owner: number): void {
    const slot = owner & (GENERATIONS - 1);
    this.generations[slot] = this.generations[slot]! + 1;
    this.moves = (this.moves + 1) | 0;
    this.#epoch.end();
  }

  /** {@link bump} for the arena that `frame` belongs to. */
  bumpFrame(frame: number): void {
    this.bump(this.ownerOf(frame));
  }

  /** Index in {@link generations} of the arena of `frame`; 0 when it is nobody's. */
  slotOf(frame: number): number {
    return this.ownerOf(frame) & (GENERATIONS - 1);
  }

  /** The same for the table at an HPA, which may be no table of ioasis. */
  slotAt(hi: number, lo: number): number {
    return hi >>> 0 < TABLE_SPACE_HI ? this.slotOf((hi << 20) | (lo >>> 12)) : 0;
  }

  /** The arena that holds `frame`; 0 when it is nobody's. */
  ownerOf(frame: number): number {
    if (frame <= 0 || frame >= this.#fresh) return NOBODY;
    const owner = this.#owner[frame]!;
    return owner >= 0 ? owner : this.#owner[frame + owner]!;
  }

  /** Index in {@link wordsOf} of the first word of `frame`. */
  wordOf(frame: number): number {
    return (frame & (CHUNK_FRAMES - 1)) << FRAME_WORDS_LG2;
  }

  /** First frame of a block of `1 << sizeLg2` zeroed bytes, aligned to its size; 0 when there is none to be had. */
  allocate(owner: number, sizeLg2: number, head: number): number {
    invariant(sizeLg2 >= FRAME_LG2 && sizeLg2 <= MAX_LG2, `no table of 2^${sizeLg2} bytes`);
    if (this.#injector.point('fail_page_alloc', 'page table')) return 0;
    const order = sizeLg2 - FRAME_LG2;
    const reused = this.#free[order]!.pop();
    const frame = reused ?? this.#carve(order);
    if (frame === 0) return 0;
    if (reused !== undefined) {
      const at = this.wordOf(frame);
      this.wordsOf(frame)!.fill(0, at, at + (1 << (sizeLg2 - 2)));
    }
    this.#owner[frame] = owner;
    for (let back = 1; back < 1 << order; back += 1) this.#owner[frame + back] = -back;
    this.#sizeLg2[frame] = sizeLg2;
    this.#next[frame] = head;
    this.#previous[frame] = 0;
    if (head !== 0) this.#previous[head] = frame;
    this.#liveBlocks += 1;
    this.#liveBytes += 2 ** sizeLg2;
    return frame;
  }

  /**
   * Takes back the block that starts at `frame`, unless `owner` has none there: the number may come out of an
   * entry that somebody else wrote. Returns the block's size in bytes, or 0.
   */
  free(owner: number, frame: number): number {
    if (frame <= 0 || frame >= this.#fresh || this.#owner[frame] !== owner) return 0;
    const sizeLg2 = this.#sizeLg2[frame]!;
    const next = this.#next[frame]!;
    const previous = this.#previous[frame]!;
    if (next !== 0) this.#previous[next] = previous;
    if (previous !== 0) this.#next[previous] = next;
    this.#owner.fill(NOBODY, frame, frame + (1 << (sizeLg2 - FRAME_LG2)));
    this.#sizeLg2[frame] = 0;
    this.bump(owner);
    this.#free[sizeLg2 - FRAME_LG2]!.push(frame);
    this.#liveBlocks -= 1;
    this.#liveBytes -= 2 ** sizeLg2;
    return 2 ** sizeLg2;
  }

  /** The block after `frame` in its arena's list; 0 ends it. */
  nextOf(frame: number): number {
    return this.#next[frame]!;
  }

  /** Never given out frames, aligned; what alignment skips becomes free single frames. */
  #carve(order: number): number {
    let start = (this.#fresh + (1 << order) - 1) & -(1 << order);
    if (start <= INTERRUPT_LAST_FRAME && start + (1 << order) > INTERRUPT_FIRST_FRAME) {
      start = (INTERRUPT_LAST_FRAME + (1 << order)) & -(1 << order);
    }
    const next = start + (1 << order);
    if (next > MAX_FRAMES) return 0;
    while (this.#chunks.length << CHUNK_FRAMES_LG2 < next) {
      this.#chunks.push(new Int32Array(1 << (CHUNK_FRAMES_LG2 + FRAME_WORDS_LG2)));
    }
    this.#growFrames(this.#chunks.length << CHUNK_FRAMES_LG2);
    for (let frame = this.#fresh; frame < start; frame += 1) {
      if (frame < INTERRUPT_FIRST_FRAME || frame > INTERRUPT_LAST_FRAME) this.#free[0]!.push(frame);
    }
    this.#fresh = next;
    return start;
  }

  #growFrames(needed: number): void {
    if (needed <= this.#owner.length) return;
    const length = Math.max(needed, this.#owner.length * 2);
    this.#owner = grown(this.#owner, new Int32Array(length));
    this.#next = grown(this.#next, new Int32Array(length));
    this.#previous = grown(this.#previous, new Int32Array(length));
    this.#sizeLg2 = grown(this.#sizeLg2, new Uint8Array(length));
  }
}

function grown<T extends Int32Array | Uint8Array>(from: T, into: T): T {
  into.set(from);
  return into;
}

/**
 * The tables of one owner. They go back one by one or all at once, and what an entry says about them is never
 * believed: only a block of this arena is freed.
 */
export class TableArena {
  readonly #store: TableStore;
  readonly #id: number;
  readonly #quota: TableQuota | null;
  #head = 0;
  #tables = 0;
  #closed = false;

  constructor(store: TableStore, id: number, quota: TableQuota | null) {
    this.#store = store;
    this.#id = id;
    this.#quota = quota;
  }

  /** Blocks held. */
  get tables(): number {
    return this.#tables;
  }

  /** Notes that an entry which was present has been changed or cleared, for caches that still have it. */
  bump(): void {
    this.#store.bump(this.#id);
  }

  /** First frame of a zeroed block of `1 << sizeLg2` bytes; 0 is ENOMEM (quota, injection, or none left). */
  allocate(sizeLg2: number): number {
    if (this.#closed) throw new Bug('table allocated in an arena that was released');
    const bytes = 2 ** sizeLg2;
    const quota = this.#quota;
    if (quota !== null && quota.usedBytes + bytes > quota.maxBytes) return 0;
    const frame = this.#store.allocate(this.#id, sizeLg2, this.#head);
    if (frame === 0) return 0;
    this.#head = frame;
    this.#tables += 1;
    if (quota !== null) quota.usedBytes += bytes;
    return frame;
  }

  /** Frees the block that starts at `frame`; false when this arena has none there. */
  free(frame: number): boolean {
    const next = frame === this.#head ? this.#store.nextOf(frame) : this.#head;
    const bytes = this.#store.free(this.#id, frame);
    if (bytes === 0) return false;
    this.#head = next;
    this.#tables -= 1;
    if (this.#quota !== null) this.#quota.usedBytes -= bytes;
    return true;
  }

  /** Frees every block. The arena takes no more. */
  release(): void {
    while (this.#head !== 0) this.free(this.#head);
    this.#closed = true;
  }
}
