/**
 * The run that one side of a port was led to last, as bytes at hand: what goes on in it is neither translated nor looked up
 * again while the epoch lasts. Only what a unit has cached is held, so nothing is reached that a hit would not reach. It
 * grows as a device goes on through adjacent memory.
 */
import type { DirectView } from '../mem/client.js';
import type { PhysicalMemory } from '../mem/physical.js';
import { RUN, type RunList } from '../mem/runs.js';
import { NO_PASID } from './dma.js';

const { R_LO } = RUN;
/** A run lies below a multiple of this, so that its addresses have one high word. */
const LOW_WORDS = 2 ** 32;
const NOTHING = new Uint8Array(0);

export class HeldRun {
  /** Where the run lies; what was asked for last begins at index {@link at}. */
  bytes: Uint8Array = NOTHING;
  at = 0;
  #view: DirectView | null = null;
  /** Index of its first byte. */
  #first = 0;
  /** Its first address, its bytes (none as yet: not even 0 are there), for what it was translated, and when. */
  #hi = 0;
  #lo = 0;
  #length = -1;
  #access = 0;
  #pasid = NO_PASID;
  #epoch = 0;
  readonly #memory: PhysicalMemory;

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
  }

  /** Whether `length` bytes from an address on are here. After they were moved, {@link alive} says whether they still are. */
  has(hi: number, lo: number, length: number, access: number, pasid: number): boolean {
    const within = (lo - this.#lo) | 0;
    if (
      within < 0 ||
      within > this.#length - length ||
      hi !== this.#hi ||
      access !== this.#access ||
      pasid !== this.#pasid ||
      this.#epoch !== this.#memory.epoch.count ||
      // What lies where a view was may be somebody else's by now, or nobody's.
      !this.#view!.alive
    ) {
      return false;
    }
    this.at = this.#first + within;
    return true;
  }

  get alive(): boolean {
    return this.#view!.alive;
  }

  /** Holds the only one of `runs`, which were cached, and which that many bytes from an address on led to. */
  keep(hi: number, lo: number, access: number, pasid: number, { words, bytes }: RunList): void {
    const memory = this.#memory;
    const view = memory.direct(words[0]!, words[R_LO]!);
    if (view === null || bytes > memory.directRoom || (lo >>> 0) + bytes > LOW_WORDS) return;
    const at = memory.directAt;
    if (this.#isNext(hi, lo, access, pasid, view, at)) {
      this.#length += bytes;
      return;
    }
    this.bytes = view.bytes;
    this.#view = view;
    this.#first = at;
    this.#hi = hi;
    this.#lo = lo;
    this.#length = bytes;
    this.#access = access;
    this.#pasid = pasid;
    this.#epoch = memory.epoch.count;
  }

  #isNext(hi: number, lo: number, access: number, pasid: number, view: DirectView, at: number): boolean {
    return (
      view === this.#view &&
      at === this.#first + this.#length &&
      lo >>> 0 === (this.#lo >>> 0) + this.#length &&
      hi === this.#hi &&
      access === this.#access &&
      pasid === this.#pasid &&
      this.#epoch === this.#memory.epoch.count
    );
  }
}
