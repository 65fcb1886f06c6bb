/**
 * Configuration space of a PCI Express function: the header, and two chains of capabilities. All of it is data
 * ({@link Registers}); `pci-capabilities.ts` and `pci-extended.ts` know what stands in which capability.
 * Chapters: PCI Local Bus 3.0, 6; PCI Express Base 5.0, 7.5.
 */
import { invariant } from '../base/errno.js';
import type { ConfigSpace } from './model.js';
import * as r from './pci-registers.js';
import { Registers, type RegisterBits } from './registers.js';

/** Parity errors, aborts, system errors: all are cleared by a 1. */
const STATUS_ERRORS = 0xf900;

const BAR_FLAGS = 0xf;

const CONFIG_BYTES = 4096;
const FIRST_CAPABILITY = 0x40;
const FIRST_EXTENDED = 0x100;

/**
 * Who made it, and what it is. OURS: a virtual function says it too, where hardware has FFFFh and whoever reads asks the
 * physical one.
 */
export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  /** 24 bits: class, subclass, programming interface. */
  readonly classCode: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
}

export interface BarKind {
  /** Takes the next BAR too. */
  readonly is64: boolean;
  readonly isPrefetchable: boolean;
}

/** Something of which there is a chain: where the next one may begin, and where the last one is linked. */
interface Chain {
  readonly offsets: Map<number, number>;
  free: number;
  last: number;
}

export class PciConfig implements ConfigSpace {
  readonly size = CONFIG_BYTES;
  readonly registers = new Registers(new Uint8Array(CONFIG_BYTES));
  /** D0 to D3hot, as the power management capability has been told. */
  powerState = 0;
  readonly #chain: Chain = { offsets: new Map(), free: FIRST_CAPABILITY, last: 0 };
  readonly #extended: Chain = { offsets: new Map(), free: FIRST_EXTENDED, last: 0 };

  constructor(
    identity: PciIdentity,
    { isVirtual, isMultiFunction }: { readonly isVirtual: boolean; readonly isMultiFunction: boolean },
  ) {
    const { registers } = this;
    const fixed = (offset: number, length: 1 | 2 | 4, reset: number): void =>
      registers.define(offset, length, { reset });
    fixed(r.PCI_VENDOR_ID, 2, identity.vendor);
    fixed(r.PCI_DEVICE_ID, 2, identity.device);
    fixed(r.PCI_CLASS_REVISION, 4, ((identity.classCode << 8) | identity.revision) >>> 0);
    fixed(r.PCI_SUBSYSTEM_VENDOR_ID, 2, identity.subsystemVendor);
    fixed(r.PCI_SUBSYSTEM_ID, 2, identity.subsystem);
    fixed(r.PCI_HEADER_TYPE, 1, isMultiFunction ? 0x80 : 0);
    fixed(r.PCI_INTERRUPT_PIN, 1, isVirtual ? 0 : 1);
    // A virtual function has no line, and its memory is enabled by the physical one.
    const writable =
      r.PCI_COMMAND_MEMORY |
      r.PCI_COMMAND_MASTER |
      r.PCI_COMMAND_PARITY |
      r.PCI_COMMAND_SERR |
      r.PCI_COMMAND_INTX_DISABLE;
    registers.define(r.PCI_COMMAND, 2, { writable: isVirtual ? r.PCI_COMMAND_MASTER : writable });
    registers.define(r.PCI_STATUS, 2, { reset: r.PCI_STATUS_CAP_LIST, clears: STATUS_ERRORS });
    registers.define(r.PCI_CACHE_LINE_SIZE, 1, { writable: 0xff });
    registers.define(r.PCI_INTERRUPT_LINE, 1, { writable: 0xff });
  }

  read(offset: number, length: number): number {
    return this.registers.get(offset, length as 1 | 2 | 4);
  }

  write(offset: number, length: number, value: number): void {
    this.registers.store(offset, length as 1 | 2 | 4, value | 0, 0);
  }

  capability(id: number): number {
    return this.#chain.offsets.get(id) ?? 0;
  }

  extendedCapability(id: number): number {
    return this.#extended.offsets.get(id) ?? 0;
  }

