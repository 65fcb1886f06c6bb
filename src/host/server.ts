/**
 * The engine's loop: one thread, one epoll set, one call at a time, run to its end. Last closes and dead processes
 * are taken before calls, and are looked for again before a call whose link has just been waited on, so that a
 * client's call always finds done what its earlier close began. Devices work in between, a piece at a time, and never
 * for longer than a slice before clients are looked at; with nothing to do the thread sleeps.
 */
import type { UserAccount } from '../mem/client.js';
import { unknownFile, type ForeignFile, type OpenFile } from '../mem/task.js';
import { KVM_CREATE_VM } from '../wire/uapi/kvm.js';
import type { MemoryMode } from './address-space.js';
import { FileBackings } from './backing.js';
import { Call, type Descriptors } from './call.js';
import { Calls, type CallOptions, type Registry } from './calls.js';
import { ClientProcess } from './client.js';
import { Endings } from './endings.js';
import { Epoll, EPOLLHUP, EPOLLIN, EPOLLRDHUP } from './epoll.js';
import { type CounterWatcher, EventFd, openCounters } from './event-counter.js';
import { foreignFile } from './foreign-file.js';
import { pidOf } from './live-pages.js';
import { HeldBuffers } from './held-buffers.js';
import { inbox, Link, type Manners } from './link.js';
import { Lookout } from './lookout.js';
import { Machines } from './machines.js';
import type { Mapping } from './mappings.js';
import type { HoldPolicy } from './private-backing.js';
import { Op, PROTOCOL_VERSION, request, TokenKind } from './protocol.js';
import { type Ring, Rings } from './ring.js';
import * as sys from './sys.js';
import { mint, Token, tokenName } from './tokens.js';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_TYPE = 3;
const SOCK_SEQPACKET = 5;
const KEY_LISTEN = 0;
const KEY_WAKE = 1;
const KEY_ENDINGS = 2;
const FIRST_KEY = 3;
const KEY_LIMIT = 0xffffffff;
/** Links of one user; a program of 4096 threads is not turned away. */
const LINKS_PER_USER = 16384;
const ACCEPTED_PER_TURN = 64;
/** How often rings are looked at before everything else is. */
const RING_TURNS = 32;
/** How long devices work before sockets and closes are looked at, ms. Rings are looked at after each piece. */
const SLICE_MS = 0.2;
/** Connections that wait at a door; more is not a program in a hurry. */
const WAITING_AT_DOOR = 1024;

interface Conversation {
  readonly link: Link;
  readonly pid: number;
  readonly uid: number;
  key: number;
  call: Call | null;
  ring: Ring | null;
  /** It makes no calls, it brings connections. */
  isDoor: boolean;
}

type Watched = Conversation | Token | ClientProcess | Rings | EventFd;

export interface ServerOptions extends Omit<CallOptions, 'onBug'> {
  readonly listener: number;
  readonly wake: number;
  readonly memory: MemoryMode;
  readonly lend: boolean;
  /** Private memory that is pinned is kept, whatever its program does to it. */
  readonly holdPins: boolean;
  /** Tells the user something that is different from Linux. */
  readonly warn: (text: string) => void;
  /** The N-th point of failure of every task fails; 0 is none. */
  readonly failNth: number;
  /** Whether short calls may go without the socket. */
  readonly rings: boolean;
}

/** What a run was, told at its end. */
export interface Report {
  /** Bugs of ours that were met, as text. */
  readonly bugs: readonly string[];
  /** Sites that fail-nth made fail, and how often. */
  readonly fired: Readonly<Record<string, number>>;
  readonly calls: number;
  /** What was still alive in the engine when its last client had gone, by kind. */
  readonly left: Readonly<Record<string, number>>;
}

const credentials = sys.allocate(16);
const credentialsLength = sys.allocate(8);

