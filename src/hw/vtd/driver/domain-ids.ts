/** The domain ids of one unit (Linux: domain_ida): the lowest that is free, from FIRST_FREE_DID on. */
import { FIRST_FREE_DID } from '../structures.js';

export class DomainIds {
  readonly #used: Uint8Array;
  #lowestFree = FIRST_FREE_DID;
  #free: number;

  /** `count`: how many ids the unit knows, those that are never given out among them (CAP.ND). */
  constructor(count: number) {
    this.#used = new Uint8Array(count);
    this.#free = count - FIRST_FREE_DID;
  }

  get free(): number {
    return this.#free;
  }

  get used(): number {
    return this.#used.length - FIRST_FREE_DID - this.#free;
  }

  /** Only while {@link free} is not 0. */
  take(): number {
    const did = this.#used.indexOf(0, this.#lowestFree);
    this.#used[did] = 1;
    this.#lowestFree = did + 1;
    this.#free -= 1;
    return did;
  }

  give(did: number): void {
    this.#used[did] = 0;
    this.#lowestFree = Math.min(this.#lowestFree, did);
    this.#free += 1;
  }
}
