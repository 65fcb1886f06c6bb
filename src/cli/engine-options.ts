/** From what people type to what the engine is started with: shared by run and daemon. */
import type { EngineOptions } from '../host/engine.js';
import type { Invocation } from './commands.js';

export type CliOptions = Invocation['options'];

/** Options of the table that say how the engine behaves. */
export function engineOptions(options: CliOptions): EngineOptions {
  const memory = options['memory'] as EngineOptions['memory'];
  return {
    config: { selftest: options['selftest'] === true },
    ...(memory === undefined ? {} : { memory }),
  };
}
