/**
 * Machines of the system's KVM. Their descriptors are the kernel's own and stay with programs; here is only what the
 * engine keeps of each, found again by a name that does not hold it.
 */
import type { OpenFile, Task } from '../mem/task.js';
import { fileName } from './foreign-file.js';
import * as sys from './sys.js';
import { Token } from './tokens.js';
import { WeakNames } from './weak-names.js';

/** What an engine makes of them. */
export interface ServedMachines {
  /** What their descriptors are called in /proc/PID/fd. */
  readonly name: string;
  open(isOpen: () => boolean, task: Task): OpenFile;
}

export class Machines {
  readonly #served: ServedMachines | null;
  readonly #machines = new Map<number, Token>();
  #names: WeakNames | null = null;

  constructor(served: ServedMachines | null) {
    this.#served = served;
  }

  /** The machine that `task` has just made, whose descriptor `fd` is; undefined: it is none, or cannot be followed. */
  add(fd: number, task: Task): Token | undefined {
    if (this.#served === null || fileName(fd) !== this.#served.name) return undefined;
    // A client that tells of one machine twice gets nothing for it.
    if (this.find(fd) !== undefined) return undefined;
    this.#names ??= new WeakNames();
    const names = this.#names;
    this.#forget(names);
    const name = names.give(fd);
    const status = sys.fstat(fd);
    if (name === null || status === null) return undefined;
    const file = this.#served.open(() => names.isOpen(name), task);
    const machine = new Token(file, status, null, sys.O_RDWR);
    this.#machines.set(name, machine);
    return machine;
  }

  /** The machine whose descriptor `fd` is; undefined: it is none that is known. */
  find(fd: number): Token | undefined {
    if (this.#names === null || fileName(fd) !== this.#served?.name) return undefined;
    for (const [name, machine] of this.#machines) if (this.#names.isNamed(fd, name)) return machine;
    return undefined;
  }

  /** Lets go of those that have ended. Until then nothing is found in them. */
  #forget(names: WeakNames): void {
    for (const [name, { file }] of this.#machines) {
      if (names.isOpen(name)) continue;
      this.#machines.delete(name);
      file.release();
    }
  }

  close(): void {
    for (const { file } of this.#machines.values()) file.release();
    this.#machines.clear();
    this.#names?.close();
  }
}
