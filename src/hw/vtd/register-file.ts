/**
 * Registers as a table: where, how wide, what they are after a reset, which bits software can write, which it clears by
 * writing 1. Everything else is read-only, and what the table does not have reads 0. The same for every unit.
 */
import { Bug } from '../../base/errno.js';
import { highWord, joinWords, lowWord } from '../../base/words.js';
import type { Mmio } from '../../bus/mmio.js';

export interface RegisterSpec {
  readonly offset: number;
  /** Bits. */
  readonly width: 32 | 64;
  readonly reset?: bigint;
  /** Bits that take what is written. */
  readonly writable?: bigint;
  /** Bits that a written 1 clears. */
  readonly clearedByOne?: bigint;
}

/** Called after a write, with the low word of what was written; of a 64-bit register also after either half. */
export type RegisterHook = (written: number) => void;

/** Rows of the table with the same name pattern: fault records. */
export type RegisterTable = Readonly<Record<string, RegisterSpec>>;

export class RegisterFile implements Mmio {
  readonly table: RegisterTable;
  readonly #words: Int32Array;
  readonly #writable: Int32Array;
  readonly #cleared: Int32Array;
  readonly #hooks: (RegisterHook | undefined)[];

  /** `bytes`: the size of the window. */
  constructor(table: RegisterTable, bytes: number, hooks: Readonly<Record<string, RegisterHook>>) {
    this.table = table;
    this.#words = new Int32Array(bytes >> 2);
    this.#writable = this.#words.slice();
    this.#cleared = this.#words.slice();
    this.#hooks = Array.from(this.#words, () => undefined);
    for (const [name, spec] of Object.entries(table)) {
      setWords(this.#words, spec, spec.reset ?? 0n);
      setWords(this.#writable, spec, spec.writable ?? 0n);
      setWords(this.#cleared, spec, spec.clearedByOne ?? 0n);
      const hook = hooks[name];
      if (hook === undefined) continue;
      this.#hooks[spec.offset >> 2] = hook;
      if (spec.width === 64) this.#hooks[(spec.offset >> 2) + 1] = hook;
    }
    for (const name of Object.keys(hooks)) if (!(name in table)) throw new Bug(`no register ${name}`);
  }

  /** A register, or the low half of one, as int32: for the unit itself. */
  get(offset: number): number {
    return this.#words[offset >> 2]!;
  }

  /** Sets what software reads; no hook. */
  set(offset: number, value: number): void {
    this.#words[offset >> 2] = value;
  }

  read32(offset: number): number {
    // UNSPECIFIED (11.2): accesses that are not aligned. Chosen: the word that the address lies in.
    return (this.#words[offset >> 2] ?? 0) >>> 0;
  }

  read64(offset: number): bigint {
    return joinWords(this.read32(offset + 4), this.read32(offset));
  }

  write32(offset: number, value: number): void {
    this.#store(offset >> 2, value);
    this.#hooks[offset >> 2]?.(value);
  }

  write64(offset: number, value: bigint): void {
    const at = offset >> 2;
    const hook = this.#hooks[at];
    this.#store(at, lowWord(value));
    if (hook === this.#hooks[at + 1]) {
      this.#store(at + 1, highWord(value));
      hook?.(lowWord(value));
      return;
    }
    // Two registers in one write.
    hook?.(lowWord(value));
    this.write32(offset + 4, highWord(value));
  }

  #store(at: number, value: number): void {
    if (at >= this.#words.length) return;
    const writable = this.#writable[at]!;
    const old = this.#words[at]! & ~(value & this.#cleared[at]!);
    this.#words[at] = (old & ~writable) | (value & writable);
  }
}

function setWords(words: Int32Array, { offset, width }: RegisterSpec, value: bigint): void {
  words[offset >> 2] = lowWord(value);
  if (width === 64) words[(offset >> 2) + 1] = highWord(value);
}
