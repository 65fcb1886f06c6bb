/**
 * A bus that is not PCI: a device has a number, which is its requester id, and stands in a group of its own unless it
 * was wired up with others.
 */
import { Endpoints } from './endpoints.js';
import type { Translator } from './dma.js';

/** A place on the bus. */
export interface PlatformSlot {
  readonly bus: PlatformBus;
  readonly name: string;
  readonly sourceId: number;
  /** Devices with an equal one cannot be told apart or kept apart. */
  readonly groupKey: string;
}

export class PlatformBus extends Endpoints {
  readonly #slots = new Map<number, PlatformSlot>();

  constructor(
    readonly name: string,
    /** What stands between the bus and memory. */
    readonly translator: Translator,
  ) {
    super();
  }

  /** Takes number `sourceId` for a device; `wire` names what it shares with others. */
  place(name: string, sourceId: number, wire: string | null = null): PlatformSlot {
    const groupKey = wire === null ? `${this.name}/${sourceId}` : `${this.name}/${wire}`;
    const slot: PlatformSlot = { bus: this, name, sourceId, groupKey };
    this.#slots.set(sourceId, slot);
    return slot;
  }

  slots(): Iterable<PlatformSlot> {
    return this.#slots.values();
  }
}
