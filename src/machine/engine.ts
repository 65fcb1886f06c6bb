/**
 * The composition root: one machine with its memory, its IOMMU units and the files through which programs see
 * them. The only place that names concrete units.
 */
import { refuse } from '../base/errno.js';
import { Events } from '../base/events.js';
import { Injector } from '../base/inject.js';
import { WorkQueue } from '../base/work.js';
import type { OpenBlocks } from '../dev/blocks.js';
import type { SharedMemory } from '../bus/region.js';
import { PhysicalMemory } from '../mem/physical.js';
import type { OpenFile, Task } from '../mem/task.js';
import { MockUnit } from '../hw/mock/unit.js';
import { Context } from '../iommufd/context.js';
import { defaultLimits, type Env, type Limits } from '../iommufd/env.js';
import { IoasidFile } from '../ioasid/ioctls.js';
import { iommufdIoctls } from '../iommufd/ioctls.js';
import { selftestIoctls } from '../selftest/ioctls.js';
import type { IoctlTable } from '../iommufd/dispatch.js';
import { PinRegistry } from '../iommufd/pins.js';
import type { Built } from './build.js';
import { KvmFile, MACHINE_NAME, SystemMachine } from '../ioasid/kvm.js';
import { machineIoctl } from '../ioasid/machine-file.js';
import { deviceNodes, KVM_PATH, type DeviceNode } from './devices.js';
import { rules } from './machine-rules.js';
import type { Parts } from './parts.js';
import type { Sysfs } from './sysfs/sysfs.js';
import type { Topology } from './topology.js';

export interface EngineConfig {
  /** Offers the mock IOMMU and IOMMU_TEST_CMD. */
  readonly selftest: boolean;
  /** The units, buses and devices of the machine. Default: none. */
  readonly topology?: Topology;
  /**
   * Compare every cached translation with the tables when it is used: so that stale ones show where a program writes
   * tables itself. Default false: only tables that ioasis writes are watched, which costs nothing.
   */
  readonly checkStale?: boolean;
  /** Files below /sys/kernel/debug/ioasis, also without a topology. Default false. */
  readonly inspect?: boolean;
  /** Whoever serves programs catches what they store to registers that they have mapped. Default true. */
  readonly mapsRegisters?: boolean;
  readonly limits?: Partial<Limits>;
  /** Memory that programs can map, for registers of devices. Default: memory that nobody can. */
  readonly sharedMemory?: SharedMemory;
  readonly freeShared?: (memory: Uint8Array) => void;
  /** Bytes that nobody can guess. Default: of Math.random, for whom there is nobody who would. */
  readonly random?: (length: number) => Uint8Array;
  /** Opens the files of namespaces. Default: a topology that names one cannot be built. */
  readonly openBlocks?: OpenBlocks;
  /** Processors that are online, as a list: what /sys says that devices are near to. Default: `0`. */
  readonly cpus?: string;
}

/** What is alive in the machine; all zero when nothing leaks. */
export interface LeakReport {
  readonly contexts: number;
  readonly pinnedPages: number;
  readonly windows: number;
  /** Beside those that units have as long as they exist. */
  readonly tables: number;
  /** Devices that are attached to something, and operations of devices that are not over. */
  readonly attachments: number;
  readonly operations: number;
  /** Address spaces whose owner is asked. */
  readonly providers: number;
}

export interface Engine {
  readonly devices: readonly DeviceNode[];
  readonly injector: Injector;
  readonly events: Events;
  readonly physical: PhysicalMemory;
  /** What devices have still to do: whoever has the engine runs it, between calls. */
  readonly work: WorkQueue;
  /** Units and devices of the topology. */
  readonly built: Built;
  /** Open files of /dev/iommu, by number, in order. */
  readonly contexts: ReadonlyMap<number, Context>;
  /** Opens a device file for `task`; ENOENT for any other path. */
  open(path: string, flags: number, task: Task): OpenFile;
  /** Machines of the system's own KVM, which its devices follow; null: it has no devices. */
  readonly systemMachines: {
    /** What their descriptors are called in /proc/PID/fd. */
    readonly name: string;
    /** A machine that `task` has made; it is there while `isOpen` says so. */
    open(isOpen: () => boolean, task: Task): OpenFile;
  } | null;
  leaks(): LeakReport;
  /** The text of a file below /sys/kernel/debug/ioasis; null: there is none of that name. */
  debugFile(name: string): string | null;
  /** What programs find below /sys; null without a topology: it is the system's. */
  readonly sysfs: Sysfs | null;
}

