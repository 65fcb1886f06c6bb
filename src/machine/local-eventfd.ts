/** An eventfd of a client in this process: a counter that both sides add to, and that a watcher of the engine empties. */
import type { EventCounter, ForeignFile } from '../mem/task.js';

const LARGEST = (1n << 64n) - 1n;
const noBytes = { id: 0, read: () => false, write: () => false };

export class LocalEventFd implements ForeignFile {
  readonly isEngineFile = false;
  readonly kind = 'eventfd';
  readonly backing = noBytes;
  /** What the next read would return. */
  value = 0n;
  /** Counters that the engine holds. */
  holders = 0;
  readonly #watchers = new Set<() => void>();

  size(): bigint {
    return 0n;
  }

  release(): void {}

  /** write(2) */
  add(count: bigint): void {
    this.value = this.value + count > LARGEST ? LARGEST : this.value + count;
    for (const tell of this.#watchers) {
      this.value = 0n;
      tell();
    }
  }

  /** read(2): what was in it; 0n where a read would wait. */
  take(): bigint {
    const { value } = this;
    this.value = 0n;
    return value;
  }

  openCounter(): EventCounter {
    this.holders += 1;
    let watcher: (() => void) | null = null;
    let isOpen = true;
    const watch = (onSignal: (() => void) | null): void => {
      if (watcher !== null) this.#watchers.delete(watcher);
      watcher = onSignal;
      if (onSignal === null) return;
      this.#watchers.add(onSignal);
      if (this.take() > 0n) onSignal();
    };
    return {
      signal: () => this.add(1n),
      watch,
      close: () => {
        watch(null);
        if (isOpen) this.holders -= 1;
        isOpen = false;
      },
    };
  }
}
