/**
 * The engine, with as much of it loaded as its configuration asks for: units and devices cost a start-up that most runs
 * need not pay.
 */
import type { Engine, EngineConfig } from './engine.js';

export async function createEngine(config: EngineConfig): Promise<Engine> {
  const [engine, parts] = await Promise.all([
    import('./engine.js'),
    config.topology === undefined && config.inspect !== true ? null : import('./parts.js'),
  ]);
  return engine.createEngine(config, parts?.parts ?? null);
}
