/**
 * Undo for calls that refuse half way. Every step that changes something registers how to take it back; the
 * dispatcher commits when the handler returns and rolls back, last step first, when it throws.
 */
import { Errno } from '../base/errno.js';

export class Transaction {
  /** Null: nothing so far. */
  #undo: (() => void)[] | null = null;

  /** Registers `undo` for a step that has just succeeded. */
  onAbort(undo: () => void): void {
    // An empty array would make room for many at its first push, and there is rarely more than one.
    if (this.#undo === null) this.#undo = [undo];
    else this.#undo.push(undo);
  }

  /** Undoes everything back to `mark`. */
  rollback(mark = 0): void {
    while (this.#undo !== null && this.#undo.length > mark) this.#undo.pop()!();
  }

  commit(): void {
    this.#undo = null;
  }

  /** Runs `step` on its own: when it refuses, only its own changes are undone and the refusal is returned. */
  attempt<T>(step: () => T): T | Errno {
    const mark = this.#undo?.length ?? 0;
    try {
      return step();
    } catch (error) {
      this.rollback(mark);
      if (error instanceof Errno) return error;
      throw error;
    }
  }
}
