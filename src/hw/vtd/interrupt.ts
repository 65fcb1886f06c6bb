/**
 * One of a unit's interrupts (sections 6.5.2.10, 7.3 and 7.5): control, data, address and upper address registers, in this
 * order.
 */
import type { MsiSink } from '../../bus/mmio.js';
import type { RegisterFile } from './register-file.js';
import { CTL_IM, CTL_IP } from './registers.js';

const DATA = 4;
const ADDRESS = 8;
const UPPER_ADDRESS = 12;

export class Interrupt {
  readonly #registers: RegisterFile;
  readonly #messages: MsiSink;
  readonly #control: number;

  /** `control`: offset of the control register. */
  constructor(registers: RegisterFile, messages: MsiSink, control: number) {
    this.#registers = registers;
    this.#messages = messages;
    this.#control = control;
  }

  /** The condition has come: a message, or pending while masked. */
  raise(): void {
    const control = this.#registers.get(this.#control);
    if ((control & CTL_IM) === 0) this.#send();
    else this.#registers.set(this.#control, control | CTL_IP);
  }

  /** Software has dealt with the condition before the message was sent. */
  withdraw(): void {
    this.#registers.set(this.#control, this.#registers.get(this.#control) & ~CTL_IP);
  }

  /** The control register was written: what is pending is sent once nothing masks it. */
  controlled(): void {
    const control = this.#registers.get(this.#control);
    if ((control & CTL_IM) !== 0 || (control & CTL_IP) === 0) return;
    this.withdraw();
    this.#send();
  }

  #send(): void {
    const registers = this.#registers;
    const address =
      registers.read32(this.#control + UPPER_ADDRESS) * 2 ** 32 + registers.read32(this.#control + ADDRESS);
    this.#messages.message(address, registers.read32(this.#control + DATA));
  }
}
