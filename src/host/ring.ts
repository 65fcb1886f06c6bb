/**
 * Calls without a socket: memory that a client's image shares with us, with a ring for each of its first threads.
 * The client may write anything there at any time. So a request is copied out once, before anything is looked at, and
 * nothing that is read here is believed beyond that: garbage ends the link that owns the ring.
 */
import { inbox, outbox, type QuickAnswer } from './link.js';
import { makeMemfd, mapAgain, unmap } from './mappings.js';
import { answer, CARRIED, request, ring, RING_REPLY, rings, RINGS, RingState } from './protocol.js';
import * as sys from './sys.js';

const WORD = 4;
const PENDING_WORDS = 2;
const AWAKE = rings.awake / WORD;
const CPU = rings.cpu / WORD;
/** What `awake` says when nobody will ever look again. */
const GONE = 2;
const REQUEST_WORDS = (request.size + CARRIED) / WORD;
const EFD_NONBLOCK_CLOEXEC = 0o2004000;

const wordsOf = (block: sys.Block, bytes: number): Int32Array =>
  new Int32Array(block.bytes.buffer, block.bytes.byteOffset, bytes / WORD);
const inboxWords = wordsOf(inbox, request.size + CARRIED);
const outboxWords = wordsOf(outbox, answer.size + RING_REPLY);

/** Before an image has shown where its memory is. */
const nowhere = new Int32Array(rings.size / WORD);

/** Requests that were found. A count, because emptying an array by its length costs as much as serving a call. */
export class Found {
  readonly rings: Ring[] = [];
  count = 0;

  add(found: Ring): void {
    this.rings[this.count++] = found;
  }
}

/** The rings of one image. */
export class Rings {
  /** An eventfd that the image writes; -1: it has no memory to share. */
  bell = -1;
  key = -1;
  /** Looked at without a bell. */
  awake = false;
  #block: sys.Block | null = null;
  #words: Int32Array = nowhere;
  /** Who owns which. */
  readonly #seats: (Ring | undefined)[] = [];

  /** Makes the memory and the bell: a descriptor of the memory, or -errno. */
  open(): number {
    if (this.bell >= 0) return -sys.Errno.EEXIST;
    const memory = makeMemfd(rings.size);
    if (memory < 0) return memory;
    const bell = sys.eventfd(0, EFD_NONBLOCK_CLOEXEC);
    if (bell >= 0) this.#block = mapAgain(rings.size, memory);
    // A process has only so many mappings; then the image does without.
    if (this.#block === null) {
      sys.close(memory);
      if (bell >= 0) sys.close(bell);
      return -sys.Errno.ENFILE;
    }
    this.bell = bell;
    this.#words = wordsOf(this.#block, rings.size);
    this.#words[CPU] = -1;
    return memory;
  }

  close(): void {
    Atomics.store(this.#words, AWAKE, GONE);
    for (const seat of this.#seats) if (seat !== undefined) this.release(seat);
    if (this.#block === null) return;
    sys.close(this.bell);
    unmap(this.#block);
    this.#block = null;
    this.#words = nowhere;
  }

  /** A ring for the link with epoll key `owner`, or null when all have owners. */
  seat(owner: number): Ring | null {
    let index = 0;
    while (this.#seats[index] !== undefined) index += 1;
    if (index >= RINGS) return null;
    const seat = new Ring(this, index, owner);
    this.#words[seat.base] = RingState.IDLE;
    this.#seats[index] = seat;
    return seat;
  }

  /** The ring may get another owner. Whoever waits in it has to ask over the socket. */
  release(seat: Ring): void {
    if (this.#seats[seat.index] !== seat) return;
    this.#seats[seat.index] = undefined;
    seat.end(RingState.AGAIN);
  }

  get words(): Int32Array {
    return this.#words;
  }

  get address(): number {
    return this.#block?.address ?? 0;
  }

  /** Says whether a bell is needed, and where to run: on another CPU it pays to wait without sleeping. */
  show(awake: boolean, cpu: number): void {
    this.awake = awake;
    if (this.#words[CPU] !== cpu) Atomics.store(this.#words, CPU, cpu);
    Atomics.store(this.#words, AWAKE, awake ? 1 : 0);
  }

  /** Takes what was posted since the last time. */
  collect(into: Found): void {
    for (let word = 0; word < PENDING_WORDS; word++) {
      if (Atomics.load(this.#words, word) === 0) continue;
      let bits = Atomics.exchange(this.#words, word, 0);
      for (; bits !== 0; bits &= bits - 1) {
        const seat = this.#seats[word * 32 + 31 - Math.clz32(bits & -bits)];
        if (seat !== undefined) into.add(seat);
      }
    }
  }
}

/** The ring of one link. */
export class Ring implements QuickAnswer {
  readonly rings: Rings;
  readonly index: number;
  readonly owner: number;
  /** Its first word. */
  readonly base: number;

  constructor(image: Rings, index: number, owner: number) {
    this.rings = image;
    this.index = index;
    this.owner = owner;
    this.base = (rings.ring + index * ring.size) / WORD;
  }

  /** Where the client says that it runs. */
  get cpu(): number {
    return this.rings.words[this.base + ring.cpu / WORD]!;
  }

  /** Takes the request into the inbox: its length, 0 when there is none, -1 when it is none. */
  take(): number {
    const { words } = this.rings;
    const { base } = this;
    const state = Atomics.load(words, base);
    if (state !== RingState.POSTED && state !== RingState.SLEEPING) return 0;
    const from = base + ring.request / WORD;
    for (let i = 0; i < REQUEST_WORDS; i++) inboxWords[i] = words[from + i]!;
    const carried = inboxWords[request.carried / WORD]! >>> 0;
    return carried <= CARRIED ? request.size + carried : -1;
  }

  /** Answers with the head and `replyLength` bytes of the outbox; false when they do not fit. */
  answer(replyLength: number): boolean {
    if (replyLength > RING_REPLY) return false;
    const { words } = this.rings;
    const to = this.base + ring.answer / WORD;
    const length = (answer.size + replyLength + WORD - 1) >> 2;
    for (let i = 0; i < length; i++) words[to + i] = outboxWords[i]!;
    words[this.base + ring.replied / WORD] = replyLength;
    this.end(RingState.DONE);
    return true;
  }

  /** The call goes on over the socket. */
  elsewhere(): void {
    this.end(RingState.SOCKET);
  }

  end(state: number): void {
    const { words, address } = this.rings;
    if (Atomics.exchange(words, this.base, state) === RingState.SLEEPING)
      sys.futexWake(address + this.base * WORD);
  }
}
