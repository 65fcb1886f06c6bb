/**
 * Registers seen from outside, and interrupts as messages: all that the driver of a unit and its hardware have in
 * common besides memory.
 */

/** A window of registers. Offsets in bytes from its start, naturally aligned; what is not there reads 0. */
export interface Mmio {
  /** Unsigned. */
  read32(offset: number): number;
  write32(offset: number, value: number): void;
  read64(offset: number): bigint;
  write64(offset: number, value: bigint): void;
}

/** Where message-signalled interrupts go: the write of `data` to `address` (0xfee00000..0xfeefffff). */
export interface MsiSink {
  message(address: number, data: number): void;
}
