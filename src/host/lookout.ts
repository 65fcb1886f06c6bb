/**
 * Looks at rings without being rung for, while calls come in quick succession. Between two CPUs a wake-up costs more
 * than a call, so both sides look a while before they sleep; on one CPU each would only keep the other from running.
 * Invariant: an image whose `awake` word is set is in the list here, and is looked at once more after it was cleared.
 */
import { Found, type Ring, type Rings } from './ring.js';
import * as sys from './sys.js';

/** Images that are looked at; others ring. */
const IMAGES = 16;
/** How long nothing may come, ms: about the price of a wake-up between CPUs. */
const PATIENCE_MS = 0.05;
const LOOKS_PER_CLOCK = 32;
/** After a wait in vain the next are left out, twice as many each time, up to this many doublings. */
const DOUBLINGS = 7;
/** Calls after which the CPU is asked for anew, if the thread never slept. */
const CALLS_PER_CPU = 256;

export class Lookout {
  /** Requests that were found and not yet served. */
  readonly found = new Found();
  readonly #images: Rings[] = [];
  #watched = 0;
  #cpu = -1;
  #calls = CALLS_PER_CPU;
  /** The client of the last call runs on another CPU. */
  #elsewhere = false;
  #vain = 0;
  #leaveOut = 0;

  /** An image has rung. */
  rang(image: Rings): void {
    this.#locate();
    this.#wake(image);
    image.collect(this.found);
  }

  /** A call of `ring` is about to be served: more of its image may follow. */
  serves({ rings, cpu }: Ring): void {
    this.#calls += 1;
    this.#locate();
    this.#elsewhere = cpu !== this.#cpu && cpu >= 0;
    this.#wake(rings);
  }

  /** Takes what was posted by images that do not ring: whether there is anything to serve. */
  look(): boolean {
    for (let i = 0; i < this.#watched; i++) this.#images[i]!.collect(this.found);
    return this.found.count > 0;
  }

  /** Looks for a while, where that pays: whether there is anything to serve. */
  linger(): boolean {
    if (!this.#elsewhere || this.#watched === 0) return false;
    if (this.#leaveOut > 0) {
      this.#leaveOut -= 1;
      return false;
    }
    const end = performance.now() + PATIENCE_MS;
    do {
      for (let i = 0; i < LOOKS_PER_CLOCK; i++) {
        if (!this.look()) continue;
        this.#vain = 0;
        return true;
      }
    } while (performance.now() < end);
    if (this.#vain < DOUBLINGS) this.#vain += 1;
    this.#leaveOut = (1 << this.#vain) - 1;
    return false;
  }

  /** From now on everybody rings: whether somebody has posted just before and did not. */
  sleep(): boolean {
    for (let i = 0; i < this.#watched; i++) {
      this.#images[i]!.show(false, this.#cpu);
      this.#images[i]!.collect(this.found);
    }
    this.#watched = 0;
    this.#elsewhere = false;
    this.#calls = CALLS_PER_CPU;
    return this.found.count > 0;
  }

  /** An image is gone. */
  forget(image: Rings): void {
    const at = this.#images.indexOf(image);
    if (at < 0) return;
    this.#images.splice(at, 1);
    if (at < this.#watched) this.#watched -= 1;
  }

  /** Where this thread runs may have changed while it slept, and seldom otherwise. */
  #locate(): void {
    if (this.#calls < CALLS_PER_CPU) return;
    this.#calls = 0;
    const cpu = sys.currentCpu();
    if (cpu === this.#cpu) return;
    this.#cpu = cpu;
    for (let i = 0; i < this.#watched; i++) this.#images[i]!.show(true, cpu);
  }

  #wake(image: Rings): void {
    if (image.awake || this.#watched === IMAGES) return;
    this.#images[this.#watched++] = image;
    image.show(true, this.#cpu);
  }
}