export class Server implements Descriptors, Registry, CounterWatcher {
  readonly #epoll = new Epoll();
  /** Within the other: tokens and processes, so that they can be looked at without taking anything else. */
  readonly #endings = new Endings();
  readonly #lookout = new Lookout();
  readonly #options: ServerOptions;
  readonly #calls: Calls;
  readonly #files = new FileBackings();
  readonly #holdPolicy: HoldPolicy;
  /** By epoll key. */
  readonly #watched = new Map<number, Watched>();
  readonly #tokens = new Map<number, Token>();
  readonly #clients = new Map<number, ClientProcess>();
  readonly #mappings = new Map<number, Mapping>();
  /** Of the system's KVM. */
  readonly #machines: Machines;
  readonly #users = new Map<number, UserAccount & { links: number }>();
  #spare = openSpare();
  #lastKey = FIRST_KEY;
  readonly #bugs: string[] = [];
  #running = true;
  #served = 0;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#calls = new Calls(this, { ...options, onBug: (text) => this.#bugs.push(text) });
    this.#holdPolicy = holdPolicy(options);
    this.#machines = new Machines(options.engine.systemMachines ?? null);
    this.#epoll.add(options.listener, KEY_LISTEN, EPOLLIN, false);
    this.#epoll.add(options.wake, KEY_WAKE, EPOLLIN, false);
    this.#epoll.add(this.#endings.fd, KEY_ENDINGS, EPOLLIN, false);
  }

  /** Serves until the wake descriptor is readable, then lets everything go. */
  run(): Report {
    while (this.#running) this.#turn();
    for (const token of this.#tokens.values()) {
      token.alarm();
      this.#release(token);
    }
    this.#guard(() => this.#machines.close());
    for (const client of this.#clients.values()) this.#retire(client);
    for (const watched of this.#watched.values()) if ('link' in watched) watched.link.close();
    this.#files.clear();
    this.#holdPolicy.buffers?.close();
    this.#endings.close();
    this.#epoll.close();
    sys.close(this.#options.listener);
    sys.close(this.#spare);
    const fired = Object.fromEntries(this.#calls.fired);
    const left = { ...this.#options.engine.leaks?.(), eventfds: openCounters() };
    return { bugs: this.#bugs, fired, calls: this.#served, left };
  }

  clientOf(pid: number): ClientProcess | undefined {
    return this.#clients.get(pid);
  }

  mapping(id: number): Mapping | undefined {
    return this.#mappings.get(id);
  }

  addMapping(mapping: Mapping): void {
    this.#mappings.set(mapping.id, mapping);
  }

  unmapped(mapping: Mapping): void {
    this.#guard(() => mapping.closed());
    if (mapping.count > 0) return;
    this.#mappings.delete(mapping.id);
    if (mapping.token.ended && mapping.token.mappings === 0) this.#finish(mapping.token);
  }

  give(call: Call, file: OpenFile, flags: number): void {
    const minted = mint(file, flags);
    if (typeof minted === 'number') {
      this.#guard(() => file.release());
      return call.link.done(-1, -minted, 0);
    }
    this.#adopt(minted.token, call.client);
    call.link.doneWithFd(minted.clientEnd, (flags & sys.O_CLOEXEC) !== 0, minted.token.kind);
    sys.close(minted.clientEnd);
  }

  install(call: Call, file: OpenFile, flags: number): number | null {
    const minted = mint(file, flags);
    if (typeof minted === 'number') return null;
    const fd = call.link.give(minted.clientEnd, (flags & sys.O_CLOEXEC) !== 0, minted.token.kind);
    sys.close(minted.clientEnd);
    if (fd < 0) {
      minted.token.close();
      return null;
    }
    this.#adopt(minted.token, call.client);
    return fd;
  }

  find(call: Call, fd: number): OpenFile | ForeignFile | null {
    const taken = fd === (fd | 0) ? call.link.take(fd) : -1;
    // It is open, but does not travel.
    if (taken === -sys.Errno.EINVAL) return unknownFile;
    if (taken < 0) return null;
    const status = sys.fstat(taken);
    const token = status === null ? undefined : (this.#tokenAt(status) ?? this.#machines.find(taken));
    if (status !== null && token === undefined) return foreignFile(taken, status, this.#files, this);
    sys.close(taken);
    return token?.file ?? null;
  }

  findProcess(call: Call, pidfd: number): ClientProcess | null {
    const taken = pidfd === (pidfd | 0) && pidfd >= 0 ? call.link.take(pidfd) : -1;
    if (taken < 0) return null;
    const pid = pidOf(taken);
    sys.close(taken);
    return this.clientOf(pid) ?? null;
  }

  watchCounter(counter: EventFd): void {
    counter.key = this.#key(counter);
    this.#epoll.add(counter.fd, counter.key, EPOLLIN, true);
  }

  unwatchCounter(counter: EventFd): void {
    this.#epoll.remove(counter.fd);
    this.#watched.delete(counter.key);
  }

  tokenOf(call: Call): Token | null {
    const { proven } = call.client;
    const known = proven.get(askedToken());
    if (known !== undefined) return known;
    const taken = call.link.take(inbox.view.getInt32(request.fd, true));
    if (taken < 0) return null;
    const status = sys.fstat(taken);
    sys.close(taken);
    const token = status === null ? undefined : this.#tokenAt(status);
    if (token === undefined) return null;
    // Whoever is retired is not told when a token ends.
    if (call.client.space.isAlive) proven.set(token.name, token);
    return token;
  }

  machineOf(call: Call): Token | null {
    const { view } = inbox;
    const taken = call.link.take(view.getInt32(request.fd, true));
    if (taken < 0) return null;
    const isNew = view.getUint32(request.cmd, true) === KVM_CREATE_VM;
    const machine = isNew ? this.#machines.add(taken, call) : this.#machines.find(taken);
    sys.close(taken);
    return machine ?? null;
  }

  #tokenAt(status: sys.Status): Token | undefined {
    const token = this.#tokens.get(tokenName(status));
    return token?.isBehind(status) === true ? token : undefined;
  }

  /** Serves what is found in rings, until there is nothing or it is time to look at everything else. */
  #serveRings(): void {
    const { found } = this.#lookout;
    for (let turn = 0; turn < RING_TURNS && this.#running; turn++) {
      if (!this.#lookout.look() && (this.#hasWork || !this.#lookout.linger())) return;
      // What was found was posted by now, and what ended before that has ended by now.
      if (this.#endings.mayHaveEnded()) this.#takeEndings();
      for (let i = 0; i < found.count; i++) this.#serveRing(found.rings[i]!);
      found.count = 0;
    }
  }

  get #hasWork(): boolean {
    return this.#options.engine.work?.isEmpty === false;
  }

  /** Lets devices work for a while, or until a client has come: whether there is something left to do. */
  #work(): boolean {
    const { work } = this.#options.engine;
    if (work === undefined || !this.#hasWork) return false;
    const end = performance.now() + SLICE_MS;
    do this.#guard(() => work.step());
    while (!work.isEmpty && !this.#lookout.look() && performance.now() < end);
    return !work.isEmpty;
  }

  #turn(): void {
    this.#serveRings();
    const count = this.#epoll.wait(this.#work() || this.#lookout.look() || this.#lookout.sleep() ? 0 : -1);
    for (let i = 0; i < count; i++) if (this.#epoll.key(i) === KEY_ENDINGS) this.#takeEndings();
    for (let i = 0; i < count && this.#running; i++) this.#handle(this.#epoll.key(i), this.#epoll.events(i));
  }

  #handle(key: number, events: number): void {
    if (key === KEY_LISTEN) return this.#accept();
    if (key === KEY_WAKE) {
      this.#running = false;
      return;
    }
    const watched = this.#watched.get(key);
    if (watched instanceof Rings) this.#lookout.rang(watched);
    else if (watched instanceof EventFd) this.#guard(() => watched.fired());
    else if (watched !== undefined && 'link' in watched)
      this.#converse(watched, (events & (EPOLLHUP | EPOLLRDHUP)) !== 0);
  }

  /** Tokens without holders, and processes that are dead. */
  #takeEndings(): void {
    for (let count = -1; count !== 0;) {
      count = this.#endings.wait(0);
      for (let i = 0; i < count; i++) {
        const watched = this.#watched.get(this.#endings.key(i));
        if (watched instanceof Token) this.#release(watched);
        else if (watched instanceof ClientProcess) this.#retire(watched);
      }
    }
  }

  #key(watched: Watched): number {
    do this.#lastKey = this.#lastKey === KEY_LIMIT ? FIRST_KEY : this.#lastKey + 1;
    while (this.#watched.has(this.#lastKey));
    this.#watched.set(this.#lastKey, watched);
    return this.#lastKey;
  }

  #adopt(token: Token, client: ClientProcess): void {
    this.#tokens.set(token.name, token);
    if (client.space.isAlive) client.proven.set(token.name, token);
    token.watch(this.#endings, this.#key(token));
  }

  /** The last descriptor is gone; a mapping of the file keeps it open. */
  #release(token: Token): void {
    this.#watched.delete(token.key);
    this.#tokens.delete(token.name);
    for (const client of this.#clients.values()) client.proven.delete(token.name);
    token.close();
    token.ended = true;
    if (token.mappings === 0) this.#finish(token);
  }

  #finish(token: Token): void {
    this.#guard(() => token.file.release());
    if (this.#tokens.size === 0 && this.#mappings.size === 0) this.#files.clear();
  }

  #retire(client: ClientProcess): void {
    client.space.retire();
    // What it has asked before it died may be still to come, after the files that it asks of are gone.
    client.proven.clear();
    if (client.pidfd >= 0) sys.close(client.pidfd);
    this.#watched.delete(client.key);
    if (this.#clients.get(client.pid) === client) this.#clients.delete(client.pid);
    this.#watched.delete(client.rings.key);
    this.#lookout.forget(client.rings);
    client.rings.close();
    for (const { mapping, count } of client.mappings.values()) {
      for (let i = 0; i < count; i++) this.unmapped(mapping);
    }
    client.mappings.clear();
  }

  /** What others gave us must not end the loop. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#bugs.push(describe(error));
    }
  }

  #accept(): void {
    for (let i = 0; i < ACCEPTED_PER_TURN; i++) {
      const fd = sys.accept4(this.#options.listener, 0, 0, sys.O_CLOEXEC);
      if (fd === -sys.Errno.EMFILE || fd === -sys.Errno.ENFILE) return this.#turnAway();
      if (fd < 0) return;
      this.#welcome(fd, false);
    }
  }

  /** No descriptor is left: the spare one is spent on telling the client so. */
  #turnAway(): void {
    sys.close(this.#spare);
    const fd = sys.accept4(this.#options.listener, 0, 0, sys.O_CLOEXEC);
    if (fd >= 0) refuse(fd);
    this.#spare = openSpare();
  }

  /** A new connection. Who comes through a door has been let in as another user, or before a chroot. */
  #welcome(fd: number, throughDoor: boolean): void {
    if (throughDoor && (!option(fd, SO_TYPE, 4) || credentials.view.getInt32(0, true) !== SOCK_SEQPACKET))
      return refuse(fd);
    if (!option(fd, SO_PEERCRED, 12)) return refuse(fd);
    const pid = credentials.view.getInt32(0, true);
    const uid = credentials.view.getUint32(4, true);
    const own = process.geteuid?.() ?? 0;
    const user = this.#user(uid);
    // pid 0: a process of another pid namespace, which cannot be watched.
    const mayEnter = throughDoor || own === 0 || own === uid;
    if (!mayEnter || pid <= 0 || user.links >= LINKS_PER_USER) return refuse(fd);
    user.links += 1;
    const conversation: Conversation = {
      link: new Link(fd),
      pid,
      uid,
      key: 0,
      call: null,
      ring: null,
      isDoor: false,
    };
    conversation.key = this.#key(conversation);
    this.#epoll.add(fd, conversation.key, EPOLLIN | EPOLLRDHUP, true);
  }

  #user(uid: number): UserAccount & { links: number } {
    let user = this.#users.get(uid);
    if (user === undefined) this.#users.set(uid, (user = { lockedVm: 0, links: 0 }));
    return user;
  }

  #converse(conversation: Conversation, ending: boolean): void {
    const { link } = conversation;
    let length = conversation.isDoor ? 0 : link.receive();
    // An ending is told once: what was sent before it has to be taken now.
    for (; length > 0; length = ending && !link.broken && !conversation.isDoor ? link.receive() : 0)
      this.#request(conversation, length);
    if (conversation.isDoor && !link.broken) this.#admit(link);
    if (length !== 0 || ending || link.broken) this.#hangUp(conversation);
  }

  #hangUp(conversation: Conversation): void {
    this.#watched.delete(conversation.key);
    this.#user(conversation.uid).links -= 1;
    conversation.link.close();
    // Not before: whoever is sent to the socket has to find it closed.
    conversation.ring?.rings.release(conversation.ring);
    conversation.ring = null;
  }

  #serveRing(ring: Ring): void {
    const conversation = this.#watched.get(ring.owner);
    if (conversation === undefined || !('link' in conversation) || conversation.ring !== ring) return;
    const { call, link } = conversation;
    if (call === null || link.broken) return;
    const length = ring.take();
    if (length === 0) return;
    this.#served += 1;
    this.#lookout.serves(ring);
    link.quick = ring;
    if (length > 0) this.#perform(call, length);
    link.quick = null;
    if (length < 0 || link.broken) this.#hangUp(conversation);
  }

  /** Lets in everybody who waits at a door. */
  #admit(door: Link): void {
    for (let i = 0; i < WAITING_AT_DOOR; i++) {
      const fd = door.receiveDescriptor();
      if (fd === null) return;
      if (fd === false) break;
      if (fd >= 0) this.#welcome(fd, true);
    }
    door.broken = true;
  }

  #request(conversation: Conversation, length: number): void {
    this.#served += 1;
    const { call, link } = conversation;
    if (link.waited) {
      // Waiting for a verb's answer has put the link at the head of the queue, before what ended since.
      link.waited = false;
      this.#takeEndings();
    }
    const op = inbox.view.getUint32(request.op, true);
    if (op === Op.HELLO) this.#hello(conversation);
    else if (op === Op.DOOR && call === null) conversation.isDoor = true;
    else if (call === null) link.broken = true;
    else if (op === Op.RINGS) this.#share(call);
    else this.#perform(call, length);
  }

  #perform(call: Call, length: number): void {
    try {
      this.#calls.perform(call, length);
    } catch (error) {
      this.#bugs.push(describe(error));
      call.link.broken = true;
    }
  }

  #hello(conversation: Conversation): void {
    const { view } = inbox;
    const { pid, uid, link } = conversation;
    if (view.getUint32(request.cmd, true) !== PROTOCOL_VERSION) {
      link.broken = true;
      return;
    }
    const cookie = Number(view.getBigUint64(request.arg, true));
    let client = this.#clients.get(pid);
    if (client === undefined || client.cookie !== cookie) {
      // The same pid under another name: it has started another program.
      if (client !== undefined) this.#retire(client);
      client = this.#newClient(pid, uid, client?.manners ?? { silences: 0 });
      if (this.#options.lend) {
        client.privilegesChanged(
          view.getBigUint64(request.token, true),
          view.getBigUint64(request.offset, true),
        );
      }
    }
    const tid = Number(view.getBigUint64(request.count, true));
    if (this.#options.failNth > 0) client.failNth.set(tid, this.#options.failNth);
    conversation.call = new Call(link, client, tid, this);
    conversation.ring?.rings.release(conversation.ring);
    conversation.ring = this.#options.rings ? client.rings.seat(conversation.key) : null;
    link.manners = client.manners;
    link.done(client.cookie, 0, 0, process.pid, conversation.ring?.index);
  }

  /** Hands over the memory of a client's rings, then their bell. */
  #share({ client, link }: Call): void {
    const { rings } = client;
    const wantsBell = inbox.view.getUint32(request.cmd, true) === 1;
    const allowed = this.#options.rings && client.space.isAlive;
    const fd = !allowed ? -sys.Errno.ENODEV : wantsBell ? rings.bell : rings.open();
    if (fd < 0) return link.done(-1, wantsBell ? sys.Errno.ENODEV : -fd, 0);
    link.doneWithFd(fd, true, TokenKind.NOT_OURS);
    if (wantsBell) return;
    sys.close(fd);
    rings.key = this.#key(rings);
    this.#epoll.add(rings.bell, rings.key, EPOLLIN, true);
  }

  #newClient(pid: number, uid: number, manners: Manners): ClientProcess {
    const { memory, lend } = this.#options;
    const user = this.#user(uid);
    const client = new ClientProcess({
      pid,
      user,
      memory,
      lend,
      manners,
      files: this.#files,
      holdPolicy: this.#holdPolicy,
    });
    this.#clients.set(pid, client);
    client.pidfd = sys.pidfdOpen(pid);
    client.space.pidfd = client.pidfd;
    if (client.pidfd >= 0) {
      client.key = this.#key(client);
      this.#endings.add(client.pidfd, client.key, EPOLLIN, false);
    }
    return client;
  }
}

