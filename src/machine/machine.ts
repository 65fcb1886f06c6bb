/** A machine for TypeScript programs: an engine and clients of it, all in this process. */
import { createEngine, type Engine, type EngineConfig, type LeakReport } from './engine.js';
import { IommufdClient } from './iommufd-client.js';
import { LocalClient, type ClientOptions } from './local-client.js';
import type { LocalMemory } from './local-memory.js';

export interface Machine {
  readonly engine: Engine;
  /** The client that {@link open} opens for. */
  readonly client: LocalClient;
  /** Its memory. */
  readonly memory: LocalMemory;
  /** Opens `/dev/iommu`: a context of its own each time. */
  open(path: '/dev/iommu'): IommufdClient;
  /** One more process, with memory and descriptors of its own. */
  newClient(options?: ClientOptions): LocalClient;
  /** What is alive in the engine; all zero once everything is closed. */
  leaks(): LeakReport;
}

export function createMachine(config: Partial<EngineConfig> = {}): Machine {
  const engine = createEngine({ selftest: false, ...config });
  const newClient = (options: ClientOptions = {}): LocalClient => new LocalClient(engine, options);
  const client = newClient();
  return {
    engine,
    client,
    memory: client.memory,
    open: (path) => new IommufdClient(client, path),
    newClient,
    leaks: () => engine.leaks(),
  };
}
