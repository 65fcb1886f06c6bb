/** What a device is to those who hand it to a program: regions, interrupts, reset, and on PCI a configuration space. */
import type { Endpoint } from './dma.js';
import type { Interrupts } from './interrupts.js';
import type { Region } from './region.js';

export interface DeviceModel {
  readonly name: string;
  /** What its unit sends things to. */
  readonly endpoint: Endpoint;
  /** PCI: the six BARs, null where there is none or the upper half of the one before. Platform: its resources. */
  readonly regions: readonly (Region | null)[];
  readonly interrupts: Interrupts;
  /** Operations that are not over. */
  readonly pending: number;
  /** As a function level reset: whatever it was doing has ended when this returns, and nothing of it reaches memory. */
  reset(): void;
}

/** Configuration space: `length` 1, 2 or 4, naturally aligned, `offset` below 4096. Values are unsigned. */
export interface ConfigSpace {
  /** Bytes that there are: 256 or 4096. */
  readonly size: number;
  read(offset: number, length: number): number;
  /** What is read-only stays; what is write-1-to-clear is cleared; what acts, acts. */
  write(offset: number, length: number, value: number): void;
  /** Where a capability of this id begins; 0: there is none. */
  capability(id: number): number;
  extendedCapability(id: number): number;
}

export interface PciModel extends DeviceModel {
  readonly config: ConfigSpace;
  /** Type bits of each BAR where configuration space has no BARs: of a virtual function. */
  readonly barTypes?: readonly number[] | undefined;
}
