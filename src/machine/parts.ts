/** What an engine needs only where a topology asks for devices, or somebody wants to look into it. */
import { buildMachine, type Builder } from './build.js';
import type { Engine } from './engine.js';
import type { Built } from './build.js';
import { debugFile } from './inspect/files.js';
import { Sysfs, type SysfsOptions } from './sysfs/sysfs.js';

export interface Parts {
  readonly build: Builder;
  readonly debugFile: (engine: Engine, name: string) => string | null;
  readonly sysfs: (built: Built, options: SysfsOptions) => Sysfs;
}

export const parts: Parts = {
  build: buildMachine,
  debugFile,
  sysfs: (built, options) => new Sysfs(built, options),
};
