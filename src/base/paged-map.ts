/**
 * A map from small non-negative integers, such as PASIDs: pages of slots, made when a key of theirs is used first. A
 * million keys cost what a thousand do, each; a Map of that size is rehashed and copied again and again.
 */

const PAGE_LG2 = 8;
const PAGE_MASK = (1 << PAGE_LG2) - 1;

export class PagedMap<T extends object> {
  readonly #pages: (T | undefined)[][] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: number): T | undefined {
    return this.#pages[key >>> PAGE_LG2]?.[key & PAGE_MASK];
  }

  has(key: number): boolean {
    return this.get(key) !== undefined;
  }

  set(key: number, value: T): void {
    const page = this.#page(key >>> PAGE_LG2);
    if (page[key & PAGE_MASK] === undefined) this.#size += 1;
    page[key & PAGE_MASK] = value;
  }

  delete(key: number): void {
    if (!this.has(key)) return;
    this.#pages[key >>> PAGE_LG2]![key & PAGE_MASK] = undefined;
    this.#size -= 1;
  }

  /** In the order of the keys. */
  *entries(): Generator<[key: number, value: T]> {
    for (const [index, page] of this.#pages.entries()) {
      for (const [at, value] of page.entries())
        if (value !== undefined) yield [(index << PAGE_LG2) | at, value];
    }
  }

  #page(index: number): (T | undefined)[] {
    const pages = this.#pages;
    // Without holes, so that it stays a plain array whatever the first key is.
    while (pages.length < index) pages.push(NO_PAGE as (T | undefined)[]);
    const known = pages[index];
    if (known !== undefined && known !== NO_PAGE) return known;
    return (pages[index] = Array.from({ length: PAGE_MASK + 1 }, () => undefined));
  }
}

const NO_PAGE: readonly undefined[] = [];
