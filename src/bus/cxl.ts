/**
 * What makes a PCI function a CXL device to whoever reads its configuration space, and the registers that this leads to:
 * DVSECs of the consortium's vendor id, and a block of component registers with one decoder of host-managed memory.
 * Chapters: CXL 3.1, 8.1.3 (device), 8.1.8 (Flex Bus port), 8.1.9 (register locator), 8.2.4 (component registers).
 * OURS: the memory itself is nowhere. Linux 7.2 has no region of VFIO that would lead a program to it.
 */
import type { PciConfig } from './pci-config.js';
import { PCI_EXT_CAP_ID_DVSEC } from './pci-registers.js';
import type { Registers } from './registers.js';

const CXL_VENDOR = 0x1e98;
const ID_DEVICE = 0;
const ID_FLEX_BUS = 7;
const ID_LOCATOR = 8;

/** Adds a DVSEC; what its kind defines begins 0x0a behind its start. */
function addDvsec(config: PciConfig, id: number, revision: number, length: number): number {
  const at = config.addExtended(PCI_EXT_CAP_ID_DVSEC, 1, length);
  config.define(at + 4, 4, { reset: CXL_VENDOR | (revision << 16) | (length << 20) });
  config.define(at + 8, 2, { reset: id });
  return at;
}

const CACHE = 1 << 0;
const IO = 1 << 1;
const MEM = 1 << 2;
const ONE_RANGE = 1 << 4;
const INFO_VALID = 1 << 0;
const ACTIVE = 1 << 1;
/** Bits 31:28 are the lowest of a range's address and size. */
const LOW_MASK = 0xf000_0000;
/** What the sizes and places of ranges are multiples of. */
export const CXL_GRANULE = 2 ** 28;

const high = (bytes: number): number => Math.floor(bytes / 2 ** 32);
const low = (bytes: number): number => bytes % 2 ** 32;

/** A device of type 2, with a cache and `memory` bytes, which are there from the start. */
function addDevice(config: PciConfig, memory: number): void {
  const at = addDvsec(config, ID_DEVICE, 2, 0x3c);
  config.define(at + 0x0a, 2, { reset: CACHE | IO | MEM | ONE_RANGE });
  config.define(at + 0x0c, 2, { reset: IO, writable: CACHE | MEM });
  config.define(at + 0x18, 4, { reset: high(memory) });
  config.define(at + 0x1c, 4, { reset: (low(memory) | INFO_VALID | ACTIVE) >>> 0 });
  config.define(at + 0x20, 4, { writable: 0xffff_ffff });
  config.define(at + 0x24, 4, { writable: LOW_MASK });
}

/** Flits of 68 bytes, and a virtual hierarchy. */
const FLIT_68 = 1 << 5;

/** Everything was negotiated. */
function addFlexBus(config: PciConfig): void {
  const at = addDvsec(config, ID_FLEX_BUS, 1, 0x14);
  for (const offset of [0x0a, 0x0c, 0x0e])
    config.define(at + offset, 2, { reset: CACHE | IO | MEM | FLIT_68 });
}

const BLOCK_COMPONENT = 1;
/** Bytes of a block of component registers. */
export const COMPONENT_BYTES = 0x1_0000;

function addLocator(config: PciConfig, bar: number): void {
  const at = addDvsec(config, ID_LOCATOR, 0, 0x14);
  config.define(at + 0x0c, 4, { reset: bar | (BLOCK_COMPONENT << 8) });
}

/** `bar` is all of it component registers. */
export function addCxl(config: PciConfig, memory: number, bar: number): void {
  addDevice(config, memory);
  addFlexBus(config);
  addLocator(config, bar);
}

/** Registers of CXL.cache and CXL.mem begin here; the list of their capabilities is the first. */
const CACHE_MEM = 0x1000;
const ID_LIST = 1;
const ID_DECODER = 5;
const VERSION = 1 << 16;
const CACHE_MEM_VERSION = 1 << 20;
const DECODER = 0x200;
const DECODER_ENABLE = 1 << 1;
const CONTROL = 0x20;
const COMMIT = 1 << 9;
const COMMITTED = 1 << 10;
/** Interleaving, lock on commit, commit, type. */
const CONTROL_WRITABLE = 0x13ff;

/** Component registers in an image of their own. A decoder that is told to commit has done so. */
export function defineComponent(registers: Registers): void {
  registers.define(CACHE_MEM, 4, { reset: ID_LIST | VERSION | CACHE_MEM_VERSION | (1 << 24) });
  registers.define(CACHE_MEM + 4, 4, { reset: (ID_DECODER | VERSION | (DECODER << 20)) >>> 0 });
  const at = CACHE_MEM + DECODER;
  registers.define(at + 4, 4, { writable: DECODER_ENABLE });
  for (const base of [0x10, 0x18]) {
    registers.define(at + base, 4, { writable: LOW_MASK });
    registers.define(at + base + 4, 4, { writable: 0xffff_ffff });
  }
  registers.define(at + CONTROL, 4, { writable: CONTROL_WRITABLE }, () => {
    const stored = registers.get(at + CONTROL, 4);
    registers.set(at + CONTROL, 4, (stored & COMMIT) === 0 ? stored & ~COMMITTED : stored | COMMITTED);
  });
}
