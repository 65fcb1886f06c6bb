/**
 * Starts the engine in a thread of its own and stops it. On the way of every `run`, so it imports nothing native, and
 * a thread can be prepared before anybody knows what it is for.
 */
import { once } from 'node:events';
import {
  accessSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { FaultKind } from '../base/inject.js';
import type { MemoryMode } from './address-space.js';
import { TREE_SUFFIX } from './protocol.js';
import type { Report } from './server.js';
import type { Tracer } from './trace.js';
import type { EventRecord, WorkerDescriptors, WorkerMessage, WorkerOptions } from './worker.js';

export interface EngineOptions {
  /** What the engine is made with. */
  readonly config: unknown;
  /** Directory for the socket; it must not exist yet. Default: a new one, gone after stop. */
  readonly dir?: string;
  /** The socket itself, in a directory that only we may enter. */
  readonly socket?: string;
  /** Called for every call of a client. */
  readonly trace?: Tracer;
  /** Called for what the machine says: faults, stale translations, log lines. */
  readonly onEvent?: (record: EventRecord) => void;
  readonly memory?: MemoryMode;
  /** Private memory that is pinned is kept as Linux keeps it, by io_uring. Default: it is found by its address. */
  readonly holdPins?: boolean;
  /** Told once for each thing in which the run turned out to differ from Linux. */
  readonly warn?: (text: string) => void;
  /** Whether clients get the privileges that these devices ask for. Default: unless we hold them all ourselves. */
  readonly lend?: boolean;
  /** Whether short calls may go by way of memory that client and engine share. Default: true. */
  readonly rings?: boolean;
  /**
   * Whether programs may map registers, which takes catching their stores. Default: where the instructions are known,
   * on x86-64.
   */
  readonly traps?: boolean;
  /** Makes the N-th point that can fail fail, in every task that connects. Default: none. */
  readonly failNth?: number;
  /** Only these kinds of failure count. Default: all. */
  readonly failKinds?: readonly FaultKind[];
  /** Resolve as soon as clients can connect; their calls then wait until the engine is loaded. Default: false. */
  readonly early?: boolean;
  /** URL of a module that exports createEngine, for tests. */
  readonly engineModule?: string;
}

export interface RunningEngine {
  readonly socket: string;
  /** What a client program needs in its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Resolves when the engine's thread has ended, also when it did so by itself; then `stop` says why. */
  readonly ended: Promise<void>;
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

let prepared: Worker | null = null;

/** Starts the thread that the next {@link startEngine} will use. It does not keep the process alive until then. */
export function prepareEngine(): void {
  prepared ??= newWorker();
  prepared.unref();
}

/**
 * Ends the thread that {@link prepareEngine} started, if nobody used it. A process that just ends would stop it amid the
 * loading of native code, which is fatal to the whole process.
 */
export async function dismissEngine(): Promise<void> {
  const worker = prepared;
  prepared = null;
  if (worker === null) return;
  worker.ref();
  const gone = once(worker, 'exit');
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker is no window
  worker.postMessage(null);
  await gone;
}

function newWorker(): Worker {
  return new Worker(new URL('./worker.js', import.meta.url));
}

/** Starts an engine; resolves when it is ready, or with `early` when clients can connect. */
export async function startEngine(options: EngineOptions): Promise<RunningEngine> {
  const place = findPlace(options);
  // From here on it keeps the process alive.
  const worker = prepared ?? newWorker();
  prepared = null;
  worker.ref();
  const workerOptions: WorkerOptions = {
    socket: place.socket,
    config: options.config,
    memory: options.memory ?? 'direct',
    lend: options.lend ?? !holdsAllPrivileges(),
    rings: options.rings ?? true,
    holdPins: options.holdPins ?? false,
    traps: options.traps ?? process.arch === 'x64',
    trace: options.trace !== undefined,
    events: options.onEvent !== undefined,
    failNth: options.failNth ?? 0,
    failKinds: options.failKinds ?? null,
    engineModule: options.engineModule ?? null,
  };
  const life = new Life(worker, options);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker is no window
  worker.postMessage(workerOptions);
  try {
    await (options.early === true ? life.listening : life.ready);
  } catch (error) {
    remove(place);
    throw error;
  }
  return {
    socket: place.socket,
    env: { LD_PRELOAD: shimPath, IOASIS_SOCKET: place.socket },
    ended: life.ended,
    async stop() {
      try {
        return await life.end();
      } finally {
        remove(place);
      }
    },
  };
}

/** What becomes of the engine's thread. Each of its moments rejects if the thread dies before. */
class Life {
  readonly listening: Promise<void>;
  readonly ready: Promise<void>;
  readonly ended: Promise<void>;
  readonly #worker: Worker;
  #descriptors: WorkerDescriptors | null = null;
  #isReady = false;
  #report: Report | null = null;
  #failure: Error | null = null;

  constructor(worker: Worker, { trace, warn, onEvent }: EngineOptions) {
    this.#worker = worker;
    const failure = new Promise<never>((_, reject) => worker.once('error', reject));
    const gone = handled(
      new Promise<never>((_, reject) => {
        worker.once('exit', () => reject(new Error('the engine ended by itself')));
      }),
    );
    const reached = (kind: WorkerMessage['kind']): Promise<void> => {
      const moment = new Promise<void>((resolveMoment) => {
        worker.on('message', (message: WorkerMessage) => {
          if (message.kind === kind) resolveMoment();
        });
      });
      return handled(Promise.race([moment, failure, gone]));
    };
    worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'trace') trace?.(message.record);
      else if (message.kind === 'warning') warn?.(message.text);
      else if (message.kind === 'event') onEvent?.(message.record);
      else if (message.kind === 'report') this.#report = message.report;
      else if (message.kind === 'listening') this.#descriptors = message.descriptors;
      else this.#isReady = true;
    });
    this.listening = reached('listening');
    this.ready = reached('ready');
    failure.catch((error: Error) => (this.#failure = error));
    this.ended = new Promise((resolveEnd) => {
      worker.once('exit', () => {
        // Native descriptors outlive the thread; clients that wait for it have to learn that nobody will answer.
        this.#close();
        resolveEnd();
      });
    });
  }

  /** Ends the thread. An engine that was still loading has served nobody, so it is not waited for. */
  async end(): Promise<Report> {
    const loading = !this.#isReady;
    if (this.#descriptors !== null) writeSync(this.#descriptors.wake, one);
    if (loading) await this.#worker.terminate();
    await this.ended;
    if (this.#report !== null) return this.#report;
    if (this.#failure !== null || !loading) throw this.#failure ?? new Error('the engine ended by itself');
    return { bugs: [], fired: {}, calls: 0, left: {} };
  }

  #close(): void {
    if (this.#descriptors === null) return;
    const { wake, listener } = this.#descriptors;
    this.#descriptors = null;
    closeSync(wake);
    // A server that ended in order has closed it.
    if (this.#report === null) closeSync(listener);
  }
}

/** What an eventfd is written. */
const one = new Uint8Array(new BigUint64Array([1n]).buffer);

/** `promise`, whose rejection is somebody's business later, if at all. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

function findPlace(options: EngineOptions): Place {
  if (options.socket !== undefined) {
    const socket = resolve(options.socket);
    requirePrivate(dirname(socket));
    if (lstatSync(socket, { throwIfNoEntry: false }) !== undefined) {
      throw new Error(`EEXIST: there is something at the socket's path already: ${socket}`);
    }
    // Of a daemon that was killed; the socket is gone, so nobody looks into its tree.
    rmSync(socket + TREE_SUFFIX, { recursive: true, force: true });
    return { socket, made: [socket, socket + TREE_SUFFIX] };
  }
  let { dir } = options;
  if (dir === undefined) {
    const parent = runtimeDirectory();
    dir = mkdtempSync(join(parent, PREFIX));
    // What cannot be removed may stay.
    sweep(parent).catch(() => {});
  } else mkdirSync(dir, { mode: 0o700 });
  return { socket: join(resolve(dir), 'socket'), made: [dir] };
}

const SHARED_MEMORY = '/dev/shm';

/** Where sockets and trees go: memory, if there is a choice, since a tree is some hundred names. */
export function runtimeDirectory(): string {
  const chosen = process.env['XDG_RUNTIME_DIR'] || process.env['TMPDIR'];
  if (chosen) return chosen;
  try {
    accessSync(SHARED_MEMORY, constants.W_OK | constants.X_OK);
    return SHARED_MEMORY;
  } catch {
    return tmpdir();
  }
}

const PREFIX = 'ioasis-';
/** A directory as mkdtemp names it. */
const ownName = /^ioasis-[A-Za-z0-9]{6}$/;
/** An engine makes its directory a moment before its socket. */
const YOUNG_MS = 60_000;

/** All that an engine puts into its directory: anything else there is somebody's own, whatever the name. */
const ownEntries: readonly string[] = ['socket', `socket${TREE_SUFFIX}`];

/** Removes what engines that were killed have left: directories of ours with a socket that nobody listens at. */
async function sweep(parent: string): Promise<void> {
  for (const name of readdirSync(parent)) {
    if (!ownName.test(name)) continue;
    const dir = join(parent, name);
    const status = lstatSync(dir, { throwIfNoEntry: false });
    const isOld = status?.isDirectory() === true && Date.now() - status.mtimeMs > YOUNG_MS;
    if (!isOld || status.uid !== process.geteuid?.()) continue;
    if (!readdirSync(dir).every((entry) => ownEntries.includes(entry))) continue;
    if (!(await isDeserted(join(dir, 'socket')))) continue;
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Whether nobody listens at `socket`. A listener is not disturbed: ours takes no streams. */
async function isDeserted(socket: string): Promise<boolean> {
  const { connect } = await import('node:net');
  return new Promise((resolveAnswer) => {
    const probe = connect(socket);
    probe.once('connect', () => {
      probe.destroy();
      resolveAnswer(false);
    });
    probe.once('error', ({ code }: NodeJS.ErrnoException) => {
      resolveAnswer(code === 'ECONNREFUSED' || code === 'ENOENT');
    });
  });
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
