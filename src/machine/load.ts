/**
 * The engine, with as much of it loaded as its configuration asks for: units and devices cost a start-up that most runs
 * need not pay.
 */
import type { BlockStore, OpenBlocks } from '../dev/blocks.js';
import type { Engine, EngineConfig } from './engine.js';

export type { BlockStore };

/** What the operating system gives an engine beside its configuration. */
export interface Services {
  /** Memory that programs can map. */
  readonly allocateShared: (length: number) => Uint8Array | null;
  readonly freeShared: (memory: Uint8Array) => void;
  readonly openBlocks: OpenBlocks;
  readonly random: (length: number) => Uint8Array;
}

export async function createEngine(config: EngineConfig, services: Services): Promise<Engine> {
  const [engine, parts] = await Promise.all([
    import('./engine.js'),
    config.topology === undefined && config.inspect !== true ? null : import('./parts.js'),
  ]);
  const { allocateShared: sharedMemory, freeShared, openBlocks, random } = services;
  return engine.createEngine(
    { ...config, sharedMemory, freeShared, openBlocks, random },
    parts?.parts ?? null,
  );
}
