/**
 * The processes of a benchmark: C programs built into .cache, an ioasis daemon, and clients that work in batches
 * (native/batch.h). What is pinned is pinned with everything that it starts.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { repoRoot } from '../tools/lib/repo.js';
import { quiet } from './report.js';

const cache = join(repoRoot, '.cache/bench');
export const cli = join(repoRoot, 'dist/cli/main.js');
const shim = join(repoRoot, 'shim/build/libioasis.so');

/** The one CPU of pinned measurements; null leaves the choice to the system. */
export type Cpu = number | null;

/**
 * Does what `work` does with this thread and the programs that it starts on one CPU: what is in its caches, and how fast
 * they are, is the same for both sides then. The threads of the compiler and the collector stay where they are.
 */
export async function onOneCpu(work: () => Promise<void>): Promise<void> {
  const allowed = /^Cpus_allowed_list:\t(.*)$/m.exec(readFileSync('/proc/thread-self/status', 'latin1'))![1]!;
  pinThread(/\d+/.exec(allowed)![0]);
  await work();
  pinThread(allowed);
}

function pinThread(cpus: string): void {
  execFileSync('taskset', ['-p', '-c', cpus, String(process.pid)], { stdio: 'ignore' });
}

const programs = [
  'copy-client',
  'copy-server',
  'echo-client',
  'echo-server',
  'fault-client',
  'ioat-client',
  'ioctl-client',
  'memcpy-client',
  'nvme-client',
  'owner-client',
  'process-client',
];

/** Compiles the C programs. */
export function buildPrograms(): void {
  mkdirSync(cache, { recursive: true });
  writeFileSync(join(cache, 'ioasis.h'), execFileSync(process.execPath, [cli, 'header']));
  for (const name of programs) {
    const source = join(repoRoot, 'bench/native', `${name}.c`);
    execFileSync(process.env['CC'] ?? 'cc', ['-O2', '-I', cache, '-o', join(cache, name), source]);
  }
}

const program = (name: string): string => join(cache, name);

/** A process that says one line when it is ready, and perhaps more lines later. */
class Running {
  readonly child: ChildProcess;
  readonly #lines: Interface;
  readonly #waiting: ((line: string) => void)[] = [];
  readonly #ended: Promise<void>;

  constructor(command: readonly string[], cpu: Cpu, env: NodeJS.ProcessEnv = process.env) {
    const [file, ...args] = cpu === null ? command : ['taskset', '-c', String(cpu), ...command];
    this.child = spawn(file!, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
    this.#lines = createInterface({ input: this.child.stdout! });
    this.#lines.on('line', (line) => this.#waiting.shift()?.(line));
    this.#ended = new Promise((resolve) => {
      this.child.once('exit', () => {
        for (const waiting of this.#waiting.splice(0)) waiting('');
        resolve();
      });
    });
  }

  /** The next line; '' when the program has ended. */
  line(): Promise<string> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    this.child.kill(signal);
    await this.#ended;
    this.#lines.close();
  }
}

/** When a batch began and ended, ns of the system's clock. */
export interface Batch {
  readonly begun: number;
  readonly ended: number;
}

/** A program that does what it does as often as it is told. */
export class BatchClient {
  readonly #running: Running;

  private constructor(running: Running) {
    this.#running = running;
  }

  static async start(command: readonly string[], cpu: Cpu, env?: NodeJS.ProcessEnv): Promise<BatchClient> {
    const running = new Running(command, cpu, env);
    if ((await running.line()) !== 'ready') throw new Error(`${command.join(' ')} did not start`);
    return new BatchClient(running);
  }

