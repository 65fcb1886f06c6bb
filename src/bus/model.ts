/** What a device is to those who hand it to a program: regions, interrupts, reset, and on PCI a configuration space. */
import type { Endpoint } from './dma.js';
import type { DmaPort } from './dma-port.js';
import type { Interrupts } from './interrupts.js';
import type { Region } from './region.js';

/** What of a device can be taken out of it and put into another of its kind. */
export interface MovableState {
  /** It emits nothing and looks at no memory until {@link start}; registers stay. */
  stop(): void;
  start(): void;
  /** The largest that {@link save} returns, bytes. */
  readonly most: number;
  /** All that a program could have found in it. It has stopped. */
  save(): Uint8Array;
  /** False: these are not the bytes of such a device, which is as before. */
  load(state: Uint8Array): boolean;
}

export interface DeviceModel {
  readonly name: string;
  /** What its unit sends things to. */
  readonly endpoint: Endpoint;
  /** PCI: the six BARs, null where there is none or the upper half of the one before. Platform: its resources. */
  readonly regions: readonly (Region | null)[];
  readonly interrupts: Interrupts;
  /** Absent: its state stays with it. */
  readonly movable?: MovableState | undefined;
  /** Ports through which all of its writes go, where whoever has it may watch them; absent: nobody may. */
  readonly watchedPorts?: readonly DmaPort[] | undefined;
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
