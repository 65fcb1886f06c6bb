/** epoll over allocated memory: what is ready, as (key, events) pairs, without an object for each. */
import * as sys from './sys.js';

export const EPOLLIN = 1;
export const EPOLLERR = 8;
export const EPOLLHUP = 16;
export const EPOLLRDHUP = 0x2000;
const EPOLLET = 0x80000000;
const EPOLL_CLOEXEC = 0o2000000;
const CTL_ADD = 1;
const CTL_DEL = 2;

const MAX_EVENTS = 256;
/** `struct epoll_event` is packed on x86-64 only. */
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16;
const DATA = EVENT_SIZE - 8;

export class Epoll {
  readonly fd: number;
  readonly #events = sys.allocate(MAX_EVENTS * EVENT_SIZE);
  readonly #control = sys.allocate(EVENT_SIZE);

  constructor() {
    this.fd = sys.epollCreate(EPOLL_CLOEXEC);
    if (this.fd < 0) throw new Error(`epoll_create1: errno ${-this.fd}`);
  }

  /** Watches `fd` under `key` (a 32-bit number). Edge-triggered events come in the order in which they arose. */
  add(fd: number, key: number, events: number, edge: boolean): boolean {
    const { view, address } = this.#control;
    view.setUint32(0, (events | (edge ? EPOLLET : 0)) >>> 0, true);
    view.setUint32(DATA, key, true);
    view.setUint32(DATA + 4, 0, true);
    return sys.epollCtl(this.fd, CTL_ADD, fd, address) === 0;
  }

  remove(fd: number): void {
    sys.epollCtl(this.fd, CTL_DEL, fd, this.#control.address);
  }

  /** Waits (milliseconds; -1: for ever). The number of events, 0 after a signal. */
  wait(timeout: number): number {
    const count = sys.epollWait(this.fd, this.#events.address, MAX_EVENTS, timeout);
    return count < 0 ? 0 : count;
  }

  key(index: number): number {
    return this.#events.view.getUint32(index * EVENT_SIZE + DATA, true);
  }

  events(index: number): number {
    return this.#events.view.getUint32(index * EVENT_SIZE, true);
  }

  close(): void {
    sys.close(this.fd);
  }
}
