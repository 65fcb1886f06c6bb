/**
 * Intel's DMA engine (I/O Acceleration Technology, CBDMA) as Linux' ioatdma and the VFIO selftests drive it: one
 * channel that copies, with MSI and MSI-X. The function of a Skylake server, 8086:2021.
 */
import type { WorkQueue } from '../../base/work.js';
import type { Translator } from '../../bus/dma.js';
import { DmaPort } from '../../bus/dma-port.js';
import { defineMsixTable } from '../../bus/pci-capabilities.js';
import type { PciIdentity } from '../../bus/pci-config.js';
import type { SharedMemory } from '../../bus/region.js';
import { Registers } from '../../bus/registers.js';
import type { PhysicalMemory } from '../../mem/physical.js';
import { PciDevice, type PciPlace } from '../pci-device.js';
import { Channel } from './channel.js';
import * as r from './registers.js';

const identity: PciIdentity = {
  vendor: 0x8086,
  device: 0x2021,
  revision: 0x04,
  classCode: 0x08_80_00,
  subsystemVendor: 0x8086,
  subsystem: 0x0000,
};

const BAR_BYTES = 0x4000;
const msix = { vectors: 1, bar: 0, table: 0x2000, pending: 0x3000 };
const CHANNEL_VECTOR = 0;
const ALL_ERRORS = 0xffff_ffff;

/** What a device that masters memory is given. */
export interface Masters {
  readonly translator: Translator;
  readonly memory: PhysicalMemory;
  readonly work: WorkQueue;
  readonly sharedMemory: SharedMemory;
}

export class Ioat extends PciDevice {
  readonly regions: readonly [Registers, null];
  readonly registers: Registers;
  readonly port: DmaPort;
  readonly work: WorkQueue;
  readonly #channel: Channel;

  constructor(place: PciPlace, { translator, memory, work, sharedMemory }: Masters) {
    super(place, {
      identity,
      bars: [{ size: BAR_BYTES, kind: { is64: true, isPrefetchable: false } }, null],
      msi: { vectors: 1, is64: true, hasMasks: false },
      msix,
    });
    this.work = work;
    this.port = new DmaPort(place.sourceId, translator, memory);
    this.registers = new Registers(sharedMemory(BAR_BYTES) ?? new Uint8Array(BAR_BYTES));
    this.regions = [this.registers, null];
    this.#defineRegisters();
    this.#channel = new Channel(this);
  }

  #defineRegisters(): void {
    const { registers, config } = this;
    registers.define(r.CHANCNT, 1, { reset: 1 });
    registers.define(r.XFERCAP, 1, { reset: r.XFERCAP_1M });
    const writable = r.INTRCTRL_MASTER_INT_EN | r.INTRCTRL_MSIX_VECTOR_CONTROL;
    registers.define(r.INTRCTRL, 1, { writable }, () => this.#interruptControlled());
    registers.define(r.VERSION, 1, { reset: r.VERSION_3_3 });
    registers.define(r.PERPORTOFFSET, 2, { reset: r.CHANNEL });
    defineMsixTable(registers, msix);
    config.define(r.PCI_DMAUNCERRSTS, 4, { clears: ALL_ERRORS });
    config.define(r.PCI_CHANERR_INT, 4, { clears: ALL_ERRORS });
    config.define(r.PCI_CHANERRMASK_INT, 4, { writable: ALL_ERRORS });
  }

  get pending(): number {
    return this.#channel.isActive ? 1 : 0;
  }

  interrupt(): void {
    const control = this.registers.get(r.INTRCTRL, 1);
    const hasVectors = (control & r.INTRCTRL_MSIX_VECTOR_CONTROL) !== 0;
    if (this.interrupts.mode === 'msix' && hasVectors) return this.interrupts.raise(CHANNEL_VECTOR);
    this.registers.set(r.ATTNSTATUS, 4, 1);
    if ((control & r.INTRCTRL_MASTER_INT_EN) === 0) return;
    this.registers.set(r.INTRCTRL, 1, control | r.INTRCTRL_INT_STATUS | r.INTRCTRL_INT);
    this.interrupts.raise(CHANNEL_VECTOR);
    this.setLine(true);
  }

  failed(errors: number): void {
    const { registers } = this.config;
    registers.set(r.PCI_CHANERR_INT, 4, (registers.get(r.PCI_CHANERR_INT, 4) | errors) >>> 0);
  }

  /** Its driver stores here when it has looked: hardware forgets when ATTNSTATUS is loaded, which nobody sees. */
  #interruptControlled(): void {
    const { registers } = this;
    registers.set(r.ATTNSTATUS, 4, 0);
    registers.set(r.INTRCTRL, 1, registers.get(r.INTRCTRL, 1) & ~(r.INTRCTRL_INT_STATUS | r.INTRCTRL_INT));
    this.setLine(false);
  }

  protected mayMaster(): void {
    this.#channel.resume();
  }

  protected resetFunction(): void {
    this.#channel.reset();
    this.registers.reset();
  }
}
