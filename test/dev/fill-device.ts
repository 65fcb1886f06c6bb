/** A device that fills memory: the example of docs/add-a-device.md. */
import type { Worker, WorkQueue } from '../../src/base/work.js';
import { DmaPort } from '../../src/bus/dma-port.js';
import { defineMsixTable } from '../../src/bus/pci-capabilities.js';
import type { PciIdentity } from '../../src/bus/pci-config.js';
import { Registers } from '../../src/bus/registers.js';
import { PciDevice, type Masters, type PciPlace } from '../../src/dev/pci-device.js';

const identity: PciIdentity = {
  vendor: 0x1234,
  device: 0x10a7,
  revision: 1,
  classCode: 0xff_00_00,
  subsystemVendor: 0x1234,
  subsystem: 0x10a7,
};

const BAR_BYTES = 0x4000;
const msix = { vectors: 1, bar: 0, table: 0x2000, pending: 0x3000 };

const ADDRESS = 0x00;
const LENGTH = 0x08;
const VALUE = 0x0c;
/** Starts an operation. */
const DOORBELL = 0x10;
const STATUS = 0x14;
const IDLE = 0;
const BUSY = 1;
const FAILED = 2;

/** Bytes of one piece. */
const PIECE = 1 << 16;

export class FillDevice extends PciDevice implements Worker {
  readonly regions: readonly [Registers, null];
  readonly #registers: Registers;
  readonly #port: DmaPort;
  readonly #work: WorkQueue;
  readonly #bytes = new Uint8Array(PIECE);
  #done = 0;

  constructor(place: PciPlace, { translator, memory, work, sharedMemory }: Masters) {
    super(place, {
      identity,
      bars: [{ size: BAR_BYTES, kind: { is64: true, isPrefetchable: false } }, null],
      msi: null,
      msix,
    });
    this.#work = work;
    this.#port = new DmaPort(place.sourceId, translator, memory);
    const registers = new Registers(sharedMemory(BAR_BYTES) ?? new Uint8Array(BAR_BYTES));
    for (const at of [ADDRESS, ADDRESS + 4, LENGTH]) registers.define(at, 4, { writable: 0xffff_ffff });
    registers.define(VALUE, 1, { writable: 0xff });
    registers.define(DOORBELL, 4, { writable: 1 }, () => this.#start());
    registers.define(STATUS, 4, {});
    defineMsixTable(registers, msix);
    this.#registers = registers;
    this.regions = [registers, null];
  }

  get pending(): number {
    return this.#registers.get(STATUS, 4) === BUSY ? 1 : 0;
  }

  #start(): void {
    this.#registers.set(DOORBELL, 4, 0);
    if (this.pending > 0) return;
    this.#done = 0;
    this.#registers.set(STATUS, 4, BUSY);
    this.#work.schedule(this);
  }

  step(): boolean {
    if (!this.isMaster || this.pending === 0) return false;
    const registers = this.#registers;
    const left = registers.get(LENGTH, 4) - this.#done;
    const bytes = this.#bytes.subarray(0, Math.max(0, Math.min(PIECE, left)));
    bytes.fill(registers.get(VALUE, 1));
    const lo = registers.get(ADDRESS, 4) + this.#done;
    const hi = registers.get(ADDRESS + 4, 4) + (lo > 0xffff_ffff ? 1 : 0);
    if (!this.#port.write(hi | 0, lo | 0, bytes)) return this.#end(FAILED);
    this.#done += bytes.length;
    return this.#done < registers.get(LENGTH, 4) || this.#end(IDLE);
  }

  #end(status: number): false {
    this.#registers.set(STATUS, 4, status);
    this.interrupts.raise(0);
    return false;
  }

  protected mayMaster(): void {
    if (this.pending > 0) this.#work.schedule(this);
  }

  protected resetFunction(): void {
    this.#work.cancel(this);
    this.#registers.reset();
  }
}
