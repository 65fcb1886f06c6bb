/** What the object model is given by the machine that it is part of. */
import type { Injector } from '../base/inject.js';
import type { WorkQueue } from '../base/work.js';
import type { PhysicalMemory } from '../mem/physical.js';
import type { PinRegistry } from './pins.js';

/** Bounds on what one open of /dev/iommu may hold; beyond them the answer is ENOMEM, as from a memory cgroup. */
export interface Limits {
  readonly objects: number;
  readonly areas: number;
  /** Reserved and allowed ranges of one IOAS. */
  readonly ranges: number;
  /** Page-fault groups waiting in one queue. */
  readonly faults: number;
}

export const defaultLimits: Limits = {
  objects: 1 << 20,
  areas: 1 << 22,
  ranges: 1 << 14,
  faults: 1 << 16,
};

export interface Env {
  readonly injector: Injector;
  readonly physical: PhysicalMemory;
  readonly pins: PinRegistry;
  readonly limits: Limits;
  /** What devices do between calls. */
  readonly work: WorkQueue;
  /** Zeroed memory that programs can map, a multiple of the page size; null: none is to be had. */
  readonly sharedMemory: (length: number) => Uint8Array | null;
  /** Takes it back. Programs that have it mapped keep it. */
  readonly freeSharedMemory: (bytes: Uint8Array) => void;
}
