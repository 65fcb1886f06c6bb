/**
 * The DMA test device as a function on PCI. What it does it is asked for by its driver ({@link DmaEngine}); on the bus it
 * shows address services as its engine has them, and a register that says what it is.
 */
import { addCxl, COMPONENT_BYTES, defineComponent } from '../bus/cxl.js';
import type { DmaPort } from '../bus/dma-port.js';
import type { PciIdentity } from '../bus/pci-config.js';
import type { SharedMemory } from '../bus/region.js';
import { Registers } from '../bus/registers.js';
import type { DmaEngine } from './dma-engine.js';
import { PciDevice, type PciPlace } from './pci-device.js';

/** Nobody's numbers: no driver of a real device takes it. */
const identity: PciIdentity = {
  vendor: 0x1234,
  device: 0x10a5,
  revision: 1,
  classCode: 0xff_00_00,
  subsystemVendor: 0x1234,
  subsystem: 0x10a5,
};

const BAR_BYTES = 0x1000;
/** "ioas", as bytes. */
const MAGIC = 0x7361_6f69;
/** Component registers of CXL. */
const COMPONENT_BAR = 2;

export class DmaTest extends PciDevice {
  readonly regions: readonly (Registers | null)[];

  constructor(
    place: PciPlace,
    readonly engine: DmaEngine,
    sharedMemory: SharedMemory,
    /** Bytes of memory, if it is a CXL device. */
    cxlMemory: number | null = null,
  ) {
    const bar = { size: BAR_BYTES, kind: { is64: false, isPrefetchable: false } };
    const component = { size: COMPONENT_BYTES, kind: { is64: true, isPrefetchable: false } };
    super(place, {
      identity,
      bars: cxlMemory === null ? [bar] : [bar, null, component, null],
      msi: null,
      msix: null,
      services: {
        ats: engine.cache !== null,
        pageRequests: engine.requests?.limit ?? 0,
        pasidBits: Math.log2(Math.max(1, engine.maxPasids)),
      },
    });
    const registers = (length: number): Registers =>
      new Registers(sharedMemory(length) ?? new Uint8Array(length));
    const own = registers(BAR_BYTES);
    own.define(0, 4, { reset: MAGIC });
    if (cxlMemory === null) {
      this.regions = [own];
      return;
    }
    const shown = registers(COMPONENT_BYTES);
    defineComponent(shown);
    this.regions = [own, null, shown, null];
    addCxl(this.config, cxlMemory, COMPONENT_BAR);
  }

  override get endpoint(): DmaEngine {
    return this.engine;
  }

  /** What it writes may be logged. */
  get watchedPorts(): readonly DmaPort[] {
    return this.engine.ports;
  }

  get pending(): number {
    return this.engine.pending;
  }

  /** Its operations come from a call and not from a doorbell, so nothing of them waits. */
  protected mayMaster(): void {}

  protected resetFunction(): void {
    this.engine.reset();
    for (const region of this.regions) region?.reset();
  }
}
