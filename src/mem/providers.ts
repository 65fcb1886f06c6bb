/**
 * Page tables without bytes: address spaces whose owner answers (a process, a virtual machine, somebody outside).
 * Each has a place in HPA that holds no memory; a unit whose root pointer leads there asks the owner instead of
 * walking. So context and PASID entries point at both kinds alike, and what is not in the tables does not translate.
 */
import { Bug } from '../base/errno.js';

/** What an owner says of one address; reused. */
export class ProvidedPage {
  hpaHi = 0;
  hpaLo = 0;
  /** lg2 of the aligned block around it that is contiguous there and has the same permissions. */
  sizeLg2 = 12;
  /** Bits as in {@link AddressSpaceProvider.translate}. */
  permitted = 0;
}

/** Whoever owns an address space that is no table in memory. */
export interface AddressSpaceProvider {
  /** What it is, for people: `process 17`. */
  readonly name: string;
  /**
   * Fills `page` for the byte at (hi, lo); `access` is READ 1, WRITE 2, EXEC 4. False: nothing is there now for this
   * access, and a page request may change that. Must not keep `page`.
   */
  translate(hi: number, lo: number, access: number, page: ProvidedPage): boolean;
  /**
   * Set by the unit while the space is attached: the owner calls it with an inclusive range before what it answered
   * there stops being true.
   */
  onInvalidate: ((start: bigint, last: bigint) => void) | null;
}

/** A process's address space, or a virtual machine's: it answers its own page requests, and it may end. */
export interface OwnedSpace extends AddressSpaceProvider {
  /** A page request: makes the page at `address` be there for `access`, or says that its owner may not have it so. */
  resolve(address: bigint, access: number): boolean;
  /** Nobody uses it any more. */
  release(): void;
}

/** First frame of the range of HPA that holds no memory: 512 GiB, between tables and windows. */
export const PROVIDER_FIRST_FRAME = 1 << 27;
const PROVIDERS = 1 << 20;

export class Providers {
  readonly #byFrame = new Map<number, AddressSpaceProvider>();
  #next = 0;

  /** There is no frame for another. */
  get isFull(): boolean {
    return this.#byFrame.size === PROVIDERS;
  }

  /** Gives `provider` a frame to be pointed at. */
  add(provider: AddressSpaceProvider): number {
    if (this.isFull) throw new Bug('a million address spaces without tables');
    while (this.#byFrame.has(PROVIDER_FIRST_FRAME + this.#next)) this.#next = (this.#next + 1) % PROVIDERS;
    const frame = PROVIDER_FIRST_FRAME + this.#next;
    this.#next = (this.#next + 1) % PROVIDERS;
    this.#byFrame.set(frame, provider);
    return frame;
  }

  remove(frame: number): void {
    this.#byFrame.delete(frame);
  }

  /** Who owns the space at the frame of an HPA; null where none is. */
  at(hi: number, lo: number): AddressSpaceProvider | null {
    return this.#byFrame.get((hi << 20) | (lo >>> 12)) ?? null;
  }

  /** Those that are there; 0 when nothing leaks. */
  get live(): number {
    return this.#byFrame.size;
  }
}
