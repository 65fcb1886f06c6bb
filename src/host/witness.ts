/**
 * Memory of a process by its pid, and the proof that it was that process's. The system call looks up the pid once and then
 * stays with the mm that it has found; with the bytes that are wanted it reads 16 others, that the kernel has drawn at
 * random for this program (AT_RANDOM). Another program has others, whether it came by exec or got the pid later; a
 * relative that was forked and got the pid has the same, but then the descriptor of the process says that it is gone.
 */
import { readFileSync } from 'node:fs';
import * as sys from './sys.js';

const AT_RANDOM = 25n;
const LENGTH = 16;
const VECTOR = 16;
const local = sys.allocate(2 * VECTOR);
const remote = sys.allocate(2 * VECTOR);
const found = sys.allocate(LENGTH);
local.view.setBigUint64(VECTOR, BigInt(found.address), true);
local.view.setBigUint64(VECTOR + 8, BigInt(LENGTH), true);
remote.view.setBigUint64(VECTOR + 8, BigInt(LENGTH), true);

export class Witness {
  private constructor(
    readonly pid: number,
    readonly at: bigint,
    readonly bytes: Uint8Array,
  ) {}

  /** That of the mm behind `memFd`, an open /proc/PID/mem; null where it cannot be had. */
  static of(pid: number, memFd: number): Witness | null {
    const at = addressOfRandom(pid);
    const bytes = new Uint8Array(LENGTH);
    if (at === null || sys.pread(memFd, bytes, LENGTH, at) !== LENGTH) return null;
    // A program may have overwritten them: with zeros they would prove nothing.
    return bytes.every((byte) => byte === 0) ? null : new Witness(pid, at, bytes);
  }

  /** False: not all of it was there, or it was not this mm, or that is not known; nothing of it is left then. */
  read(at: bigint, into: Uint8Array, pidfd: number): boolean {
    const { length } = into;
    local.view.setBigUint64(0, BigInt(sys.addressOf(into)), true);
    local.view.setUint32(8, length, true);
    remote.view.setBigUint64(0, at, true);
    remote.view.setUint32(8, length, true);
    remote.view.setBigUint64(VECTOR, this.at, true);
    const moved = sys.vmRead(this.pid, local.address, 2, remote.address, 2, 0);
    if (moved === length + LENGTH && this.#isFound() && sys.hasItsPid(pidfd)) return true;
    into.fill(0);
    return false;
  }

  #isFound(): boolean {
    for (let i = 0; i < LENGTH; i += 1) if (found.bytes[i] !== this.bytes[i]) return false;
    return true;
  }
}

function addressOfRandom(pid: number): bigint | null {
  let words: BigUint64Array;
  try {
    const auxv = readFileSync(`/proc/${pid}/auxv`);
    words = new BigUint64Array(auxv.buffer.slice(auxv.byteOffset, auxv.byteOffset + auxv.length));
  } catch {
    return null;
  }
  for (let i = 0; i + 1 < words.length; i += 2) if (words[i] === AT_RANDOM) return words[i + 1]!;
  return null;
}
