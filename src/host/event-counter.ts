/**
 * A client's eventfd as the engine signals and watches it. The descriptor here is of the same open file as the
 * client's, so blocking is the client's choice: invariant, nothing here can be made to wait. A signal goes as the
 * completion of an asynchronous read, which the kernel adds to the counter as a driver's signal, or by write after a look.
 */
import type { EventCounter, ForeignFile } from '../mem/task.js';
import { Aio, IOCB_FD, IOCB_FLAGS, IOCB_RESFD, IOCB_SIZE } from './aio.js';
import * as sys from './sys.js';

/** Has the descriptors of counters in an epoll set, and calls {@link EventFd.fired} when there may be something. */
export interface CounterWatcher {
  watchCounter(counter: EventFd): void;
  unwatchCounter(counter: EventFd): void;
}

const POLLOUT = 4;
const RWF_NOWAIT = 8;
const IOCB_FLAG_RESFD = 1;
/** Completions that the ring has room for; it is emptied after each. */
const COMPLETIONS = 8;

const block = sys.allocate(IOCB_SIZE);
const value = sys.allocate(8);
const vector = sys.allocate(16);
const polled = sys.allocate(8);

/** Signals without ever waiting. */
class Signaller {
  readonly #aio: Aio;
  readonly #source: number;

  private constructor(aio: Aio, source: number) {
    this.#aio = aio;
    this.#source = source;
    // IOCB_CMD_PREAD of no bytes.
    block.view.setUint32(IOCB_FD, source, true);
    block.view.setUint32(IOCB_FLAGS, IOCB_FLAG_RESFD, true);
  }

  /** Null where the kernel has no asynchronous I/O for us. */
  static open(): Signaller | null {
    const source = sys.open('/dev/null', sys.O_RDONLY | sys.O_CLOEXEC, 0);
    if (source < 0) return null;
    const aio = Aio.open(COMPLETIONS);
    if (aio !== null) return new Signaller(aio, source);
    sys.close(source);
    return null;
  }

  signal(fd: number): boolean {
    block.view.setUint32(IOCB_RESFD, fd, true);
    const sent = this.#aio.submit(block.address);
    this.#aio.takeCompletions();
    return sent;
  }

  close(): void {
    this.#aio.close();
    sys.close(this.#source);
  }
}

/** Counters that are open, and what signals them: made for the first signal, gone with the last counter. */
let opened = 0;
let signaller: Signaller | null | undefined;

/** How many eventfds of clients are held. */
export const openCounters = (): number => opened;

function signal(fd: number): void {
  if (signaller === undefined) signaller = Signaller.open();
  if (signaller?.signal(fd) === true) return;
  polled.view.setInt32(0, fd, true);
  polled.view.setInt32(4, POLLOUT, true);
  if (sys.poll(polled.address, 1, 0) !== 1) return;
  value.view.setBigUint64(0, 1n, true);
  sys.write(fd, value.address, 8);
}

function closed(): void {
  opened -= 1;
  if (opened > 0) return;
  signaller?.close();
  signaller = undefined;
}

/** Takes what is in the counter; false: nothing. */
function take(fd: number): boolean {
  vector.view.setBigUint64(0, BigInt(value.address), true);
  vector.view.setBigUint64(8, 8n, true);
  return sys.preadv2(fd, vector.address, 1, -1, RWF_NOWAIT) === 8;
}

export class EventFd implements EventCounter {
  key = -1;
  #onSignal: (() => void) | null = null;
  #isOpen = true;

  constructor(
    readonly fd: number,
    readonly watcher: CounterWatcher,
    readonly onClose: () => void,
  ) {
    opened += 1;
  }

  signal(): void {
    if (this.#isOpen) signal(this.fd);
  }

  watch(onSignal: (() => void) | null): void {
    if (this.#onSignal === null && onSignal !== null) this.watcher.watchCounter(this);
    if (this.#onSignal !== null && onSignal === null) this.watcher.unwatchCounter(this);
    this.#onSignal = onSignal;
    this.fired();
  }

  /** There may be something in it. */
  fired(): void {
    const tell = this.#onSignal;
    if (tell !== null && take(this.fd)) tell();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.watch(null);
    this.#isOpen = false;
    this.onClose();
    closed();
  }
}

const noBytes = { id: 0, read: () => false, write: () => false };

/** The eventfd behind `fd`, which is closed when neither the file nor a counter of it is held any more. */
export function eventFile(fd: number, watcher: CounterWatcher): ForeignFile {
  let holders = 1;
  const put = (): void => {
    holders -= 1;
    if (holders === 0) sys.close(fd);
  };
  return {
    isEngineFile: false,
    kind: 'eventfd',
    size: () => 0n,
    backing: noBytes,
    release: put,
    openCounter() {
      holders += 1;
      return new EventFd(fd, watcher, put);
    },
  };
}
