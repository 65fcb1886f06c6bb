/** The engine's thread: makes the engine and its socket, says so, and serves until it is woken to stop. */
import { parentPort, workerData } from 'node:worker_threads';
import type { MemoryMode } from './address-space.js';
import { Server, type ServedEngine } from './server.js';
import * as sys from './sys.js';

/** What the main thread tells the engine's thread at its start. */
export interface WorkerOptions {
  readonly socket: string;
  /** A module that exports createEngine. */
  readonly engineModule: string;
  readonly config: unknown;
  readonly memory: MemoryMode;
  /** Readable when the engine has to stop. */
  readonly wake: number;
}

const AF_UNIX = 1;
const SOCK_SEQPACKET_CLOEXEC_NONBLOCK = 5 | 0o2004000;
const BACKLOG = 4096;
/** Bytes of `sun_path`. */
const PATH_MAX = 107;

function listenAt(path: string): number {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > PATH_MAX) throw new Error(`socket path is longer than ${PATH_MAX} bytes: ${path}`);
  const fd = sys.socket(AF_UNIX, SOCK_SEQPACKET_CLOEXEC_NONBLOCK, 0);
  const address = sys.allocate(110);
  address.view.setUint16(0, AF_UNIX, true);
  address.bytes.set(bytes, 2);
  const bound = sys.bindSocket(fd, address.address, 2 + bytes.length + 1);
  if (bound < 0) throw new Error(`cannot bind ${path}: errno ${-bound}`);
  sys.listen(fd, BACKLOG);
  return fd;
}

const options = workerData as WorkerOptions;
const { createEngine } = (await import(options.engineModule)) as {
  createEngine(config: unknown): ServedEngine;
};
const engine = createEngine(options.config);
const server = new Server(engine, listenAt(options.socket), options.wake, options.memory);
parentPort?.postMessage('ready');
server.run();
