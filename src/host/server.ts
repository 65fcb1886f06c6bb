/**
 * The engine's loop: one thread, one epoll set, one call at a time, run to its end. Events are taken in the order in
 * which they arose, last closes first, so that a client's call always finds done what its earlier close began.
 */
import { Errno as Refusal } from '../base/errno.js';
import type { UserAccount } from '../mem/client.js';
import type { ForeignFile, OpenFile } from '../mem/task.js';
import type { MemoryMode } from './address-space.js';
import { Call, type Descriptors } from './call.js';
import { ClientProcess } from './client.js';
import { Epoll, EPOLLHUP, EPOLLIN, EPOLLRDHUP } from './epoll.js';
import { inbox, Link } from './link.js';
import { Op, PROTOCOL_VERSION, request, TokenKind } from './protocol.js';
import * as sys from './sys.js';
import { mint, Token } from './tokens.js';

/** What the server needs of the engine; `src/machine/engine.ts` is one. */
export interface ServedEngine {
  open(path: string, flags: number, task: Call): OpenFile;
}

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SOCK_CLOEXEC_NONBLOCK = 0o2004000 & ~sys.O_NONBLOCK;
const KEY_LISTEN = 0;
const KEY_WAKE = 1;

interface Conversation {
  readonly link: Link;
  readonly pid: number;
  readonly uid: number;
  readonly key: number;
  call: Call | null;
}

type Watched = Conversation | Token | ClientProcess;

const credentials = sys.allocate(16);
const credentialsLength = sys.allocate(8);
const decoder = new TextDecoder();

export class Server implements Descriptors {
  readonly #epoll = new Epoll();
  readonly #listener: number;
  readonly #engine: ServedEngine;
  readonly #mode: MemoryMode;
  /** By epoll key. */
  readonly #watched = new Map<number, Watched>();
  readonly #tokens = new Map<number, Token>();
  readonly #clients = new Map<number, ClientProcess>();
  readonly #users = new Map<number, UserAccount>();
  #lastKey = KEY_WAKE;
  #running = true;

  constructor(engine: ServedEngine, listener: number, wake: number, mode: MemoryMode) {
    this.#engine = engine;
    this.#listener = listener;
    this.#mode = mode;
    this.#epoll.add(listener, KEY_LISTEN, EPOLLIN, false);
    this.#epoll.add(wake, KEY_WAKE, EPOLLIN, false);
  }

  /** Serves until the wake descriptor is readable. */
  run(): void {
    while (this.#running) {
      const count = this.#epoll.wait(-1);
      for (let i = 0; i < count; i++) this.#releaseIfToken(this.#epoll.key(i));
      for (let i = 0; i < count; i++) this.#handle(this.#epoll.key(i), this.#epoll.events(i));
    }
  }

  install(call: Call, file: OpenFile, cloexec: boolean): number | null {
    const minted = mint(file, sys.O_RDWR);
    if (typeof minted === 'number') return null;
    this.#adopt(minted.token, call.client);
    const fd = call.link.give(minted.clientEnd, cloexec);
    sys.close(minted.clientEnd);
    return fd < 0 ? null : fd;
  }

  find(call: Call, fd: number): OpenFile | ForeignFile | null {
    const taken = call.link.take(fd);
    if (taken < 0) return null;
    const status = sys.fstat(taken);
    sys.close(taken);
    return status === null ? null : (this.#tokens.get(Number(status.ino))?.file ?? null);
  }

  #key(watched: Watched): number {
    this.#lastKey += 1;
    this.#watched.set(this.#lastKey, watched);
    return this.#lastKey;
  }

  #adopt(token: Token, client: ClientProcess): void {
    this.#tokens.set(token.inode, token);
    client.proven.set(token.inode, token);
    token.watch(this.#epoll, this.#key(token));
  }

  #releaseIfToken(key: number): void {
    const token = this.#watched.get(key);
    if (!(token instanceof Token)) return;
    this.#watched.delete(key);
    this.#tokens.delete(token.inode);
    for (const client of this.#clients.values()) client.proven.delete(token.inode);
    token.close();
    token.file.release();
  }

