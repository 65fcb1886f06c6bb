/** A machine for TypeScript programs: an engine and clients of it, all in this process. */
import { refuse } from '../base/errno.js';
import type { Events } from '../base/events.js';
import type { AddressSpaceProvider } from '../mem/providers.js';
import type { BuiltDevice } from './build.js';
import { createEngine, type Engine, type EngineConfig, type LeakReport } from './engine.js';
import { dumpOf, walkOf, type Dump } from './inspect/dump.js';
import type { WalkReport } from './inspect/report.js';
import { IommufdClient } from './iommufd-client.js';
import { LocalClient, type ClientOptions } from './local-client.js';
import type { LocalMemory } from './local-memory.js';
import { rules } from './machine-rules.js';
import { parts } from './parts.js';
import { provide, type ProvidedSpace, type ProvideOptions } from './provide.js';

/** Host physical memory: tables, queues, and what is pinned of clients. */
export interface HostMemory {
  /** `length` bytes; null if any of them is no memory. */
  read(hpa: bigint, length: number): Uint8Array | null;
  /** False if any of them is no memory. */
  write(hpa: bigint, bytes: Uint8Array): boolean;
}

export interface Machine {
  readonly engine: Engine;
  /** The client that {@link open} opens for. */
  readonly client: LocalClient;
  /** Its memory. */
  readonly memory: LocalMemory;
  /** What units and devices see: every bit of every table can be read and changed here. */
  readonly physical: HostMemory;
  /** Faults, stale translations, log lines. */
  readonly events: Events;
  /** Opens `/dev/iommu`: a context of its own each time. */
  open(path: '/dev/iommu'): IommufdClient;
  /** One more process, with memory and descriptors of its own. */
  newClient(options?: ClientOptions): LocalClient;
  /** A device of the topology, by name: `dma` makes it do something. ENODEV when there is none. */
  device(name: string): BuiltDevice;
  /** Gives a device, by name, so many virtual functions, or takes all away. EBUSY when some are in use. */
  setNumVfs(name: string, count: number): void;
  /** Puts an address space from outside in front of a device, or of a PASID of it. */
  provide(device: string, provider: AddressSpaceProvider, options?: ProvideOptions): ProvidedSpace;
  /** The way of an address through the tables as they are now. */
  walk(device: string, iova: bigint, pasid?: number): WalkReport;
  /** Objects, devices, units with registers, tables and caches. */
  dump(): Dump;
  /** What is alive in the engine; all zero once everything is closed. */
  leaks(): LeakReport;
}

export function createMachine(config: Partial<EngineConfig> = {}): Machine {
  const engine = createEngine({ selftest: false, ...config }, parts);
  const { physical, events } = engine;
  const newClient = (options: ClientOptions = {}): LocalClient => new LocalClient(engine, options);
  const client = newClient();
  const device = (name: string): BuiltDevice =>
    engine.built.devices.get(name) ?? refuse(rules.machine_device, { device: name });
  return {
    engine,
    client,
    memory: client.memory,
    physical: {
      read(hpa, length) {
        const bytes = new Uint8Array(length);
        return physical.read(hpa, bytes) ? bytes : null;
      },
      write: (hpa, bytes) => physical.write(hpa, bytes),
    },
    events,
    open: (path) => new IommufdClient(client, path),
    newClient,
    device,
    setNumVfs: (name, count) => engine.built.setNumVfs(device(name), count),
    provide: (name, provider, options = {}) => provide(device(name), provider, options),
    walk: (name, iova, pasid) => walkOf(engine, device(name).plan.name, pasid ?? null, iova)!,
    dump: () => dumpOf(engine),
    leaks: () => engine.leaks(),
  };
}
