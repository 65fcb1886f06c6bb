/** The engine's thread: makes the engine, its tree and its socket, says so, and serves until it is woken to stop. */
import { chmodSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { FaultKind } from '../base/inject.js';
import type { MemoryMode } from './address-space.js';
import { hostServices, type ServedEngine } from './calls.js';
import { TREE_SUFFIX } from './protocol.js';
import { Server, type Report } from './server.js';
import * as sys from './sys.js';
import type { TraceRecord } from './trace.js';
import { makeTree } from './tree.js';

/** What the main thread tells the engine's thread at its start. */
export interface WorkerOptions {
  readonly socket: string;
  /** A module that exports createEngine(config, hostServices). */
  readonly engineModule: string;
  readonly config: unknown;
  readonly memory: MemoryMode;
  readonly lend: boolean;
  readonly trace: boolean;
  /** For every task; 0 is none. */
  readonly failNth: number;
  /** Null: all. */
  readonly failKinds: readonly FaultKind[] | null;
  /** Readable when the engine has to stop. */
  readonly wake: number;
}

export type WorkerMessage =
  | { readonly kind: 'ready' }
  | { readonly kind: 'trace'; readonly record: TraceRecord }
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
  parentPort?.postMessage(message);
}

const options = workerData as WorkerOptions;
const { createEngine } = (await import(options.engineModule)) as {
  createEngine(config: unknown, services: typeof hostServices): ServedEngine;
};
const engine = createEngine(options.config, hostServices);
const selftest = (options.config as { selftest?: unknown } | null)?.selftest === true;
const { lend, memory, wake, failNth, failKinds } = options;
const { enabled } = engine.injector;
for (const kind of Object.keys(enabled) as FaultKind[]) enabled[kind] = failKinds?.includes(kind) ?? true;
makeTree(options.socket + TREE_SUFFIX, { devices: engine.devices, selftest, lend });
const tracer = options.trace ? (record: TraceRecord): void => post({ kind: 'trace', record }) : null;
const server = new Server({
  engine,
  tracer,
  selftest,
  listener: listenAt(options.socket),
  wake,
  memory,
  lend,
  failNth,
});
post({ kind: 'ready' });
post({ kind: 'report', report: server.run() });
