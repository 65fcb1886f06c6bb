/** What an engine needs only where a topology asks for devices, or somebody wants to look into it. */
import { buildMachine, type Builder } from './build.js';
import type { Engine } from './engine.js';
import { debugFile } from './inspect/files.js';

export interface Parts {
  readonly build: Builder;
  readonly debugFile: (engine: Engine, name: string) => string | null;
}

export const parts: Parts = { build: buildMachine, debugFile };