/** Says once what a device has lost, and what would have kept it. */
function holdPolicy({ holdPins, warn }: ServerOptions): HoldPolicy {
  const buffers = holdPins ? HeldBuffers.open() : null;
  if (holdPins && buffers === null) warn('--hold-pins has no effect: io_uring cannot be used here');
  let told = false;
  return {
    buffers,
    lost(at, alive) {
      if (told) return;
      told = true;
      const what = alive ? 'its program has unmapped' : 'belonged to a program that has ended';
      const help =
        buffers === null ? '--hold-pins keeps them' : 'these could not be held (read-only, or too many)';
      warn(
        `a device reached pinned pages at 0x${at.toString(16)} that ${what}, and met an error; Linux keeps them. ${help}`,
      );
    },
  };
}

/** What the request names. */
function askedToken(): number {
  const { view } = inbox;
  return view.getUint32(request.token, true) + view.getUint32(request.token + 4, true) * 2 ** 32;
}

/** Reads a socket's option into {@link credentials}; false when `fd` has no such thing. */
function option(fd: number, name: number, size: number): boolean {
  credentialsLength.view.setUint32(0, size, true);
  return sys.getsockopt(fd, SOL_SOCKET, name, credentials.address, credentialsLength.address) === 0;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function openSpare(): number {
  return sys.open('/dev/null', sys.O_RDONLY | sys.O_CLOEXEC, 0);
}

/** Tells a new connection that there is no room for it. */
function refuse(fd: number): void {
  const link = new Link(fd);
  link.done(-1, sys.Errno.EMFILE, 0);
  link.close();
}
