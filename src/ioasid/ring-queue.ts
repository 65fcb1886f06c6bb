/** A fault file whose faults and responses go through rings in memory that the program maps, each told by an eventfd. */
import { refuse } from '../base/errno.js';
import type { AttachHandle } from '../hw/group.js';
import type { PageFaultGroup } from '../hw/iopf.js';
import type { UnrecoverableFault } from '../hw/unit.js';
import type { Context } from '../iommufd/context.js';
import type { DeviceHandle } from '../iommufd/device.js';
import { FaultQueue } from '../iommufd/fault-queue.js';
import type { EventCounter, MmapRequest, SharedPages } from '../mem/task.js';
import { FAULT_BYTES, FaultRings, RESPONSE_BYTES } from './fault-rings.js';
import { Ring, ringBytes } from './ring.js';
import { rules } from './rules.js';

const RESPONSES_AT = ringBytes(FAULT_BYTES);
/** One ring behind the other. */
export const RING_BYTES = RESPONSES_AT + ringBytes(RESPONSE_BYTES);

export interface RingEvents {
  /** Signalled when something was put into the ring, or lost. */
  readonly faults: EventCounter;
  /** The program signals it when it has written responses. */
  readonly responses: EventCounter;
}

export class RingQueue extends FaultQueue {
  override readonly fileName: string = '[ioasid-fault]';
  readonly #rings: FaultRings;
  readonly #pages: SharedPages;

  constructor(
    context: Context,
    readonly memory: Uint8Array,
    readonly events: RingEvents,
  ) {
    super(context);
    const faults = new Ring(memory, 0, FAULT_BYTES);
    const responses = new Ring(memory, RESPONSES_AT, RESPONSE_BYTES);
    this.#rings = new FaultRings(faults, responses, {
      deviceId: (handle) => (handle as DeviceHandle).bound.id,
      signal: () => events.faults.signal(),
    });
    events.responses.watch(() => this.#rings.takeResponses());
    // A mapping keeps the queue, and with it the memory.
    this.#pages = {
      bytes: memory,
      opened: () => void (this.users += 1),
      closed: () => void (this.users -= 1),
      onGone: null,
    };
  }

  override deliver(group: PageFaultGroup): void {
    this.#rings.deliver(group);
  }

  override report(handle: AttachHandle, fault: UnrecoverableFault): void {
    this.#rings.report(handle, fault);
  }

  override autoRespond(handle: AttachHandle): void {
    this.#rings.abandon(handle);
  }

  override read(): number {
    refuse(rules.ring_read, {});
  }

  override write(): number {
    refuse(rules.ring_write, {});
  }

  mmap({ offset, length, shared }: MmapRequest): SharedPages {
    if (!shared) refuse(rules.ring_private, {});
    if (offset !== 0n || length !== BigInt(RING_BYTES)) {
      refuse(rules.ring_range, { offset, length, size: RING_BYTES });
    }
    return this.#pages;
  }

  override destroy(): void {
    this.#rings.abandon(null);
    this.events.responses.watch(null);
    this.events.faults.close();
    this.events.responses.close();
    this.#pages.onGone?.();
    this.context.env.freeSharedMemory(this.memory);
  }
}
