/**
 * What of a device can be mapped: a BAR of PCI, a resource of a platform device. Little-endian.
 *
 * Loads never act. They read an image, plain memory that the device keeps current, so that a program which has it
 * mapped may spin on a status register at the cost of a load. Stores act at once, one by one, in the order of the program,
 * however they come: by write(2), or by an instruction that a mapping caught.
 */

/** Bytes of one store. */
export type StoreWidth = 1 | 2 | 4 | 8;

export interface RegisterRegion {
  readonly kind: 'registers';
  /** What loads see; its length, a power of two and at least a page, is the size of the region. Only the device writes it. */
  readonly image: Uint8Array;
  /**
   * A store of `width` bytes at `offset`, naturally aligned and inside. The value is `lo`, and `hi` above it when
   * `width` is 8; both int32. A register that knows only 4 bytes takes two of them, the low half first.
   */
  store(offset: number, width: StoreWidth, lo: number, hi: number): void;
}

/** Memory of the device that programs may map as it is. */
export interface MemoryRegion {
  readonly kind: 'memory';
  readonly image: Uint8Array;
}

export type Region = RegisterRegion | MemoryRegion;

/** Zeroed memory, a multiple of 4096 bytes, that programs can map; null when there is none to be had. */
export type SharedMemory = (length: number) => Uint8Array | null;