const NOTHING: Built = {
  units: [],
  devices: new Map(),
  files: new Map(),
  hasSelftest: false,
  virtualFunctions: () => [],
  setNumVfs: () => {},
  onChange: new Set(),
};

/** `parts` make what the topology asks for; they may be left out where there is none, and then nothing can be looked into. */
export function createEngine(config: EngineConfig, parts: Parts | null = null): Engine {
  const injector = new Injector();
  const physical = new PhysicalMemory(injector);
  const events = new Events();
  const work = new WorkQueue();
  const sharedMemory = config.sharedMemory ?? ((length: number) => new Uint8Array(length));
  const into = {
    physical,
    events,
    work,
    sharedMemory,
    freeShared: config.freeShared ?? (() => {}),
    random: config.random ?? guessable,
    openBlocks: config.openBlocks ?? noFiles,
    mapsRegisters: config.mapsRegisters ?? true,
    checkStale: config.checkStale ?? false,
  };
  const built =
    config.topology === undefined || parts === null ? NOTHING : parts.build(config.topology, into);
  const sysfs =
    config.topology === undefined || parts === null
      ? null
      : parts.sysfs(built, { cpus: config.cpus ?? '0', physical });
  const unitTables = physical.tables.liveBlocks - pasidTablesOf(built);
  const env: Env = {
    injector,
    physical,
    pins: new PinRegistry(),
    limits: { ...defaultLimits, ...config.limits },
    work,
    sharedMemory,
    freeSharedMemory: config.freeShared ?? (() => {}),
  };
  const hasSelftest = config.selftest || built.hasSelftest;
  const ioctls: IoctlTable = hasSelftest ? selftestIoctls(new MockUnit(physical)) : iommufdIoctls;
  const contexts = new Map<number, Context>();
  let lastContext = 0;
  const engine: Engine = {
    get devices() {
      return sysfs?.devices ?? deviceNodes([]);
    },
    injector,
    events,
    physical,
    work,
    built,
    contexts,
    open(path) {
      const device = built.files.get(path);
      if (device !== undefined && sysfs?.has(path) !== false) return device(env);
      if (path === KVM_PATH) return new KvmFile(env, machineIoctl);
      if (path !== '/dev/iommu' && path !== '/dev/ioasid') refuse(rules.open_path, { path });
      const number = ++lastContext;
      const onEnd = (): boolean => contexts.delete(number);
      const context = path === '/dev/iommu' ? new Context(env, ioctls, onEnd) : new IoasidFile(env, onEnd);
      contexts.set(number, context);
      return context;
    },
    systemMachines:
      built === NOTHING
        ? null
        : {
            name: MACHINE_NAME,
            open: (isOpen, task) => new SystemMachine(env, task, machineIoctl, isOpen),
          },
    leaks: () => ({
      contexts: contexts.size,
      pinnedPages: env.pins.pinnedPages,
      windows: physical.liveWindows,
      tables: physical.tables.liveBlocks - unitTables - pasidTablesOf(built),
      ...leftOf(built),
      providers: physical.providers.live,
    }),
    debugFile: (name) => parts?.debugFile(engine, name) ?? null,
    sysfs,
  };
  return engine;
}

const guessable = (length: number): Uint8Array =>
  Uint8Array.from({ length }, () => Math.floor(Math.random() * 256));

function noFiles(file: string): never {
  throw new TypeError(`nobody is there who opens ${file}`);
}

/** PASID tables stay with their device, as in Linux. */
function pasidTablesOf({ devices: all }: Built): number {
  let blocks = 0;
  for (const { iommu } of all.values()) blocks += iommu.pasids.blocks;
  return blocks;
}

/** What devices still have to do with. */
function leftOf({ devices: all }: Built): Pick<LeakReport, 'attachments' | 'operations'> {
  let attachments = 0;
  let operations = 0;
  for (const { iommu, model } of all.values()) {
    if (iommu.group.isAttached) attachments += 1;
    operations += model.pending;
  }
  return { attachments, operations };
}