  async batch(operations: number): Promise<Batch> {
    this.#running.child.stdin!.write(`${operations}\n`);
    const [begun = NaN, ended = NaN] = (await this.#running.line()).split(' ').map(Number);
    if (Number.isNaN(ended)) throw new Error('a client ended in the middle of a batch');
    return { begun, ended };
  }

  stop(): Promise<void> {
    return this.#running.stop('SIGTERM');
  }
}

/** Ns for one of `operations` of each, in turns, the quiet ones of `rounds`; ends the clients. */
export async function inTurns(
  clients: readonly BatchClient[],
  operations: number,
  rounds: number,
  warmUp: number,
): Promise<number[]> {
  const times = clients.map((): number[] => []);
  for (let round = 0; round < rounds + warmUp; round += 1) {
    for (const [i, client] of clients.entries()) {
      const { begun, ended } = await client.batch(operations);
      if (round >= warmUp) times[i]!.push((ended - begun) / operations);
    }
  }
  for (const client of clients) await client.stop();
  return times.map((each) => quiet(each));
}

/** native/memcpy-client.c: copies of `size` bytes into the upper half of `total`, over `spread` bytes of it. */
export function startMemcpy(
  kind: 'copy' | 'write',
  size: number,
  spread: number,
  total: number,
  ...file: readonly string[]
): Promise<BatchClient> {
  return BatchClient.start(
    [program('memcpy-client'), kind, String(size), String(spread), String(total), ...file],
    null,
  );
}

/** A process and where its memory is. */
export interface Target {
  readonly pid: number;
  readonly address: bigint;
  stop(): Promise<void>;
}

/** native/process-client.c as a process with `bytes` of memory, its own or of a memfd. */
export async function startTarget(kind: 'private' | 'shared', bytes: number): Promise<Target> {
  const running = new Running([program('process-client'), kind, String(bytes)], null);
  const [pid = '', address = ''] = (await running.line()).split(' ');
  return { pid: Number(pid), address: BigInt(address), stop: () => running.stop('SIGTERM') };
}

/** The same program as one that moves `size` bytes at once of a target's. */
export function startProcessVm(
  kind: 'read' | 'write',
  size: number,
  bytes: number,
  { pid, address }: Target,
): Promise<BatchClient> {
  const args = [kind, size, bytes, pid, address].map(String);
  return BatchClient.start([program('process-client'), ...args], null);
}

/** Ns for each operation of all clients together, when they work at the same time. */
export async function together(clients: readonly BatchClient[], operations: number): Promise<number> {
  const batches = await Promise.all(clients.map((client) => client.batch(operations)));
  const begun = Math.min(...batches.map((batch) => batch.begun));
  const ended = Math.max(...batches.map((batch) => batch.ended));
  return (ended - begun) / (operations * clients.length);
}

export interface EchoServer {
  client(...args: readonly (string | number)[]): Promise<BatchClient>;
  stop(): Promise<void>;
}

/** A C program that serves others at a socket; `args` follow the socket and are made with its folder. */
async function startServer(
  kind: 'copy' | 'echo',
  cpu: Cpu,
  args: (folder: string) => readonly string[],
): Promise<EchoServer> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  const socket = join(folder, 'socket');
  const running = new Running([program(`${kind}-server`), socket, ...args(folder)], cpu);
  await running.line();
  return {
    client: (...more) => BatchClient.start([program(`${kind}-client`), socket, ...more.map(String)], cpu),
    async stop() {
      await running.stop('SIGTERM');
      rmSync(folder, { recursive: true });
    },
  };
}

/** The peer of a disk: a C program that copies out of a memfd. */
export const startCopyServer = (): Promise<EchoServer> => startServer('copy', null, (folder) => [folder]);

/** The peer: a C server for C clients. */
export async function startEcho(kind: 'blocking' | 'epoll', cpu: Cpu): Promise<EchoServer> {
  return startServer('echo', cpu, () => [kind]);
}

export interface Daemon {
  /** Starts native/ioctl-client.c through the shim. */
  client(work: 'areas' | 'objects', count: number): Promise<BatchClient>;
  /** Starts native/NAME.c through the shim. */
  program(name: string, ...args: readonly (string | number)[]): Promise<BatchClient>;
  /** Ns of CPU time that all threads have used. */
  cpuTime(): number;
  stop(): Promise<void>;
}

/** `ioasis daemon`, pinned or not, as are its clients. */
export async function startDaemon(cpu: Cpu, options: readonly string[] = []): Promise<Daemon> {
  const running = new Running([process.execPath, cli, 'daemon', ...options], cpu);
  const socket = / on (\S+)$/.exec(await running.line())?.[1];
  if (socket === undefined) throw new Error('the daemon did not start');
  const env = { ...process.env, LD_PRELOAD: shim, IOASIS_SOCKET: socket };
  const start: Daemon['program'] = (name, ...args) => {
    const client = [program(name), ...args.map(String)];
    // taskset itself runs without the shim.
    const preload = ['env', `LD_PRELOAD=${shim}`, `IOASIS_SOCKET=${socket}`];
    return cpu === null
      ? BatchClient.start(client, cpu, env)
      : BatchClient.start([...preload, ...client], cpu);
  };
  return {
    client: (work, count) => start('ioctl-client', work, count),
    program: start,
    cpuTime: () => cpuTimeOf(running.child.pid!),
    stop: () => running.stop('SIGTERM'),
  };
}

/** The first figure of schedstat is what a thread has run. */
function cpuTimeOf(pid: number): number {
  let total = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    total += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
  }
  return total;
}
