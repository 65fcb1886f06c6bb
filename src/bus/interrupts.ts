/**
 * The interrupts of a device, between the device, which raises them, and whoever has it, who chose the kind and is
 * told. How messages are routed beyond that is nobody's business here: VFIO turns each into an eventfd.
 */

/** `none`: nobody is told. */
export type InterruptMode = 'none' | 'intx' | 'msi' | 'msix';

/** What a device can raise. */
export interface InterruptCapability {
  readonly intx: boolean;
  /** Messages; 0 is no capability. */
  readonly msi: number;
  readonly msix: number;
}

export interface InterruptSink {
  /** Message `vector` of the mode in force. */
  message(vector: number): void;
  /** The line went up, or down. */
  line(asserted: boolean): void;
}

export class Interrupts {
  /** Whoever has the device. */
  sink: InterruptSink | null = null;
  #mode: InterruptMode = 'none';
  #isAsserted = false;

  constructor(readonly capability: InterruptCapability) {}

  get mode(): InterruptMode {
    return this.#mode;
  }

  /** A change of mode while the line is up tells the sink, as a level that is still there would. */
  set mode(mode: InterruptMode) {
    this.#mode = mode;
    if (mode === 'intx' && this.#isAsserted) this.sink?.line(true);
  }

  get isAsserted(): boolean {
    return this.#isAsserted;
  }

  /** Device: message `vector`, if messages are what it was told to use. */
  raise(vector: number): void {
    if (this.#mode === 'msi' || this.#mode === 'msix') this.sink?.message(vector);
  }

  /** Device: the level of its line. It counts only while messages are off. */
  setLine(asserted: boolean): void {
    if (asserted === this.#isAsserted) return;
    this.#isAsserted = asserted;
    if (this.#mode === 'intx') this.sink?.line(asserted);
  }
}
