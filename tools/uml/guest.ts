/** One guest: an ordinary program, and a client of an engine like any other. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { RunningEngine } from '#ioasis/host/engine.js';

/** A guest without a word for so long is lost. */
const PATIENCE_MS = 10 * 60_000;
const MEMORY = '256M';

export interface Place {
  /** A program that is Linux. */
  readonly kernel: string;
  /** guest.c, compiled. */
  readonly program: string;
  /** The device, as the engine's topology names it. */
  readonly device: string;
  /** A folder of ours that the guest mounts on. */
  readonly mountPoint: string;
}

/** What guest.c reads of its command line. */
export type Scene = Readonly<Record<string, string | number>>;

/** Something that guest.c has said: `synced 3`. */
export interface Word {
  readonly what: string;
  readonly number: number;
}

export class Guest {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #onWord: (word: Word) => void;
  readonly #patience: NodeJS.Timeout;
  /** The last lines of its console, for whoever has to know why. */
  readonly console: string[] = [];

  constructor(
    engine: RunningEngine,
    { kernel, program, device, mountPoint }: Place,
    scene: Scene,
    onWord: (word: Word) => void,
  ) {
    this.#onWord = onWord;
    const options = Object.entries({ ...scene, at: mountPoint }).map(([key, value]) => `${key}=${value}`);
    const args = [
      ...[`mem=${MEMORY}`, 'quiet', `vfio_uml.device=${device}`],
      ...['rootfstype=hostfs', 'rootflags=/', 'ro', `init=${program}`, ...options],
    ];
    // It has processes of its own, which end with their group.
    this.#child = spawn(kernel, args, {
      env: { ...process.env, ...engine.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#patience = setTimeout(() => this.kill(), PATIENCE_MS);
    const killed = (): void => this.kill();
    process.once('exit', killed);
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      createInterface({ input: stream }).on('line', (line) => this.#hear(line));
    this.#ended = new Promise<void>((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', () => resolve());
    }).finally(() => {
      clearTimeout(this.#patience);
      process.off('exit', killed);
    });
  }

  #hear(line: string): void {
    this.#patience.refresh();
    this.console.push(line);
    const word = /^guest: ([a-z]+) (\d+)/.exec(line);
    if (word !== null) this.#onWord({ what: word[1]!, number: Number(word[2]) });
  }

  ended(): Promise<void> {
    return this.#ended;
  }

  /** kill -9: nothing of it does anything any more. */
  kill(): void {
    const { exitCode, signalCode, pid } = this.#child;
    if (exitCode === null && signalCode === null && pid !== undefined) process.kill(-pid, 'SIGKILL');
  }
}
