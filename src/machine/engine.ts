/**
 * The composition root: one machine with its memory, its IOMMU units and the files through which programs see
 * them. The only place that names concrete units.
 */
import { refuse, catalogue } from '../base/errno.js';
import { Injector } from '../base/inject.js';
import { PhysicalMemory } from '../mem/physical.js';
import type { OpenFile, Task } from '../mem/task.js';
import { MockUnit } from '../hw/mock/unit.js';
import { Context } from '../iommufd/context.js';
import { defaultLimits, type Env, type Limits } from '../iommufd/env.js';
import { iommufdIoctls } from '../iommufd/ioctls.js';
import { selftestIoctls } from '../selftest/ioctls.js';
import type { IoctlTable } from '../iommufd/dispatch.js';
import { PinRegistry } from '../iommufd/pins.js';
import { devices, type DeviceNode } from './devices.js';
import type { Topology } from './topology.js';

const rules = catalogue({
  open_path: ['ENOENT', 'this machine has no device file {path}'],
});

export interface EngineConfig {
  /** Offers the mock IOMMU and IOMMU_TEST_CMD. */
  readonly selftest: boolean;
  /** The units, buses and devices of the machine. Default: none. */
  readonly topology?: Topology;
  readonly limits?: Partial<Limits>;
}

/** What is alive in the machine; all zero when nothing leaks. */
export interface LeakReport {
  readonly contexts: number;
  readonly pinnedPages: number;
  readonly windows: number;
  readonly tables: number;
}

export interface Engine {
  readonly devices: readonly DeviceNode[];
  readonly injector: Injector;
  /** Opens a device file for `task`; ENOENT for any other path. */
  open(path: string, flags: number, task: Task): OpenFile;
  leaks(): LeakReport;
}

export function createEngine(config: EngineConfig): Engine {
  const injector = new Injector();
  const physical = new PhysicalMemory(injector);
  const env: Env = {
    injector,
    physical,
    pins: new PinRegistry(),
    limits: { ...defaultLimits, ...config.limits },
  };
  const ioctls: IoctlTable = config.selftest ? selftestIoctls(new MockUnit(physical)) : iommufdIoctls;
  let contexts = 0;
  return {
    devices,
    injector,
    open(path) {
      if (path !== '/dev/iommu') refuse(rules.open_path, { path });
      contexts += 1;
      return new Context(env, ioctls, () => (contexts -= 1));
    },
    leaks: () => ({
      contexts,
      pinnedPages: env.pins.pinnedPages,
      windows: physical.liveWindows,
      tables: physical.tables.liveBlocks,
    }),
  };
}
