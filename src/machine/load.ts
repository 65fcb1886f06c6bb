/**
 * The engine, with as much of it loaded as its configuration asks for: units and devices cost a start-up that most runs
 * need not pay.
 */
import type { SharedMemory } from '../bus/region.js';
import type { Engine, EngineConfig } from './engine.js';

/** What the host adds to the configuration. */
interface HostServices {
  /** Memory that programs can map. */
  readonly allocateShared: SharedMemory;
}

export async function createEngine(config: EngineConfig, host?: HostServices): Promise<Engine> {
  const [engine, parts] = await Promise.all([
    import('./engine.js'),
    config.topology === undefined && config.inspect !== true ? null : import('./parts.js'),
  ]);
  const whole = host === undefined ? config : { ...config, sharedMemory: host.allocateShared };
  return engine.createEngine(whole, parts?.parts ?? null);
}
