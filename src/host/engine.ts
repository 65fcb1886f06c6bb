/** Starts the engine in a thread of its own and stops it. Keep the imports few: this is on the way of `run`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { MemoryMode } from './address-space.js';
import * as sys from './sys.js';
import type { WorkerOptions } from './worker.js';

export interface EngineOptions {
  readonly config: unknown;
  /** Where socket and tree go: must not exist yet. Default: a new directory. */
  readonly dir?: string;
  readonly memory?: MemoryMode;
  /** Module that exports createEngine, for tests. */
  readonly engineModule?: string;
}

export interface RunningEngine {
  readonly socket: string;
  /** What a client program needs in its environment. */
  readonly env: Record<string, string>;
  stop(): Promise<void>;
}

const shimPath = fileURLToPath(new URL('../../shim/build/libioasis.so', import.meta.url));

export async function startEngine(options: EngineOptions): Promise<RunningEngine> {
  const wake = sys.eventfd(0, sys.O_CLOEXEC | sys.O_NONBLOCK);
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'ioasis-'));
  const socket = join(dir, 'socket');
  const workerData: WorkerOptions = {
    socket,
    wake,
    config: options.config,
    memory: options.memory ?? 'direct',
    engineModule: options.engineModule ?? new URL('../machine/engine.js', import.meta.url).href,
  };
  const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData });
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    worker.once('message', () => resolve());
    worker.once('error', reject);
  });
  return {
    socket,
    env: { LD_PRELOAD: shimPath, IOASIS_SOCKET: socket },
    async stop() {
      const one = sys.allocate(8);
      one.view.setUint32(0, 1, true);
      sys.write(wake, one.address, 8);
      await ended;
      sys.close(wake);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