  get command(): number {
    return this.registers.get(r.PCI_COMMAND, 2);
  }

  /** A base address register for `size` bytes, a power of two; the address bits that can be written say the size. */
  addBar(index: number, size: number, { is64, isPrefetchable }: BarKind): void {
    defineBar(this.registers, r.PCI_BASE_ADDRESS_0 + 4 * index, size, { is64, isPrefetchable });
  }

  /** Where firmware has put it. */
  placeBar(index: number, address: bigint): void {
    placeBar(this.registers, r.PCI_BASE_ADDRESS_0 + 4 * index, address);
  }

  /**
   * Links a capability of `length` bytes into the chain, behind all others. Returns where it begins; its first two bytes
   * are made.
   */
  addCapability(id: number, length: number): number {
    const chain = this.#chain;
    const offset = place(chain, id, length, FIRST_EXTENDED);
    this.registers.define(offset, 1, { reset: id });
    this.registers.fix(chain.last === 0 ? r.PCI_CAPABILITY_LIST : chain.last + 1, 1, offset);
    chain.last = offset;
    return offset;
  }

  /** The same for the chain that begins at 0x100; the first four bytes are made. */
  addExtended(id: number, version: number, length: number): number {
    const chain = this.#extended;
    const offset = place(chain, id, length, CONFIG_BYTES);
    invariant(chain.last !== 0 || offset === FIRST_EXTENDED, 'the first extended capability is elsewhere');
    this.registers.define(offset, 4, { reset: id | (version << 16) });
    if (chain.last !== 0) {
      this.registers.fix(chain.last, 4, (this.registers.get(chain.last, 4) | (offset << 20)) >>> 0);
    }
    chain.last = offset;
    return offset;
  }

  /** Leaves room: the next extended capability begins at `offset`. */
  skipExtended(offset: number): void {
    this.#extended.free = offset;
  }

  /** A register in it; see {@link Registers.define}. */
  define(offset: number, length: 1 | 2 | 4, bits: RegisterBits, act: (() => void) | null = null): void {
    this.registers.define(offset, length, bits, act);
  }

  /** As after a reset of the function. Addresses and what was enabled at boot come back, as whoever resets restores them. */
  reset(): void {
    this.registers.reset();
    this.powerState = 0;
  }
}

function place(chain: Chain, id: number, length: number, end: number): number {
  const offset = chain.free;
  const fits = offset + length <= end;
  // Of those that a vendor designates there may be several; whoever asks by id finds the first.
  const isFirst = !chain.offsets.has(id);
  invariant(fits && (isFirst || id === r.PCI_EXT_CAP_ID_DVSEC), `capability ${id} does not fit at ${offset}`);
  if (isFirst) chain.offsets.set(id, offset);
  chain.free = (offset + length + 3) & ~3;
  return offset;
}

/** What a BAR says of itself in its lowest bits. */
export const typeBits = ({ is64, isPrefetchable }: BarKind): number =>
  (is64 ? r.PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) | (isPrefetchable ? r.PCI_BASE_ADDRESS_MEM_PREFETCH : 0);

/** A base address register at `offset`, of the header or of the SR-IOV capability. */
export function defineBar(
  registers: Registers,
  offset: number,
  size: number,
  { is64, isPrefetchable }: BarKind,
): void {
  invariant(size >= 16 && Number.isInteger(Math.log2(size)), `a BAR of ${size} bytes`);
  const flags = typeBits({ is64, isPrefetchable });
  registers.define(offset, 4, { reset: flags, writable: (-size & ~BAR_FLAGS) >>> 0 });
  if (is64) registers.define(offset + 4, 4, { writable: 0xffff_ffff });
}

export function placeBar(registers: Registers, offset: number, address: bigint): void {
  const flags = registers.get(offset, 4) & BAR_FLAGS;
  registers.fix(offset, 4, (Number(address & 0xffff_fff0n) | flags) >>> 0);
  if ((flags & r.PCI_BASE_ADDRESS_MEM_TYPE_64) !== 0) registers.fix(offset + 4, 4, Number(address >> 32n));
}
