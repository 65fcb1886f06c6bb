/**
 * Addresses that were given back, by length: views of them may still be held, so they are never anybody else's and wait
 * for the next mapping of that length.
 */
import type { Block } from './sys.js';

export class Spares {
  readonly #blocks = new Map<number, Block[]>();

  take(length: number): Block | undefined {
    return this.#blocks.get(length)?.pop();
  }

  keep(block: Block): void {
    const { length } = block.bytes;
    const list = this.#blocks.get(length);
    if (list === undefined) this.#blocks.set(length, [block]);
    else list.push(block);
  }
}
