/**
 * Which entries of a cache belong together: doubly linked rings over entry numbers, one ring a bucket of keys. A bucket
 * may hold entries of several keys, so whoever follows one compares tags. It is what makes an invalidation cost what is
 * cached under its tag and not what the cache could hold.
 */

export class Chains {
  readonly #nodes: number;
  readonly #mask: number;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  /** `nodes` entries, `1 << bucketsLg2` buckets. */
  constructor(nodes: number, bucketsLg2: number) {
    const buckets = 1 << bucketsLg2;
    this.#nodes = nodes;
    this.#mask = buckets - 1;
    this.#next = Int32Array.from({ length: nodes + buckets }, (_, node) => node);
    this.#previous = this.#next.slice();
  }

  add(node: number, key: number): void {
    const head = this.#nodes + (key & this.#mask);
    const first = this.#next[head]!;
    this.#next[node] = first;
    this.#previous[node] = head;
    this.#previous[first] = node;
    this.#next[head] = node;
  }

  /** Takes it out of whichever ring it is in; one that is in none stays so. */
  remove(node: number): void {
    const next = this.#next[node]!;
    const previous = this.#previous[node]!;
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#next[node] = node;
    this.#previous[node] = node;
  }

  /** The first entry of the bucket of `key`; -1 when it is empty. */
  first(key: number): number {
    return this.#entry(this.#next[this.#nodes + (key & this.#mask)]!);
  }

  /** The entry after `node`; -1 at the end. Ask before `node` is removed. */
  after(node: number): number {
    return this.#entry(this.#next[node]!);
  }

  #entry(node: number): number {
    return node < this.#nodes ? node : -1;
  }
}

/** Spreads the bits of a key, so that keys which differ little do not share a bucket. */
export function mix(key: number): number {
  const once = Math.imul(key ^ (key >>> 15), 0x2c1b3c6d);
  return once ^ (once >>> 13);
}
