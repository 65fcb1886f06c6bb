/**
 * Which frames are pinned, for whoever wants to know how often (MD_CHECK_REFS, leak checks). The pins themselves
 * are kept by the page arrays; this only lists the arrays that have any.
 */
import type { Pages } from './pages.js';

export class PinRegistry {
  readonly #arrays = new Set<Pages>();

  /** Pages pinned in the whole machine. */
  get pinnedPages(): number {
    let pages = 0;
    for (const array of this.#arrays) pages += array.pinnedCount;
    return pages;
  }

  update(array: Pages): void {
    if (array.pinnedCount > 0) this.#arrays.add(array);
    else this.#arrays.delete(array);
  }

  /** How many page arrays hold a pin on the frame at `hpa`. */
  count(hpa: bigint): number {
    let count = 0;
    for (const array of this.#arrays) if (array.pins(hpa)) count += 1;
    return count;
  }
}
