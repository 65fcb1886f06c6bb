/**
 * Events of a vIOMMU on their way to the program (IOMMUFD_OBJ_VEVENTQ). The queue holds `depth` events; what does
 * not fit is counted in the sequence numbers, and one "lost" header at the end says so until the next event.
 */
import { refuse } from '../base/errno.js';
import {
  IOMMU_VEVENTQ_FLAG_LOST_EVENTS,
  IOMMU_VEVENTQ_TYPE_DEFAULT,
  iommu_veventq_alloc,
  iommufd_vevent_header,
  type IommuVeventqAlloc,
} from '../wire/uapi/iommufd.gen.js';
import type { Task } from '../mem/task.js';
import type { Call } from './call.js';
import type { Context } from './context.js';
import { openEventFile, type EventFile, type EventQueue } from './event-file.js';
import { IommufdObject } from './object.js';
import type { ViommuObject } from './viommu.js';
import { rules } from './rules.js';

const HEADER = iommufd_vevent_header.size;
const MAX_DEPTH = 1 << 19;
/** Sequence numbers wrap to 0 after this. */
const INT_MAX = 0x7fffffff;

/** `data` null: the header that says that events were lost. */
interface Event {
  readonly sequence: number;
  readonly data: Uint8Array | null;
}

export class VeventQueue extends IommufdObject implements EventQueue {
  readonly type = 'VEVENTQ';
  readonly fileName = '[iommufd-viommu-event]';
  readonly pollMode = 'in';
  file: EventFile | null = null;
  readonly #events: Event[] = [];
  #count = 0;
  #sequence = 0;

  constructor(
    readonly viommu: ViommuObject,
    readonly eventType: number,
    readonly depth: number,
  ) {
    super();
  }

  get context(): Context {
    return this.viommu.context;
  }

  get hasEvents(): boolean {
    return this.#events.length > 0;
  }

  /** Queues an event, or notes that it was lost. */
  report(data: Uint8Array): void {
    const full = this.#count === this.depth;
    if (!full) this.#count += 1;
    if (this.#events.at(-1)?.data === null) this.#events.pop();
    this.#events.push({ sequence: this.#sequence, data: full ? null : data });
    this.#sequence = this.#sequence === INT_MAX ? 0 : this.#sequence + 1;
    this.file?.changed();
  }

  read(task: Task, at: bigint, count: number): number {
    if (count < HEADER) refuse(rules.vevent_read_count, { count, header: HEADER });
    let done = 0;
    for (;;) {
      const event = this.#events[0];
      if (event === undefined || count - done < HEADER) return done;
      const length = HEADER + (event.data?.length ?? 0);
      if (length > count - done) {
        if (done > 0) return done;
        refuse(rules.vevent_read_room, { count, event: length });
      }
      if (!task.mm.write(at + BigInt(done), encode(event, length))) {
        if (done > 0) return done;
        refuse(rules.vevent_read_unwritable, { at });
      }
      this.#events.shift();
      if (event.data !== null) this.#count -= 1;
      done += length;
    }
  }

  write(): number {
    refuse(rules.vevent_write, {});
  }

  destroy(): void {
    this.viommu.queues.splice(this.viommu.queues.indexOf(this), 1);
    this.viommu.users -= 1;
  }
}

function encode(event: Event, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const flags = event.data === null ? IOMMU_VEVENTQ_FLAG_LOST_EVENTS : 0;
  iommufd_vevent_header.encode({ flags, sequence: event.sequence }, bytes);
  if (event.data !== null) bytes.set(event.data, HEADER);
  return bytes;
}

/** IOMMU_VEVENTQ_ALLOC: one queue for each type of event. */
export function veventqAlloc(call: Call, cmd: IommuVeventqAlloc): void {
  const { flags, __reserved, type, veventq_depth: depth } = cmd;
  if (flags !== 0) refuse(rules.veventq_flags, { flags });
  if (__reserved !== 0) refuse(rules.veventq_reserved, { __reserved });
  if (type === IOMMU_VEVENTQ_TYPE_DEFAULT) refuse(rules.veventq_type, { type });
  if (depth === 0 || depth > MAX_DEPTH)
    refuse(rules.veventq_depth, { veventq_depth: depth, most: MAX_DEPTH });
  const viommu = call.context.find<ViommuObject>(call, cmd.viommu_id, 'VIOMMU', rules.veventq_viommu);
  if (viommu.queueOf(type) !== undefined) refuse(rules.veventq_exists, { type, viommu_id: viommu.id });
  const queue = call.reserve(new VeventQueue(viommu, type, depth));
  viommu.users += 1;
  viommu.queues.push(queue);
  call.tx.onAbort(() => queue.destroy());
  const fd = openEventFile(call, queue);
  call.respond(iommu_veventq_alloc, { ...cmd, out_veventq_id: queue.id, out_veventq_fd: fd }, true);
}
