/** Seeded random numbers: sequence N of seed S is the same on every machine, whatever was drawn before. */

/** Small fast counter generator of 32-bit numbers with 128 bits of state. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number, stream: number) {
    this.#a = seed | 0;
    this.#b = Math.floor(seed / 2 ** 32) | 0;
    this.#c = stream | 0;
    for (let i = 0; i < 12; i++) this.next();
  }

  /** 0 .. 2^32-1. */
  next(): number {
    const result = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** 0 .. n-1. */
  below(n: number): number {
    return this.next() % n;
  }

  /** True `percent` times in a hundred. */
  chance(percent: number): boolean {
    return this.next() % 10000 < percent * 100;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }

  /** Picks by weight; the weights need not add up to anything. */
  weighted<T>(from: readonly (readonly [T, number])[]): T {
    let left = this.below(from.reduce((sum, [, weight]) => sum + weight, 0));
    for (const [value, weight] of from) {
      left -= weight;
      if (left < 0) return value;
    }
    throw new Error('no weights');
  }
}
