/**
 * An epoll set of what may end: tokens without holders, processes that die. Calls wait for none of it, but what ended
 * before a call was sent has to be taken before that call; so the set is asked before every call. Where the kernel
 * says in memory that there is something (a poll of Linux' AIO, which completes within the close that it tells of),
 * asking costs no system call.
 */
import { Epoll, EPOLLIN } from './epoll.js';
import * as sys from './sys.js';

const EMPTY = new Int32Array(4);
/** Words of `struct aio_ring`, which lies where the context's number says. */
const HEAD = 2;
const TAIL = 3;
const RING_HEADER = 32;
const IOCB_SIZE = 64;
const IOCB_OPCODE = 16;
const IOCB_FD = 20;
const IOCB_EVENTS = 24;
const IOCB_CMD_POLL = 5;

const control = sys.allocate(IOCB_SIZE);
const pointers = sys.allocate(8);

export class Endings extends Epoll {
  /** 0: not asked for yet; -1: the kernel has none, or not for us. */
  #context = 0;
  /** Its ring: once head and tail differ the poll is over. */
  #ring: Int32Array = EMPTY;

  /** False: nothing has ended. Each true is to be followed by taking what there is until there is none. */
  mayHaveEnded(): boolean {
    if (this.#context <= 0) {
      // Not at the start: an engine that serves nobody this way ends sooner without.
      if (this.#context === 0) this.#begin();
      return true;
    }
    const tail = Atomics.load(this.#ring, TAIL);
    if (tail === this.#ring[HEAD]) return false;
    Atomics.store(this.#ring, HEAD, tail);
    // What ends from here on is told again, and what has ended until here is there to be taken.
    if (!this.#arm()) this.#giveUp();
    return true;
  }

  override close(): void {
    this.#giveUp();
    super.close();
  }

  #begin(): void {
    pointers.view.setBigUint64(0, 0n, true);
    const made = sys.ioSetup(1, pointers.address) === 0;
    this.#context = made ? Number(pointers.view.getBigUint64(0, true)) : -1;
    if (!made) return;
    this.#ring = new Int32Array(sys.viewOf(this.#context, RING_HEADER));
    if (!this.#arm()) this.#giveUp();
  }

  #arm(): boolean {
    const { view } = control;
    view.setUint16(IOCB_OPCODE, IOCB_CMD_POLL, true);
    view.setUint32(IOCB_FD, this.fd, true);
    view.setBigUint64(IOCB_EVENTS, BigInt(EPOLLIN), true);
    pointers.view.setBigUint64(0, BigInt(control.address), true);
    return sys.ioSubmit(this.#context, 1, pointers.address) === 1;
  }

  #giveUp(): void {
    this.#ring = EMPTY;
    if (this.#context > 0) sys.ioDestroy(this.#context);
    this.#context = -1;
  }
}
