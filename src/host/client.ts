/** A client process: one program image of one process, shared by the links of its threads. */
import type { UserAccount } from '../mem/client.js';
import { ProcessSpace, type MemoryMode } from './address-space.js';
import type { Token } from './tokens.js';

let lastCookie = 0;

export class ClientProcess {
  readonly pid: number;
  /** What the threads of this image show to be taken as one. */
  readonly cookie = ++lastCookie;
  readonly space: ProcessSpace;
  readonly user: UserAccount;
  /** Tokens that this process was given or has shown, by inode. */
  readonly proven = new Map<number, Token>();
  /** Readable once the process is dead; -1 where the kernel has none. */
  pidfd = -1;
  key = -1;

  constructor(pid: number, user: UserAccount, mode: MemoryMode) {
    this.pid = pid;
    this.user = user;
    this.space = new ProcessSpace(pid, mode);
  }
}
