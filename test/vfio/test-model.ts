/**
 * A PCI device for tests: BAR 0 has registers and the MSI-X table, BAR 2 memory. Register 0 of BAR 0 counts stores,
 * 8 raises the message that is stored there, 16 sets the level of the line, 24 keeps what is stored.
 */
import type { Endpoint } from '../../src/bus/dma.js';
import { Interrupts } from '../../src/bus/interrupts.js';
import type { DmaPort } from '../../src/bus/dma-port.js';
import type { ConfigSpace, MovableState, PciModel } from '../../src/bus/model.js';
import type { MemoryRegion, Region, RegisterRegion, StoreWidth } from '../../src/bus/region.js';

/** Bytes and, for each, which bits a write changes; capabilities are found by their chain. */
export class TestConfig implements ConfigSpace {
  readonly bytes: Uint8Array;
  readonly writable: Uint8Array;

  constructor(readonly size = 4096) {
    this.bytes = new Uint8Array(size);
    this.writable = new Uint8Array(size);
  }

  set(at: number, width: number, value: number, writable = 0): this {
    for (let i = 0; i < width; i++) {
      this.bytes[at + i] = value >>> (8 * i);
      this.writable[at + i] = writable >>> (8 * i);
    }
    return this;
  }

  read(offset: number, length: number): number {
    let value = 0;
    for (let i = 0; i < length; i++) value += this.bytes[offset + i]! * 2 ** (8 * i);
    return value;
  }

  write(offset: number, length: number, value: number): void {
    for (let i = 0; i < length; i++) {
      const mask = this.writable[offset + i]!;
      this.bytes[offset + i] = (this.bytes[offset + i]! & ~mask) | ((value >>> (8 * i)) & mask);
    }
  }

  capability(id: number): number {
    for (let at = this.bytes[0x34]!; at !== 0; at = this.bytes[at + 1]!) if (this.bytes[at] === id) return at;
    return 0;
  }

  extendedCapability(id: number): number {
    for (let at = 256; at >= 256 && at < this.size;) {
      const header = this.read(at, 4);
      if ((header & 0xffff) === id) return at;
      at = (header >>> 20) & 0xffc;
    }
    return 0;
  }
}

/** Power management, MSI with 4 messages, MSI-X with 8, PCI Express with FLR, a subsystem id that is hidden; AER, PASID. */
export function testConfig(): TestConfig {
  const config = new TestConfig();
  config.set(0, 4, 0x0a51_1b36).set(4, 2, 0, 0x547).set(6, 2, 0x10).set(8, 4, 0x0108_0201);
  config.set(0x0c, 2, 0, 0xffff);
  config.set(0x10, 4, 0xe000_000c, 0xffff_c000).set(0x14, 4, 0, 0xffff_ffff);
  config.set(0x18, 4, 0xe010_0000, 0xffff_0000);
  config.set(0x34, 1, 0x40).set(0x3c, 1, 0xff, 0xff).set(0x3d, 1, 1);
  config.set(0x40, 4, 0xf803_4801).set(0x44, 2, 0x8, 0x103);
  config.set(0x48, 4, 0x0184_5805).set(0x4a, 2, 0x0184, 0x71).set(0x4c, 4, 0, 0xffff_fffc);
  config.set(0x58, 4, 0xbeef_700d);
  config.set(0x5a, 2, 0x0101);
  config.set(0x70, 4, 0x0002_b010).set(0x74, 4, 0x1000_8000).set(0x78, 2, 0x2810, 0xfadf);
  config.set(0x70 + 40, 2, 0, 0x7f);
  config.set(0xb0, 2, 0x0011).set(0xb2, 2, 7, 0xc000).set(0xb4, 4, 0x2000).set(0xb8, 4, 0x3000);
  config
    .set(256, 4, 0x1501_001b)
    .set(256 + 4, 2, 0x1400)
    .set(256 + 6, 2, 0, 7);
  config.set(0x150, 4, 0x2001_000b).set(0x154, 4, 0x0100_0001).set(0x158, 4, 0, 0xffff_ffff);
  config.set(0x200, 4, 0x0002_0001).set(0x208, 4, 0, 0xffff_ffff);
  return config;
}

interface Store {
  readonly offset: number;
  readonly width: StoreWidth;
  readonly lo: number;
  readonly hi: number;
}

export class TestModel implements PciModel {
  readonly name = 'test';
  readonly interrupts = new Interrupts({ intx: true, msi: 4, msix: 8 });
  readonly regions: readonly (Region | null)[];
  readonly registers: RegisterRegion;
  readonly memory: MemoryRegion;
  readonly stores: Store[] = [];
  /** What {@link makeMovable} has made. */
  movable: MovableState | undefined = undefined;
  watchedPorts: readonly DmaPort[] | undefined = undefined;
  isStopped = false;
  pending = 0;
  resets = 0;

  constructor(
    readonly endpoint: Endpoint,
    readonly config: TestConfig = testConfig(),
    allocate: (length: number) => Uint8Array = (length) => new Uint8Array(length),
  ) {
    const image = allocate(0x4000);
    this.registers = {
      kind: 'registers',
      image,
      store: (offset, width, lo, hi) => this.#store({ offset, width, lo, hi }),
    };
    this.memory = { kind: 'memory', image: allocate(0x1_0000) };
    this.regions = [this.registers, null, this.memory, null, null, null];
  }

  /** Its state can be taken out: 8 bytes, of which 4 are a mark. */
  makeMovable(): void {
    const { image } = this.registers;
    this.movable = {
      most: 8,
      stop: () => (this.isStopped = true),
      start: () => (this.isStopped = false),
      save: () => Uint8Array.of(...[77, 111, 118, 101], ...image.subarray(24, 28)),
      load: (state) => {
        if (state.length !== 8 || state[0] !== 77) return false;
        image.set(state.subarray(4), 24);
        return true;
      },
    };
  }

  #store(store: Store): void {
    this.stores.push(store);
    const view = new DataView(this.registers.image.buffer, this.registers.image.byteOffset);
    view.setUint32(0, this.stores.length, true);
    if (store.offset === 8) this.interrupts.raise(store.lo);
    if (store.offset === 16) this.interrupts.setLine(store.lo !== 0);
    if (store.offset === 24) view.setInt32(24, store.lo, true);
  }

  reset(): void {
    this.resets += 1;
    this.interrupts.setLine(false);
    this.registers.image.fill(0);
    this.stores.length = 0;
    this.config.write(4, 2, 0);
    this.config.write(0xb2, 2, 0);
  }
}
