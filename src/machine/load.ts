/**
 * The engine, with as much of it loaded as its configuration asks for: units and devices cost a start-up that most runs
 * need not pay.
 */
import type { Engine, EngineConfig } from './engine.js';

/** What a host has that an engine alone has not: memory that programs can map. */
interface Services {
  readonly allocateShared: (length: number) => Uint8Array | null;
  readonly freeShared: (bytes: Uint8Array) => void;
}

export async function createEngine(config: EngineConfig, services?: Services): Promise<Engine> {
  const [engine, parts] = await Promise.all([
    import('./engine.js'),
    config.topology === undefined && config.inspect !== true ? null : import('./parts.js'),
  ]);
  const memory =
    services === undefined
      ? {}
      : { sharedMemory: services.allocateShared, freeSharedMemory: services.freeShared };
  return engine.createEngine({ ...memory, ...config }, parts?.parts ?? null);
}
