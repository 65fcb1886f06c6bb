/** Starts the engine in a thread of its own and stops it. Few imports: this is on the way of every `run`. */
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { FaultKind } from '../base/inject.js';
import type { MemoryMode } from './address-space.js';
import { TREE_SUFFIX } from './protocol.js';
import type { Report } from './server.js';
import * as sys from './sys.js';
import type { Tracer } from './trace.js';
import type { WorkerMessage, WorkerOptions } from './worker.js';

export interface EngineOptions {
  /** What the engine is made with. */
  readonly config: unknown;
  /** Directory for the socket; it must not exist yet. Default: a new one, gone after stop. */
  readonly dir?: string;
  /** The socket itself, in a directory that only we may enter. */
  readonly socket?: string;
  /** Called for every call of a client. */
  readonly trace?: Tracer;
  readonly memory?: MemoryMode;
  /** Whether clients get the privileges that these devices ask for. Default: unless we hold them all ourselves. */
  readonly lend?: boolean;
  /** Makes the N-th point that can fail fail, in every task that connects. Default: none. */
  readonly failNth?: number;
  /** Only these kinds of failure count. Default: all. */
  readonly failKinds?: readonly FaultKind[];
  /** URL of a module that exports createEngine, for tests. */
  readonly engineModule?: string;
}

export interface RunningEngine {
  readonly socket: string;
  /** What a client program needs in its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Ends every client's devices and removes the socket. */
  stop(): Promise<Report>;
}

const shimPath = fileURLToPath(new URL('../../shim/build/libioasis.so', import.meta.url));

/** CAP_IPC_LOCK, CAP_SYS_RAWIO and CAP_SYS_RESOURCE: root in a container often lacks the last. */
const NEEDED_CAPABILITIES = (1n << 14n) | (1n << 17n) | (1n << 24n);

function holdsAllPrivileges(): boolean {
  const found = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  const effective = BigInt(`0x${found?.[1] ?? '0'}`);
  return (effective & NEEDED_CAPABILITIES) === NEEDED_CAPABILITIES;
}

/** Where the socket goes, and what is to be removed in the end. */
interface Place {
  readonly socket: string;
  readonly made: readonly string[];
}

/** Starts an engine; resolves when clients can connect. */
export async function startEngine(options: EngineOptions): Promise<RunningEngine> {
  const wake = sys.eventfd(0, sys.O_CLOEXEC | sys.O_NONBLOCK);
  const place = findPlace(options);
  const workerData: WorkerOptions = {
    socket: place.socket,
    wake,
    config: options.config,
    memory: options.memory ?? 'direct',
    lend: options.lend ?? !holdsAllPrivileges(),
    trace: options.trace !== undefined,
    failNth: options.failNth ?? 0,
    failKinds: options.failKinds ?? null,
    engineModule: options.engineModule ?? new URL('../machine/engine.js', import.meta.url).href,
  };
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData });
  const life = watch(worker, options.trace);
  try {
    await life.ready;
  } catch (error) {
    sys.close(wake);
    remove(place);
    throw error;
  }
  return {
    socket: place.socket,
    env: { LD_PRELOAD: shimPath, IOASIS_SOCKET: place.socket },
    async stop() {
      signal(wake);
      const report = await life.ended;
      sys.close(wake);
      remove(place);
      return report;
    },
  };
}

/** Two moments of the engine's thread; each rejects if it dies before. */
function watch(worker: Worker, trace: Tracer | undefined): { ready: Promise<void>; ended: Promise<Report> } {
  let report: Report | null = null;
  let failure: Error | null = null;
  let ready: () => void = () => {};
  let failed: (error: Error) => void = () => {};
  worker.on('message', (message: WorkerMessage) => {
    if (message.kind === 'ready') ready();
    else if (message.kind === 'trace') trace?.(message.record);
    else report = message.report;
  });
  worker.on('error', (error: Error) => {
    failure = error;
    failed(error);
  });
  const ended = new Promise<Report>((resolveEnd, rejectEnd) => {
    worker.on('exit', () => {
      if (report !== null) resolveEnd(report);
      else rejectEnd(failure ?? new Error('the engine ended by itself'));
    });
  });
  // Whoever stops the engine hears of it; until then it is no unhandled rejection.
  ended.catch(() => {});
  return {
    ready: new Promise<void>((resolveReady, rejectReady) => {
      ready = resolveReady;
      failed = rejectReady;
    }),
    ended,
  };
}

function findPlace(options: EngineOptions): Place {
  if (options.socket !== undefined) {
    const socket = resolve(options.socket);
    requirePrivate(dirname(socket));
    return { socket, made: [socket, socket + TREE_SUFFIX] };
  }
  let { dir } = options;
  if (dir === undefined) dir = mkdtempSync(join(process.env['XDG_RUNTIME_DIR'] ?? tmpdir(), 'ioasis-'));
  else mkdirSync(dir, { mode: 0o700 });
  return { socket: join(resolve(dir), 'socket'), made: [dir] };
}

/** Makes the directory, or insists that nobody else may enter it. */
function requirePrivate(dir: string): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const status = lstatSync(dir);
  const isPrivate = status.isDirectory() && status.uid === process.geteuid?.() && (status.mode & 0o077) === 0;
  if (!isPrivate) throw new Error(`the socket's directory has to be ours alone (mode 0700): ${dir}`);
}

function remove(place: Place): void {
  for (const path of place.made) rmSync(path, { recursive: true, force: true });
}

function signal(wake: number): void {
  const one = sys.allocate(8);
  one.view.setUint32(0, 1, true);
  sys.write(wake, one.address, 8);
}
