/**
 * Which entries of a cache belong together: doubly linked rings over entry numbers, one ring a bucket of keys. A bucket
 * may hold entries of several keys, so whoever follows one compares tags. It is what makes an invalidation cost what is
 * cached under its tag and not what the cache could hold. A link is kept as its two ends XORed: whoever is alone has 0,
 * and what was never used takes no memory.
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
    this.#next = new Int32Array(nodes + buckets);
    this.#previous = new Int32Array(nodes + buckets);
  }

  add(node: number, key: number): void {
    const head = this.#nodes + (key & this.#mask);
    const first = this.#next[head]! ^ head;
    this.#next[node] = first ^ node;
    this.#previous[node] = head ^ node;
    this.#previous[first] = node ^ first;
    this.#next[head] = node ^ head;
  }

  /** Takes it out of whichever ring it is in; one that is in none stays so. */
  remove(node: number): void {
    const next = this.#next[node]! ^ node;
    const previous = this.#previous[node]! ^ node;
    this.#next[previous] = next ^ previous;
    this.#previous[next] = previous ^ next;
    this.#next[node] = 0;
    this.#previous[node] = 0;
  }

  /** The first entry of the bucket of `key`; -1 when it is empty. */
  first(key: number): number {
    const head = this.#nodes + (key & this.#mask);
    return this.#entry(this.#next[head]! ^ head);
  }

  /** The entry after `node`; -1 at the end. Ask before `node` is removed. */
  after(node: number): number {
    return this.#entry(this.#next[node]! ^ node);
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
