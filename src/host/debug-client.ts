/**
 * Asks a daemon for one of its files below DEBUG_ROOT, as a program under the shim would: a connection, HELLO, OPEN, and
 * the descriptor that comes back.
 */
import { closeSync, readFileSync } from 'node:fs';
import { answer, DEBUG_ROOT, Flag, Op, PROTOCOL_VERSION, request, Verb } from './protocol.js';
import * as sys from './sys.js';

/** Thrown where the daemon cannot be asked; the message says why. */
export class DaemonError extends Error {
  override readonly name = 'DaemonError';
}

const AF_UNIX = 1;
const SOCK_SEQPACKET_CLOEXEC = 5 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SCM_RIGHTS = 1;
const POLLIN = 1;
/** A daemon that is busy with another call answers when that is over. */
const PATIENCE_MS = 10_000;
/** Bytes of `sun_path`, with its end. */
const PATH_ROOM = 108;
const CONTROL_LENGTH = 20;

/** The text of the file `name`; null: the daemon has none of that name. */
export function readDebugFile(socket: string, name: string): string | null {
  const fd = connect(socket);
  try {
    const path = new TextEncoder().encode(`${DEBUG_ROOT}/${name}`);
    const hello = { op: Op.HELLO, cmd: PROTOCOL_VERSION, count: process.pid, tail: new Uint8Array() };
    if (exchange(fd, hello).error !== 0) throw new DaemonError(`the daemon at ${socket} lets nobody in`);
    const opened = exchange(fd, { op: Op.OPEN, cmd: sys.O_CLOEXEC, count: 0, tail: path });
    if (opened.fd < 0) return null;
    try {
      return readFileSync(opened.fd, 'utf8');
    } finally {
      closeSync(opened.fd);
    }
  } finally {
    sys.close(fd);
  }
}

function connect(socket: string): number {
  const path = new TextEncoder().encode(socket);
  if (path.length >= PATH_ROOM) throw new DaemonError(`a socket's path has at most ${PATH_ROOM - 1} bytes`);
  const address = sys.allocate(PATH_ROOM + 2);
  address.bytes.fill(0);
  address.view.setUint16(0, AF_UNIX, true);
  address.bytes.set(path, 2);
  const fd = sys.socket(AF_UNIX, SOCK_SEQPACKET_CLOEXEC, 0);
  const connected = fd < 0 ? fd : sys.connect(fd, address.address, 2 + path.length + 1);
  if (connected >= 0) return fd;
  if (fd >= 0) sys.close(fd);
  throw new DaemonError(`no daemon at ${socket}`);
}

interface Request {
  readonly op: number;
  readonly cmd: number;
  readonly count: number;
  /** What follows the head. */
  readonly tail: Uint8Array;
}

/** Sends a request and waits for the end of the call; `fd` is -1 where none came. */
function exchange(socket: number, { op, cmd, count, tail }: Request): { error: number; fd: number } {
  const out = sys.allocate(request.size + tail.length);
  out.bytes.fill(0);
  out.view.setUint32(request.op, op, true);
  out.view.setUint32(request.cmd, cmd, true);
  out.view.setBigUint64(request.count, BigInt(count), true);
  out.view.setInt32(request.fd, -1, true);
  out.view.setUint32(request.carried, tail.length, true);
  out.bytes.set(tail, request.size);
  if (sys.send(socket, out.address, out.bytes.length, MSG_NOSIGNAL) < 0) throw lost();
  return receive(socket);
}

function receive(socket: number): { error: number; fd: number } {
  const polled = sys.allocate(8);
  polled.view.setInt32(0, socket, true);
  polled.view.setInt16(4, POLLIN, true);
  if (sys.poll(polled.address, 1, PATIENCE_MS) <= 0) throw new DaemonError('the daemon does not answer');
  const room = sys.allocate(answer.size);
  const control = sys.allocate(CONTROL_LENGTH + 4);
  const vector = sys.allocate(16);
  const message = sys.allocate(56);
  vector.view.setBigUint64(0, BigInt(room.address), true);
  vector.view.setBigUint64(8, BigInt(answer.size), true);
  message.bytes.fill(0);
  message.view.setBigUint64(16, BigInt(vector.address), true);
  message.view.setBigUint64(24, 1n, true);
  message.view.setBigUint64(32, BigInt(control.address), true);
  message.view.setBigUint64(40, BigInt(CONTROL_LENGTH), true);
  if (sys.recvmsg(socket, message.address, MSG_CMSG_CLOEXEC) !== answer.size) throw lost();
  if (room.view.getUint32(answer.verb, true) !== Verb.DONE) throw lost();
  const hasFd = (room.view.getUint32(answer.flags, true) & Flag.HAS_FD) !== 0;
  const isRights =
    message.view.getUint32(40, true) >= CONTROL_LENGTH && control.view.getInt32(12, true) === SCM_RIGHTS;
  return {
    error: room.view.getInt32(answer.error, true),
    fd: hasFd && isRights ? control.view.getInt32(16, true) : -1,
  };
}

const lost = (): DaemonError => new DaemonError('the daemon has ended');
