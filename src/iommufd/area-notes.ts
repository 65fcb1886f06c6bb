/**
 * What is remembered of user memory behind an area that nobody has come to use: an address and an {@link Origin}, in
 * four words that lie together, because each of a million notes is far away from the last and costs a cache miss.
 *
 * Invariant: an origin counts the notes that name it, and is forgotten with the last of them.
 */
import { highWord, joinWords, lowWord } from '../base/words.js';
import type { Payer } from './accounting.js';
import type { AccountMode } from './context.js';

/** What notes that were taken one after the other have in common. */
class Origin {
  notes = 0;

  constructor(
    /** Where it is kept. */
    readonly index: number,
    readonly payer: Payer,
    readonly mode: AccountMode,
    readonly prot: number,
  ) {}
}

// The words of a note. The last one links what is free.
const HIGH = 0;
const LOW = 1;
const ORIGIN = 2;
const NEXT = 3;
const NOTE = 4;

const NONE = -1;
const FIRST_NOTES = 8;

export class AreaNotes {
  #words = new Int32Array(0);
  #used = 0;
  #free = NONE;
  readonly #origins: (Origin | undefined)[] = [];
  readonly #freeOrigins: number[] = [];
  #last: Origin | null = null;

  /** Takes a note, which lasts until it is dropped; returns its number. */
  take(address: bigint, payer: Payer, mode: AccountMode, prot: number): number {
    const note = this.#alloc();
    const origin = this.#originOf(payer, mode, prot);
    origin.notes += 1;
    const words = this.#words;
    const at = note * NOTE;
    words[at + HIGH] = highWord(address);
    words[at + LOW] = lowWord(address);
    words[at + ORIGIN] = origin.index;
    return note;
  }

  addressOf(note: number): bigint {
    const at = note * NOTE;
    return joinWords(this.#words[at + HIGH]!, this.#words[at + LOW]!);
  }

  originOf(note: number): Origin {
    return this.#origins[this.#words[note * NOTE + ORIGIN]!]!;
  }

  drop(note: number): void {
    const origin = this.originOf(note);
    origin.notes -= 1;
    if (origin.notes === 0) this.#forget(origin);
    this.#words[note * NOTE + NEXT] = this.#free;
    this.#free = note;
  }

  #alloc(): number {
    const note = this.#free;
    if (note !== NONE) {
      this.#free = this.#words[note * NOTE + NEXT]!;
      return note;
    }
    if (this.#used * NOTE === this.#words.length) {
      const before = this.#words;
      this.#words = new Int32Array(Math.max(FIRST_NOTES * NOTE, 2 * before.length));
      this.#words.set(before);
    }
    return this.#used++;
  }

  #originOf(payer: Payer, mode: AccountMode, prot: number): Origin {
    const last = this.#last;
    if (last !== null && last.payer === payer && last.mode === mode && last.prot === prot) return last;
    const index = this.#freeOrigins.pop() ?? this.#origins.length;
    return (this.#last = this.#origins[index] = new Origin(index, payer, mode, prot));
  }

  #forget(origin: Origin): void {
    this.#origins[origin.index] = undefined;
    this.#freeOrigins.push(origin.index);
    if (this.#last === origin) this.#last = null;
  }
}
