/** Eventfds of the user: taken by number (eventfd_ctx_fdget), and watched (virqfd.c). */
import { refuse } from '../base/errno.js';
import type { UserMemory } from '../iommufd/user-memory.js';
import type { EventCounter } from '../mem/task.js';
import { rules } from './call-rules.js';

/** eventfd_ctx_fdget */
export function takeEventFd(user: UserMemory, fd: number): EventCounter {
  const file = user.task.fileOf(fd);
  if (file === null) refuse(rules.eventfd_closed, { fd });
  if (file.isEngineFile) refuse(rules.eventfd_own_file, { fd, file: file.name });
  try {
    return file.openCounter?.() ?? refuse(rules.eventfd_kind, { fd });
  } finally {
    file.release();
  }
}

/** Something that happens whenever the user signals an eventfd. */
export class Virqfd {
  #counter: EventCounter | null = null;

  constructor(readonly act: () => void) {}

  /** vfio_virqfd_enable. What is in the eventfd already counts. */
  enable(user: UserMemory, fd: number): void {
    const counter = takeEventFd(user, fd);
    if (this.#counter !== null) {
      counter.close();
      refuse(rules.virqfd_busy, { fd });
    }
    this.#counter = counter;
    counter.watch(this.act);
  }

  /** As SET_IRQS says it: a number below 0 is none. */
  set(user: UserMemory, fd: number): void {
    if (fd >= 0) this.enable(user, fd);
    else this.disable();
  }

  disable(): void {
    this.#counter?.close();
    this.#counter = null;
  }
}
