/**
 * The two ends of a token: the client's, and ours, which says when every copy of the other is gone and makes poll say
 * what the file says. A pipe does it for most files. Opened for both directions it never hangs up, though, so a file
 * that is writable while somebody waits to read it is a pseudo-terminal: its slave is hung up when our end closes,
 * however we die. No terminal is ever anybody's controlling one, and all of them are raw.
 */
import { FIRST_TERMINAL } from './protocol.js';
import * as sys from './sys.js';

/** Our end of a token. */
export interface TokenEnd {
  /** To be watched: an error or a hang-up once the client's end has no copy left. */
  readonly fd: number;
  /** Makes the client's end readable, or no longer. */
  show(readable: boolean): void;
}

/** A new token: our end, and the client's, which the caller gives away and closes. */
export interface Ends {
  readonly end: TokenEnd;
  readonly client: number;
}

const ends = sys.allocate(8);
const oneByte = sys.allocate(8);

class PipeEnd implements TokenEnd {
  constructor(readonly fd: number) {}

  show(readable: boolean): void {
    if (readable) sys.write(this.fd, oneByte.address, 1);
    else this.#drain();
  }

  /** Takes the byte out again, by a reader that lives for a moment. */
  #drain(): void {
    const reader = sys.open(`/proc/self/fd/${this.fd}`, sys.O_RDONLY | sys.O_NONBLOCK | sys.O_CLOEXEC, 0);
    if (reader < 0) return;
    sys.read(reader, oneByte.address, 8);
    sys.close(reader);
  }
}

/** A pipe whose client's end is opened with `flags`; -errno when there is no descriptor left. */
export function openPipe(flags: number): Ends | number {
  const made = sys.pipe2(ends.address, sys.O_CLOEXEC | sys.O_NONBLOCK);
  if (made < 0) return made;
  const reader = ends.view.getInt32(0, true);
  const end = ends.view.getInt32(4, true);
  // A second open, because the client must not share the status flags of our own end, and to have it read-write.
  const client = sys.open(`/proc/self/fd/${reader}`, flags | sys.O_CLOEXEC, 0);
  sys.close(reader);
  if (client >= 0) return { end: new PipeEnd(end), client };
  sys.close(end);
  return client;
}

const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;
const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TCFLSH = 0x540b;
const TCIFLUSH = 0;
const TCOFLUSH = 1;
const O_NOCTTY = 0o400;
const POLLIN = 1;
const UTIME_OMIT = 0x3ffffffen;

/** Terminals are few and for everybody on the machine (`/proc/sys/kernel/pty/max`), so this is all we take. */
const MOST_TERMINALS = 512;
/** Names are not used again while anybody could remember them, by another daemon's clients neither. */
const NAMES = 2 ** 47;

const zero = sys.allocate(8);
const termios = sys.allocate(64);
const times = sys.allocate(32);
const pollOne = sys.allocate(8);
let openTerminals = 0;
let lastName = Math.floor(Math.random() * NAMES);

class TerminalEnd implements TokenEnd {
  constructor(readonly fd: number) {}

  /**
   * A slave of our own that lives for a moment: only there can be seen that the byte has arrived, which a kernel thread
   * brings, and only from there is it taken back without waking anybody.
   */
  show(readable: boolean): void {
    if (readable) sys.write(this.fd, oneByte.address, 1);
    const slave = openSlave(this.fd, sys.O_RDWR);
    if (slave < 0) return;
    if (readable) {
      pollOne.view.setInt32(0, slave, true);
      pollOne.view.setUint32(4, POLLIN, true);
      sys.poll(pollOne.address, 1, 0);
      // Waits for the kernel thread, which may not have woken everybody yet; there is nothing left to flush.
      sys.ioctl(this.fd, TCFLSH, TCOFLUSH);
    } else sys.ioctl(slave, TCFLSH, TCIFLUSH);
    sys.close(slave);
  }
}

function openSlave(master: number, flags: number): number {
  return sys.ioctl(master, TIOCGPTPEER, flags | O_NOCTTY | sys.O_CLOEXEC);
}

/** A pseudo-terminal whose slave is opened with `flags` and named; -errno where none can be had. */
export function openTerminal(flags: number): Ends | number {
  if (openTerminals >= MOST_TERMINALS) return -sys.Errno.ENOSPC;
  const master = sys.open('/dev/ptmx', sys.O_RDWR | O_NOCTTY | sys.O_NONBLOCK | sys.O_CLOEXEC, 0);
  if (master < 0) return master;
  const client = setUp(master, flags);
  if (client < 0) {
    sys.close(master);
    return client;
  }
  openTerminals += 1;
  return { end: new TerminalEnd(master), client };
}

function setUp(master: number, flags: number): number {
  const unlocked = sys.ioctl(master, TIOCSPTLCK, zero.address);
  if (unlocked < 0) return unlocked;
  const slave = openSlave(master, flags);
  if (slave < 0) return slave;
  sys.ioctl(master, TCGETS, termios.address);
  // cfmakeraw: c_iflag, c_oflag and c_lflag have nothing that looks at a byte.
  for (const flagsAt of [0, 4, 12]) termios.view.setUint32(flagsAt, 0, true);
  const raw = sys.ioctl(master, TCSETS, termios.address);
  lastName = (lastName + 1) % NAMES;
  times.view.setBigUint64(8, UTIME_OMIT, true);
  times.view.setBigUint64(16, BigInt(FIRST_TERMINAL + lastName), true);
  const named = raw < 0 ? raw : sys.futimens(slave, times.address);
  if (named >= 0) return slave;
  sys.close(slave);
  return named;
}

/** Lets go of our end. */
export function closeEnd(end: TokenEnd): void {
  sys.close(end.fd);
  if (end instanceof TerminalEnd) openTerminals -= 1;
}
