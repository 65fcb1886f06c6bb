/**
 * The least client that an engine can have: one page of arguments and memory that resolves as one run. It costs a
 * copy of a few bytes, so what is measured is the engine.
 */
import type { AddressSpace, Backing, Run } from '#ioasis/mem/client.js';
import { lowWord } from '#ioasis/base/words.js';
import { RLIM_INFINITY, type Task } from '#ioasis/mem/task.js';

/** Where the argument page lies in the client. */
export const ARGUMENT = 0x1000_0000n;
/** Where the memory lies that may be mapped; 1 GiB aligned, and as long as an address space. */
export const MEMORY = 1n << 40n;

/** Of an address in the argument page. Number(at) would be a tenth of all that is measured. */
const offsetOf = (at: bigint): number => lowWord(at) - lowWord(ARGUMENT);

/** Memory that nobody looks at. */
const backing: Backing = { id: 1_000_000, read: () => true, write: () => true };

class ArgumentSpace implements AddressSpace {
  readonly id = 1;
  readonly isAlive = true;
  readonly account = { pinnedVm: 0, lockedVm: 0 };
  readonly bytes = new Uint8Array(4096);

  read(at: bigint, into: Uint8Array): boolean {
    const from = offsetOf(at);
    for (let i = 0; i < into.length; i++) into[i] = this.bytes[from + i]!;
    return true;
  }

  write(at: bigint, from: Uint8Array): boolean {
    const into = offsetOf(at);
    for (let i = 0; i < from.length; i++) this.bytes[into + i] = from[i]!;
    return true;
  }

  /** Offset is address, so what is congruent to the address is congruent to the frames. */
  resolve(at: bigint, length: bigint): Run[] {
    return [{ backing, offset: at, length }];
  }
}

/** A privileged client without descriptors. */
export class LocalTask implements Task {
  readonly mm = new ArgumentSpace();
  readonly user = { lockedVm: 0 };
  readonly memlockLimit = RLIM_INFINITY;

  capable(): boolean {
    return true;
  }

  reply(at: bigint, bytes: Uint8Array): boolean {
    return this.mm.write(at, bytes);
  }

  installFd(): number | null {
    return null;
  }

  removeFd(): void {}

  processPages(): null {
    return null;
  }

  fileOf(): null {
    return null;
  }
}
