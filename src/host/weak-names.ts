/**
 * Names for open files that are not held: whoever holds one keeps what is behind it alive, so a machine would not end
 * when its program lets go of it. A file without an inode of its own is an anonymous one, and all of these share one
 * inode. A lock that belongs to the open file (F_OFD_SETLK) is as good as a name: it lies at one place of that inode, any
 * other open file there meets it, the file itself does not, and it goes with the last descriptor, whoever has it.
 * Nobody else looks at locks of that inode.
 */
import * as sys from './sys.js';

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_WRLCK = 1;
const F_UNLCK = 2;
/** Offsets within struct flock. */
const L_TYPE = 0;
const L_START = 8;
const L_LEN = 16;
const L_PID = 24;
const NAMES = 2 ** 52;
/** Places to try, where others may have put names of theirs. */
const TRIES = 16;

const flock = sys.allocate(32);

function askLock(fd: number, cmd: number, name: number): boolean {
  const { view } = flock;
  // With it l_whence, which is SEEK_SET.
  view.setUint32(L_TYPE, F_WRLCK, true);
  view.setUint32(L_START, name % 2 ** 32, true);
  view.setUint32(L_START + 4, name / 2 ** 32, true);
  view.setUint32(L_LEN, 1, true);
  view.setUint32(L_LEN + 4, 0, true);
  view.setInt32(L_PID, 0, true);
  return sys.fcntlAt(fd, cmd, flock.address) >= 0;
}

/** Whether an open file other than that of `fd` has the lock. */
function isLockedFor(fd: number, name: number): boolean {
  return askLock(fd, F_OFD_GETLK, name) && flock.view.getInt16(L_TYPE, true) !== F_UNLCK;
}

export class WeakNames {
  /** An anonymous file of ours, to look from. */
  readonly #witness = sys.eventfd(0, sys.O_CLOEXEC);
  #last = Math.floor(Math.random() * NAMES);

  /** Names the file of `fd`; null where that cannot be. */
  give(fd: number): number | null {
    for (let i = 0; i < TRIES; i++) {
      this.#last = (this.#last + 1) % NAMES;
      if (!askLock(fd, F_OFD_SETLK, this.#last)) continue;
      return this.isOpen(this.#last) ? this.#last : null;
    }
    return null;
  }

  /** Whether the file of that name has a descriptor anywhere. */
  isOpen(name: number): boolean {
    return isLockedFor(this.#witness, name);
  }

  /** Whether the file of `fd` has that name. */
  isNamed(fd: number, name: number): boolean {
    return this.isOpen(name) && !isLockedFor(fd, name);
  }

  close(): void {
    sys.close(this.#witness);
  }
}
