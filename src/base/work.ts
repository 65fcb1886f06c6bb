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
  readonly #ready: Worker[] = [];
  readonly #queued = new Set<Worker>();

  get isEmpty(): boolean {
    return this.#ready.length === 0;
  }

  /** `worker` has something to do. To say so twice is to say it once. */
  schedule(worker: Worker): void {
    if (this.#queued.has(worker)) return;
    this.#queued.add(worker);
    this.#ready.push(worker);
  }

  /** `worker` is never asked again. */
  cancel(worker: Worker): void {
    if (this.#queued.delete(worker)) this.#ready.splice(this.#ready.indexOf(worker), 1);
  }

  /** One piece of the worker that has waited longest. False: nobody had anything to do. */
  step(): boolean {
    const worker = this.#ready.shift();
    if (worker === undefined) return false;
    this.#queued.delete(worker);
    if (worker.step()) this.schedule(worker);
    return true;
  }
}
