/**
 * A circular buffer in memory that a program maps: one side advances `head`, the other `tail`; one entry stays free, so
 * that equal means empty. Whatever the program writes into the header, this side touches nothing but whole entries, and
 * keeps its own index to itself.
 */

/** The capacity is one less. */
export const ENTRIES = 512;
/** A header has it to itself. */
export const PAGE = 4096;
/** Words of a header: what the program writes, and what this side writes. */
const THEIRS = 0;
const ENTRY_SIZE = 1;
const NB_ENTRIES = 2;
const OFFSET = 3;
const OURS = 4;
const COUNT = 5;

/** A page of header, then the entries. */
export const ringBytes = (entrySize: number): number => PAGE + ENTRIES * entrySize;

export class Ring {
  readonly #header: Uint32Array;
  readonly #entries: Uint8Array;
  #index = 0;
  #count = 0;

  /** `memory` from byte `at`: a page of header, then the entries. */
  constructor(
    memory: Uint8Array,
    at: number,
    readonly entrySize: number,
  ) {
    this.#header = new Uint32Array(memory.buffer, memory.byteOffset + at, COUNT + 1);
    this.#entries = memory.subarray(at + PAGE, at + ringBytes(entrySize));
    this.#header[ENTRY_SIZE] = entrySize;
    this.#header[NB_ENTRIES] = ENTRIES;
    this.#header[OFFSET] = PAGE;
  }

  /** Where the next entry goes; null when the ring is full, or the program's index is none. */
  freeEntry(): Uint8Array | null {
    const tail = Atomics.load(this.#header, THEIRS);
    const next = (this.#index + 1) % ENTRIES;
    return tail >= ENTRIES || next === tail ? null : this.#entryAt(this.#index);
  }

  /** The entry of {@link freeEntry} is whole. */
  produced(): void {
    this.#advance();
  }

  /** A copy of the next entry that the program has written; null: there is none. */
  nextEntry(): Uint8Array | null {
    const head = Atomics.load(this.#header, THEIRS);
    return head >= ENTRIES || head === this.#index ? null : this.#entryAt(this.#index).slice();
  }

  /** That of {@link nextEntry} is done with. */
  consumed(): void {
    this.#advance();
  }

  /** The program's index, where it says so by a call. */
  set theirs(index: number) {
    Atomics.store(this.#header, THEIRS, index);
  }

  /** One more that was lost, or refused. */
  count(): void {
    this.#count = (this.#count + 1) >>> 0;
    Atomics.store(this.#header, COUNT, this.#count);
  }

  #advance(): void {
    this.#index = (this.#index + 1) % ENTRIES;
    Atomics.store(this.#header, OURS, this.#index);
  }

  #entryAt(index: number): Uint8Array {
    return this.#entries.subarray(index * this.entrySize, (index + 1) * this.entrySize);
  }
}
