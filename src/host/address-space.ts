/**
 * A client's mm. While one of its threads is in a call its memory is reached by process_vm_readv/writev (or, where
 * that is denied, through that thread); at any other time through /proc/PID/mem, which is bound to the mm and so
 * cannot meet another program after exec or pid reuse.
 */
import type { AddressSpace, MmAccount, Run } from '../mem/client.js';
import type { Link } from './link.js';
import * as sys from './sys.js';

const SCRATCH = 1 << 16;
const scratch = sys.allocate(SCRATCH);
const vectors = sys.allocate(32);
vectors.view.setBigUint64(0, BigInt(scratch.address), true);

/** User addresses are below this on every machine; a length is added to an address only after this check. */
const ADDRESS_LIMIT = 1n << 57n;

/** How the daemon reaches memory: 'verbs' forces the way through the client's own thread. */
export type MemoryMode = 'direct' | 'verbs';

let lastId = 0;

export class ProcessSpace implements AddressSpace {
  readonly id = ++lastId;
  readonly account: MmAccount = { pinnedVm: 0, lockedVm: 0 };
  /** The link whose call is running, if it belongs to this mm. */
  caller: Link | null = null;
  #alive = true;
  #direct: boolean;
  readonly #pid: number;

  constructor(pid: number, mode: MemoryMode) {
    this.#pid = pid;
    this.#direct = mode === 'direct';
  }

  read(at: bigint, into: Uint8Array): boolean {
    if (!this.#reachable(at)) return false;
    if (this.#direct) {
      const outcome = this.#direct_(sys.vmRead, at, into, true);
      if (outcome !== null) return outcome;
    }
    return this.caller?.readMemory(at, into) ?? false;
  }

  write(at: bigint, from: Uint8Array): boolean {
    if (!this.#reachable(at)) return false;
    if (this.#direct) {
      const outcome = this.#direct_(sys.vmWrite, at, from, false);
      if (outcome !== null) return outcome;
    }
    return this.caller?.writeMemory(at, from) ?? false;
  }

  resolve(_at: bigint, _length: bigint, _write: boolean): Run[] | null {
    return null;
  }

  /** The process is dead or runs another program. */
  retire(): void {
    this.#alive = false;
    this.caller = null;
  }

  #reachable(at: bigint): boolean {
    return this.#alive && at < ADDRESS_LIMIT;
  }

  /** Copies by process_vm_*: whether every byte was there, or null when the kernel does not let us. */
  #direct_(transfer: typeof sys.vmRead, at: bigint, bytes: Uint8Array, reading: boolean): boolean | null {
    for (let done = 0; done < bytes.length;) {
      const part = Math.min(SCRATCH, bytes.length - done);
      if (!reading) scratch.bytes.set(bytes.subarray(done, done + part));
      vectors.view.setUint32(8, part, true);
      vectors.view.setBigUint64(16, at + BigInt(done), true);
      vectors.view.setUint32(24, part, true);
      const moved = transfer(this.#pid, vectors.address, 1, vectors.address + 16, 1, 0);
      if (moved !== part) {
        if (moved >= 0 || moved === -sys.Errno.EFAULT) return false;
        this.#direct = false;
        return null;
      }
      if (reading) bytes.set(scratch.bytes.subarray(0, part), done);
      done += part;
    }
    return true;
  }
}
