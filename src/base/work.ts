/**
 * Work that is not part of a call: what devices do once their doorbell was rung. It goes on in pieces, round robin, so
 * that a device with much to do keeps neither calls nor other devices waiting for longer than a piece takes.
 */

/** Something that may have work to do. */
export interface Worker {
  /** Does one piece, some tens of microseconds at most. True: there is more. */
  step(): boolean;
}

export class WorkQueue {
  /** In the order in which they have asked. */
  readonly #ready = new Set<Worker>();

  get isEmpty(): boolean {
    return this.#ready.size === 0;
  }

  /** `worker` has something to do. To say so twice is to say it once. */
  schedule(worker: Worker): void {
    this.#ready.add(worker);
  }

  /** `worker` is never asked again. */
  cancel(worker: Worker): void {
    this.#ready.delete(worker);
  }

  /** One piece of the worker that has waited longest. False: nobody had anything to do. */
  step(): boolean {
    const [worker] = this.#ready;
    if (worker === undefined) return false;
    this.#ready.delete(worker);
    if (worker.step()) this.schedule(worker);
    return true;
  }
}
