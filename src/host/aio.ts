/**
 * A context of Linux' asynchronous I/O. What it was asked completes within the kernel's own doing, and the completions
 * are counted in memory that we have mapped: looking at it costs no system call.
 */
import * as sys from './sys.js';

/** Words of `struct aio_ring`, which lies where the context's number says. */
const HEAD = 2;
const TAIL = 3;
const RING_HEADER = 32;

/** `struct iocb`, and what we fill in of it. */
export const IOCB_SIZE = 64;
export const IOCB_OPCODE = 16;
export const IOCB_FD = 20;
export const IOCB_EVENTS = 24;
export const IOCB_FLAGS = 56;
export const IOCB_RESFD = 60;

const pointer = sys.allocate(8);

export class Aio {
  readonly #context: number;
  readonly #ring: Int32Array;

  private constructor(context: number) {
    this.#context = context;
    this.#ring = new Int32Array(sys.viewOf(context, RING_HEADER));
  }

  /** With room for so many completions; null: the kernel has none, or not for us. */
  static open(completions: number): Aio | null {
    pointer.view.setBigUint64(0, 0n, true);
    if (sys.ioSetup(completions, pointer.address) !== 0) return null;
    return new Aio(Number(pointer.view.getBigUint64(0, true)));
  }

  /** Asks for what the control block at `address` says. */
  submit(address: number): boolean {
    pointer.view.setBigUint64(0, BigInt(address), true);
    return sys.ioSubmit(this.#context, 1, pointer.address) === 1;
  }

  /** Drops the completions that there are; whether there were any. */
  takeCompletions(): boolean {
    const tail = Atomics.load(this.#ring, TAIL);
    if (tail === this.#ring[HEAD]) return false;
    Atomics.store(this.#ring, HEAD, tail);
    return true;
  }

  close(): void {
    sys.ioDestroy(this.#context);
  }
}
