/**
 * The interrupt of a platform device (vfio_platform_irq.c): a level. When it goes up it is masked and the user told;
 * unmasked while it is still up, it is told again. Masking counts with and without an eventfd to tell.
 */
import { refuse } from '../../base/errno.js';
import type { InterruptSink, Interrupts } from '../../bus/interrupts.js';
import type { EventCounter } from '../../mem/task.js';
import * as v from '../../wire/uapi/vfio.gen.js';
import { takeEventFd, Virqfd } from '../eventfd.js';
import type { IrqSet } from '../irq-set.js';
import { rules } from './rules.js';

export class PlatformIrq implements InterruptSink {
  readonly #interrupts: Interrupts;
  #trigger: EventCounter | null = null;
  #isMasked = false;
  readonly #mask = new Virqfd(() => this.#setMask());
  readonly #unmask = new Virqfd(() => this.#clearMask());

  constructor(interrupts: Interrupts) {
    this.#interrupts = interrupts;
  }

  open(): void {
    this.#isMasked = false;
    this.#interrupts.sink = this;
  }

  close(): void {
    this.#mask.disable();
    this.#unmask.disable();
    this.#setTrigger(null);
    this.#interrupts.sink = null;
  }

  message(): void {}

  line(asserted: boolean): void {
    if (asserted) this.#handle();
  }

  /** vfio_platform_set_irqs_ioctl */
  set(request: IrqSet): void {
    switch (request.action) {
      case v.VFIO_IRQ_SET_ACTION_MASK:
        return this.#mayMask(request);
      case v.VFIO_IRQ_SET_ACTION_UNMASK:
        return this.#mayUnmask(request);
      case v.VFIO_IRQ_SET_ACTION_TRIGGER:
        return this.#mayTrigger(request);
      default:
        refuse(rules.platform_irqs_action, { action: request.action });
    }
  }

  #mayMask({ user, start, count, kind, values }: IrqSet): void {
    if (start !== 0 || count !== 1) refuse(rules.platform_mask, { start, count });
    const value = values[0] ?? 1;
    if (kind !== v.VFIO_IRQ_SET_DATA_EVENTFD) {
      if (value !== 0) this.#setMask();
    } else this.#mask.set(user, value);
  }

  #mayUnmask({ user, start, count, kind, values }: IrqSet): void {
    if (start !== 0 || count !== 1) refuse(rules.platform_unmask, { start, count });
    const value = values[0] ?? 1;
    if (kind !== v.VFIO_IRQ_SET_DATA_EVENTFD) {
      if (value !== 0) this.#clearMask();
    } else this.#unmask.set(user, value);
  }

  #mayTrigger({ user, start, count, kind, values }: IrqSet): void {
    if (count === 0 && kind === v.VFIO_IRQ_SET_DATA_NONE) return this.#setTrigger(null);
    if (start !== 0 || count !== 1) refuse(rules.platform_trigger, { start, count });
    const value = values[0] ?? 1;
    if (kind !== v.VFIO_IRQ_SET_DATA_EVENTFD) {
      if (value !== 0) this.#handle();
      return;
    }
    // The old one goes first, whatever becomes of the new.
    this.#setTrigger(null);
    if (value >= 0) this.#setTrigger(takeEventFd(user, value));
  }

  /** vfio_set_trigger: the interrupt of the device is on while there is somebody to tell. */
  #setTrigger(trigger: EventCounter | null): void {
    this.#trigger?.close();
    this.#trigger = trigger;
    this.#interrupts.mode = trigger === null ? 'none' : 'intx';
  }

  #setMask(): void {
    this.#isMasked = true;
  }

  #clearMask(): void {
    if (!this.#isMasked) return;
    this.#isMasked = false;
    if (this.#trigger !== null && this.#interrupts.isAsserted) this.#handle();
  }

  /** vfio_automasked_irq_handler */
  #handle(): void {
    if (this.#isMasked) return;
    this.#isMasked = true;
    this.#trigger?.signal();
  }
}
