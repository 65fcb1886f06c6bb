/** A file of the engine's that is text with positions, as an attribute in /proc or /sys is: all but what a write does. */
import { refuse, type Rule } from '../base/errno.js';
import type { OpenFile, Task } from '../mem/task.js';

/** What such a file answers to what it cannot do. */
export interface PositionedRules {
  /** A read, to nowhere: `{at}`. */
  readonly address: Rule;
  /** `{path}` */
  readonly ioctl: Rule;
  readonly mmap: Rule;
}

export abstract class PositionedFile implements OpenFile {
  readonly isEngineFile = true;
  readonly pollMode = 'none';
  readonly readable = true;
  onReadableChange: (() => void) | null = null;
  /** Where a call without an offset begins. */
  protected position = 0;
  readonly #rules: PositionedRules;

  constructor(
    readonly name: string,
    rules: PositionedRules,
  ) {
    this.#rules = rules;
  }

  /** What is in it now. */
  protected abstract content(): Uint8Array;

  abstract writeAt(offset: bigint | null, at: bigint, count: number, task: Task): number;

  readAt(offset: bigint | null, at: bigint, count: number, task: Task): number {
    const from = offset === null ? this.position : Number(offset);
    const part = this.content().subarray(from, from + count);
    if (part.length > 0 && !task.reply(at, part)) return refuse(this.#rules.address, { at });
    if (offset === null) this.position += part.length;
    return part.length;
  }

  read(at: bigint, count: number, task: Task): number {
    return this.readAt(null, at, count, task);
  }

  write(at: bigint, count: number, task: Task): number {
    return this.writeAt(null, at, count, task);
  }

  ioctl(): number {
    return refuse(this.#rules.ioctl, { path: this.name });
  }

  mmap(): never {
    return refuse(this.#rules.mmap, { path: this.name });
  }

  release(): void {}
}