  #handle(key: number, events: number): void {
    if (key === KEY_LISTEN) return this.#accept();
    if (key === KEY_WAKE) {
      this.#running = false;
      return;
    }
    const watched = this.#watched.get(key);
    if (watched === undefined || watched instanceof Token) return;
    if (watched instanceof ClientProcess) return this.#retire(watched);
    this.#converse(watched, (events & (EPOLLHUP | EPOLLRDHUP)) !== 0);
  }

  #accept(): void {
    const fd = sys.accept4(this.#listener, 0, 0, SOCK_CLOEXEC_NONBLOCK);
    if (fd < 0) return;
    credentialsLength.view.setUint32(0, 12, true);
    sys.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials.address, credentialsLength.address);
    const pid = credentials.view.getInt32(0, true);
    const uid = credentials.view.getUint32(4, true);
    const key = this.#lastKey + 1;
    const link = new Link(fd);
    this.#key({ link, pid, uid, key, call: null });
    this.#epoll.add(fd, key, EPOLLIN | EPOLLRDHUP, true);
  }

  #converse(conversation: Conversation, ending: boolean): void {
    const { link } = conversation;
    let length: number;
    do {
      length = link.receive();
      if (length > 0) this.#request(conversation, length);
    } while (length > 0 && ending && !link.broken);
    if (length < 0 || ending || link.broken) {
      this.#watched.delete(conversation.key);
      link.close();
    }
  }

  #request(conversation: Conversation, length: number): void {
    const op = inbox.view.getUint32(request.op, true);
    if (op === Op.HELLO) return this.#hello(conversation);
    const { call } = conversation;
    if (call === null) {
      conversation.link.broken = true;
      return;
    }
    call.client.space.caller = call.link;
    try {
      this.#perform(call, op, length);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      call.link.done(-1, error.errno, 0);
    }
    call.client.space.caller = null;
  }

  #hello(conversation: Conversation): void {
    const { view } = inbox;
    if (view.getUint32(request.cmd, true) !== PROTOCOL_VERSION) {
      conversation.link.broken = true;
      return;
    }
    const cookie = Number(view.getBigUint64(request.arg, true));
    let client = this.#clients.get(conversation.pid);
    if (client === undefined || client.cookie !== cookie) {
      if (client !== undefined) this.#retire(client);
      client = this.#newClient(conversation.pid, conversation.uid);
    }
    conversation.call = new Call(conversation.link, client, this);
    conversation.link.done(client.cookie, 0, 0, process.pid);
  }

  #newClient(pid: number, uid: number): ClientProcess {
    let user = this.#users.get(uid);
    if (user === undefined) this.#users.set(uid, (user = { lockedVm: 0 }));
    const client = new ClientProcess(pid, user, this.#mode);
    this.#clients.set(pid, client);
    client.pidfd = sys.pidfdOpen(pid);
    if (client.pidfd >= 0) {
      client.key = this.#key(client);
      this.#epoll.add(client.pidfd, client.key, EPOLLIN, false);
    }
    return client;
  }

  #retire(client: ClientProcess): void {
    client.space.retire();
    if (client.pidfd >= 0) sys.close(client.pidfd);
    this.#watched.delete(client.key);
    if (this.#clients.get(client.pid) === client) this.#clients.delete(client.pid);
  }

  #perform(call: Call, op: number, length: number): void {
    const { view } = inbox;
    if (op === Op.OPEN) return this.#open(call, length);
    if (op === Op.IDENTIFY) return this.#identify(call);
    const token = this.#tokenOf(call);
    if (token === null || token.poisoned) return call.link.done(-1, sys.Errno.ENODEV, 0);
    const arg = view.getBigUint64(request.arg, true);
    const count = Number(view.getBigUint64(request.count, true));
    call.begin(arg, op === Op.IOCTL || op === Op.READ);
    let result = 0;
    if (op === Op.IOCTL) result = token.file.ioctl(view.getUint32(request.cmd, true), arg, call);
    else if (op === Op.READ) result = token.file.read(arg, count, call);
    else if (op === Op.WRITE) result = token.file.write(arg, count, call);
    call.link.done(result, 0, call.deferred);
  }

  #open(call: Call, length: number): void {
    const path = decoder.decode(inbox.bytes.subarray(request.size, length));
    const flags = inbox.view.getUint32(request.cmd, true);
    call.begin(0n, false);
    const minted = mint(this.#engine.open(path, flags, call), flags);
    if (typeof minted === 'number') return call.link.done(-1, -minted, 0);
    this.#adopt(minted.token, call.client);
    call.link.doneWithFd(minted.clientEnd, (flags & sys.O_CLOEXEC) !== 0);
    sys.close(minted.clientEnd);
  }

  /** The token that the request names, if this client holds it: asked to show it the first time. */
  #tokenOf(call: Call): Token | null {
    const inode = Number(inbox.view.getBigUint64(request.token, true));
    const known = call.client.proven.get(inode);
    if (known !== undefined) return known;
    const taken = call.link.take(inbox.view.getInt32(request.fd, true));
    if (taken < 0) return null;
    const status = sys.fstat(taken);
    sys.close(taken);
    const token =
      status === null || sys.fileType(status) !== sys.S_IFIFO
        ? undefined
        : this.#tokens.get(Number(status.ino));
    if (token === undefined) return null;
    call.client.proven.set(token.inode, token);
    return token;
  }

  #identify(call: Call): void {
    const inode = Number(inbox.view.getBigUint64(request.token, true));
    const token = this.#tokenOf(call);
    call.link.done(token?.inode === inode ? token.kind : TokenKind.NOT_OURS, 0, 0);
  }
}
