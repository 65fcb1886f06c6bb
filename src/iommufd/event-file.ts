/**
 * The descriptor of an event queue: read, write and poll go to the queue, and while it is open it is a user of
 * the queue and holds the context open.
 */
import { refuse } from '../base/errno.js';
import {
  O_CLOEXEC,
  O_RDWR,
  type MmapRequest,
  type OpenFile,
  type SharedPages,
  type Task,
} from '../mem/task.js';
import type { Call } from './call.js';
import type { Context } from './context.js';
import type { IommufdObject } from './object.js';
import { rules } from './rules.js';

/** A queue that has a descriptor. */
export interface EventQueue extends IommufdObject {
  readonly context: Context;
  readonly fileName: string;
  readonly pollMode: 'in' | 'in-out';
  readonly hasEvents: boolean;
  read(task: Task, at: bigint, count: number): number;
  write(task: Task, at: bigint, count: number): number;
  /** A queue in memory that programs map. */
  mmap?(request: MmapRequest): SharedPages;
}

export class EventFile implements OpenFile {
  readonly isEngineFile = true;
  onReadableChange: (() => void) | null = null;
  #wasReadable = false;

  constructor(readonly queue: EventQueue) {
    queue.users += 1;
    queue.context.get();
  }

  get name(): string {
    return this.queue.fileName;
  }

  get pollMode(): 'in' | 'in-out' {
    return this.queue.pollMode;
  }

  get readable(): boolean {
    return this.queue.hasEvents;
  }

  /** The queue's contents have changed. */
  changed(): void {
    if (this.readable === this.#wasReadable) return;
    this.#wasReadable = this.readable;
    this.onReadableChange?.();
  }

  ioctl(cmd: number): number {
    refuse(rules.event_file_ioctl, { cmd: BigInt(cmd >>> 0) });
  }

  read(at: bigint, count: number, task: Task): number {
    const done = this.queue.read(task, at, count);
    this.changed();
    return done;
  }

  write(at: bigint, count: number, task: Task): number {
    return this.queue.write(task, at, count);
  }

  mmap(request: MmapRequest): SharedPages {
    return this.queue.mmap?.(request) ?? refuse(rules.event_file_mmap, {});
  }

  release(): void {
    this.queue.users -= 1;
    this.queue.context.put();
  }
}

/** Opens the descriptor of a new queue; both go again when the call fails. Returns its number. */
export function openEventFile(call: Call, queue: EventQueue & { file: EventFile | null }): number {
  call.alloc(queue.fileName);
  const file = new EventFile(queue);
  queue.file = file;
  let installed = false;
  call.tx.onAbort(() => {
    if (!installed) file.release();
  });
  const fd = call.task.installFd(file, O_RDWR | O_CLOEXEC);
  if (fd === null) refuse(rules.event_file_descriptors, { file: queue.fileName });
  installed = true;
  call.tx.onAbort(() => call.task.removeFd(fd));
  return fd;
}
