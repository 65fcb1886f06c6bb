/**
 * INTx (vfio_pci_intrs.c): a level that stays up until the device is served. When it goes up it is masked and the user
 * told; when the user unmasks it and it is still up, the user is told again.
 * Invariant: while unmasked, a level that is up has been told.
 */
import type { Interrupts } from '../../bus/interrupts.js';
import type { ConfigSpace } from '../../bus/model.js';
import * as r from '../../bus/pci-registers.js';
import type { EventCounter } from '../../mem/task.js';
import { Virqfd } from '../eventfd.js';

export class Intx {
  /** INTX_DISABLE as the user has it, which masks whatever else is said. */
  isDisabled = false;
  isEnabled = false;
  readonly #interrupts: Interrupts;
  readonly #config: ConfigSpace;
  #trigger: EventCounter | null = null;
  #isMasked = false;
  readonly #unmask = new Virqfd(() => this.unmask());

  constructor(interrupts: Interrupts, config: ConfigSpace) {
    this.#interrupts = interrupts;
    this.#config = config;
  }

  get unmaskFd(): Virqfd {
    return this.#unmask;
  }

  enable(trigger: EventCounter | null): void {
    this.#trigger = trigger;
    this.#isMasked = this.isDisabled;
    this.isEnabled = true;
    this.#setDevice(!this.#isMasked);
    this.#interrupts.mode = 'intx';
  }

  /** Another eventfd, or none, in place of what there is. */
  replace(trigger: EventCounter | null): void {
    this.#trigger?.close();
    this.#trigger = trigger;
  }

  disable(): void {
    this.#unmask.disable();
    this.#interrupts.mode = 'none';
    this.replace(null);
    this.isEnabled = false;
  }

  /** The level went up. */
  raised(): void {
    if (this.#isMasked) return;
    this.#isMasked = true;
    this.#setDevice(false);
    this.send();
  }

  mask(): void {
    this.#setDevice(false);
    if (this.isEnabled) this.#isMasked = true;
  }

  unmask(): void {
    if (!this.isEnabled) return this.#setDevice(true);
    if (!this.#isMasked || this.isDisabled) return;
    if (this.#interrupts.isAsserted) return this.send();
    this.#isMasked = false;
    this.#setDevice(true);
  }

  send(): void {
    if (this.isEnabled && !this.isDisabled) this.#trigger?.signal();
  }

  setDisabled(disabled: boolean): void {
    if (disabled === this.isDisabled) return;
    this.isDisabled = disabled;
    if (disabled) this.mask();
    else this.unmask();
  }

  /** The bit of the device itself follows. */
  #setDevice(enabled: boolean): void {
    const command = this.#config.read(r.PCI_COMMAND, 2);
    const wanted = enabled ? command & ~r.PCI_COMMAND_INTX_DISABLE : command | r.PCI_COMMAND_INTX_DISABLE;
    if (wanted !== command) this.#config.write(r.PCI_COMMAND, 2, wanted);
  }
}
