/**
 * The engine's thread: makes the tree and the socket, says so, loads the engine, and serves until it is woken to stop.
 * Imports that are not needed to listen come after that: a program can start while they are on their way.
 */
import { chmodSync, readFileSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { Events, MachineEvent } from '../base/events.js';
import type { FaultKind } from '../base/inject.js';
import type { MemoryMode } from './address-space.js';
import type { hostServices, ServedEngine, ServedSysfs } from './calls.js';
import { deviceNodes } from '../machine/devices.js';
import type { DevicePlan } from '../machine/plan.js';
import type { Topology } from '../machine/topology.js';
import { TREE_SUFFIX } from './protocol.js';
import type { Report } from './server.js';
import * as sys from './sys.js';
import type { TraceRecord } from './trace.js';
import type { SysTree } from './sys-tree.js';
import { makeTree } from './tree.js';

/** What the main thread tells the engine's thread at its start. */
export interface WorkerOptions {
  readonly socket: string;
  /** URL of a module that exports createEngine(config, hostServices); null is ioasis' own. */
  readonly engineModule: string | null;
  readonly config: unknown;
  readonly memory: MemoryMode;
  readonly lend: boolean;
  readonly rings: boolean;
  readonly holdPins: boolean;
  /** Programs may map registers. */
  readonly traps: boolean;
  readonly trace: boolean;
  /** What the machine says while it runs is wanted. */
  readonly events: boolean;
  /** For every task; 0 is none. */
  readonly failNth: number;
  /** Null: all. */
  readonly failKinds: readonly FaultKind[] | null;
}

export interface WorkerDescriptors {
  /** An eventfd: the engine stops when it is written. */
  readonly wake: number;
  readonly listener: number;
}

export type WorkerMessage =
  | { readonly kind: 'listening'; readonly descriptors: WorkerDescriptors }
  | { readonly kind: 'ready' }
  | { readonly kind: 'trace'; readonly record: TraceRecord }
  | { readonly kind: 'warning'; readonly text: string }
  | { readonly kind: 'event'; readonly record: EventRecord }
  | { readonly kind: 'report'; readonly report: Report };

const AF_UNIX = 1;
const SOCK_SEQPACKET_CLOEXEC_NONBLOCK = 5 | 0o2004000;
const BACKLOG = 4096;
/** Bytes of `sun_path`, without its end. */
const PATH_MAX = 107;

function listenAt(path: string): number {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > PATH_MAX) throw new Error(`a socket's path has at most ${PATH_MAX} bytes: ${path}`);
  const fd = sys.socket(AF_UNIX, SOCK_SEQPACKET_CLOEXEC_NONBLOCK, 0);
  const address = sys.allocate(PATH_MAX + 3);
  address.view.setUint16(0, AF_UNIX, true);
  address.bytes.set(bytes, 2);
  const bound = fd < 0 ? fd : sys.bindSocket(fd, address.address, 2 + bytes.length + 1);
  if (bound < 0) throw new Error(`cannot make the socket ${path}: errno ${-bound}`);
  chmodSync(path, 0o600);
  sys.listen(fd, BACKLOG);
  return fd;
}

function post(message: WorkerMessage): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port between threads has no origin
  parentPort?.postMessage(message);
}

/** Something that the machine said. */
export interface EventRecord {
  readonly event: MachineEvent;
  /** Microseconds since the engine started, as in a trace. */
  readonly time: number;
}

function tellEvents({ events }: { readonly events?: Events }): void {
  const begun = performance.now();
  events?.listen((event) => {
    post({ kind: 'event', record: { event, time: Math.round((performance.now() - begun) * 1000) } });
  });
}

interface EngineModule {
  createEngine(config: unknown, services: typeof hostServices): ServedEngine | Promise<ServedEngine>;
}

async function makeEngine(options: WorkerOptions): Promise<ServedEngine> {
  const [{ createEngine }, { hostServices: services }] = await Promise.all([
    import(
      options.engineModule ?? new URL('../machine/load.js', import.meta.url).href
    ) as Promise<EngineModule>,
    import('./calls.js'),
  ]);
  return createEngine({ ...(withCpus(options.config) as object), mapsRegisters: options.traps }, services);
}

/** A machine has the processors of ours. */
function withCpus(config: unknown): unknown {
  if ((config as { topology?: unknown } | null)?.topology === undefined) return config;
  return { cpus: readFileSync('/sys/devices/system/cpu/online', 'latin1').trim(), ...(config as object) };
}

async function plannedDevices(topology: Topology | undefined): Promise<readonly DevicePlan[]> {
  if (topology === undefined) return [];
  const { planMachine } = await import('../machine/plan.js');
  return planMachine(topology).devices;
}

/** Whoever looks below /sys waits until the server answers. */
async function showSysfs(sysfs: ServedSysfs): Promise<SysTree> {
  const { SysTree: Tree } = await import('./sys-tree.js');
  const tree = new Tree(root, sysfs.devices);
  tree.show(sysfs);
  tree.complete();
  return tree;
}

/** Null: this thread was started in advance, and nobody needs it. */
const options = await new Promise<WorkerOptions | null>((resolve) => parentPort?.once('message', resolve));
// In a worker this ends the thread only.
if (options === null) process.exit();
const { lend, rings, memory, holdPins, failNth, failKinds } = options;
const config = options.config as { selftest?: unknown; topology?: Topology; inspect?: unknown } | null;
const selftest = config?.selftest === true;
const inspect = config?.inspect === true || config?.topology !== undefined;
// Which devices there are is known without the engine only where the engine is our own.
const foreign = options.engineModule === null ? null : await makeEngine(options);
const root = options.socket + TREE_SUFFIX;
makeTree(root, {
  devices: foreign?.devices ?? deviceNodes(await plannedDevices(config?.topology)),
  selftest,
  lend,
  traps: options.traps && (foreign !== null || config?.topology !== undefined),
  inspect,
  sys: foreign === null ? config?.topology !== undefined : Boolean(foreign.sysfs),
});
const wake = sys.eventfd(0, sys.O_CLOEXEC | sys.O_NONBLOCK);
const listener = listenAt(options.socket);
post({ kind: 'listening', descriptors: { wake, listener } });
const engine = foreign ?? (await makeEngine(options));
const { enabled } = engine.injector;
for (const kind of Object.keys(enabled) as FaultKind[]) enabled[kind] = failKinds?.includes(kind) ?? true;
const tracer = options.trace ? (record: TraceRecord): void => post({ kind: 'trace', record }) : null;
const tree = engine.sysfs ? await showSysfs(engine.sysfs) : null;
const { Server } = await import('./server.js');
const warn = (text: string): void => post({ kind: 'warning', text });
const server = new Server({
  engine,
  tracer,
  selftest,
  tree,
  listener,
  wake,
  memory,
  lend,
  holdPins,
  rings,
  warn,
  failNth,
});
if (options.events) tellEvents(engine);
post({ kind: 'ready' });
post({ kind: 'report', report: server.run() });
