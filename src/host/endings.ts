/**
 * An epoll set of what may end: tokens without holders, processes that die. Calls wait for none of it, but what ended
 * before a call was sent has to be taken before that call; so the set is asked before every call. Where the kernel
 * says in memory that there is something (a poll of Linux' AIO, which completes within the close that it tells of),
 * asking costs no system call.
 */
import { Aio, IOCB_EVENTS, IOCB_FD, IOCB_OPCODE, IOCB_SIZE } from './aio.js';
import { Epoll, EPOLLIN } from './epoll.js';
import * as sys from './sys.js';

const IOCB_CMD_POLL = 5;

const control = sys.allocate(IOCB_SIZE);

export class Endings extends Epoll {
  /** Undefined: not asked for yet. Once something has completed the poll is over. */
  #aio: Aio | null | undefined;

  /** False: nothing has ended. Each true is to be followed by taking what there is until there is none. */
  mayHaveEnded(): boolean {
    if (this.#aio === undefined) {
      // Not at the start: an engine that serves nobody this way ends sooner without.
      this.#aio = Aio.open(1);
    } else if (this.#aio?.takeCompletions() === false) {
      return false;
    }
    // What ends from here on is told again, and what has ended until here is there to be taken.
    if (this.#aio !== null && !this.#arm(this.#aio)) this.#giveUp();
    return true;
  }

  override close(): void {
    this.#giveUp();
    super.close();
  }

  #arm(aio: Aio): boolean {
    const { view } = control;
    view.setUint16(IOCB_OPCODE, IOCB_CMD_POLL, true);
    view.setUint32(IOCB_FD, this.fd, true);
    view.setBigUint64(IOCB_EVENTS, BigInt(EPOLLIN), true);
    return aio.submit(control.address);
  }

  #giveUp(): void {
    this.#aio?.close();
    this.#aio = null;
  }
}
