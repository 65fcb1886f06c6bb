/**
 * What the machine says while it runs: faults, stale translations, log lines. Units and drivers emit; the trace, the
 * log that `ioasis dmesg` prints, and tests listen. An event is made only where something went wrong, never on a
 * path that works, so it may be an object.
 */

/** A translation that a cache still served after the table behind it had changed. */
export interface StaleHit {
  readonly kind: 'stale-hit';
  readonly unit: string;
  readonly device: string;
  /** -1: the requester id alone. */
  readonly pasid: number;
  readonly iova: bigint;
  /** What the cache says and what the table says now: HPA, or null where nothing is mapped. */
  readonly cached: bigint | null;
  readonly current: bigint | null;
  /** The invalidation that was not made, in the words of the unit's specification. */
  readonly missing: string;
}

/** A line of the kernel log, as Linux' driver writes it, without time. */
export interface LogLine {
  readonly kind: 'log';
  readonly level: 'err' | 'warn' | 'info';
  readonly text: string;
}

export type MachineEvent = StaleHit | LogLine;

/** How many events are kept for whoever asks later. */
const KEPT = 4096;

export class Events {
  readonly #listeners = new Set<(event: MachineEvent) => void>();
  readonly #recent: MachineEvent[] = [];
  /** Emitted so far; {@link recent} holds the last of them. */
  count = 0;

  emit(event: MachineEvent): void {
    this.count += 1;
    this.#recent.push(event);
    if (this.#recent.length > KEPT) this.#recent.shift();
    for (const listener of this.#listeners) listener(event);
  }

  /** The last events, oldest first. */
  get recent(): readonly MachineEvent[] {
    return this.#recent;
  }

  /** Calls `listener` for each event from now on, until the function that is returned is called. */
  listen(listener: (event: MachineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
