/**
 * A client process: one program image of one process, shared by the links of its threads. What Linux would check of
 * it (capabilities, RLIMIT_MEMLOCK) is the system's own answer, or what is lent to it.
 */
import { readFileSync } from 'node:fs';
import type { UserAccount } from '../mem/client.js';
import { RLIM_INFINITY, type Capability } from '../mem/task.js';
import { ProcessSpace, type MemoryMode } from './address-space.js';
import type { FileBackings } from './backing.js';
import type { Manners } from './link.js';
import type { HoldPolicy } from './private-backing.js';
import type { Mapping } from './mappings.js';
import { Rings } from './ring.js';
import * as sys from './sys.js';
import type { Token } from './tokens.js';

const capabilityBits: Record<Capability, bigint> = {
  CAP_IPC_LOCK: 1n << 14n,
  CAP_SYS_RAWIO: 1n << 17n,
  CAP_SYS_RESOURCE: 1n << 24n,
};

/** What a client is made with. */
export interface ClientTraits {
  readonly pid: number;
  readonly user: UserAccount;
  readonly memory: MemoryMode;
  readonly files: FileBackings;
  /** True: the client has the privileges that it says it was lent. */
  readonly lend: boolean;
  readonly manners: Manners;
  readonly holdPolicy: HoldPolicy;
}

let lastCookie = 0;

export class ClientProcess {
  readonly pid: number;
  /** What the threads of this image show to be taken as one. */
  readonly cookie = ++lastCookie;
  readonly space: ProcessSpace;
  readonly user: UserAccount;
  /** Tokens that this process was given or has shown, by name. */
  readonly proven = new Map<number, Token>();
  /** Live mappings of engine memory in it, by id, with how many there are of each. */
  readonly mappings = new Map<number, { readonly mapping: Mapping; count: number }>();
  /** Points left before one fails, by tid: /proc/PID/task/TID/fail-nth. Only armed tasks are in it. */
  readonly failNth = new Map<number, number>();
  /** Whether it answers; what an earlier image of the process did counts. */
  readonly manners: Manners;
  readonly rings = new Rings();
  /** Readable once the process is dead; -1 where the kernel has none. */
  pidfd = -1;
  key = -1;
  readonly #lend: boolean;
  #effective: bigint | null = null;
  #memlock = RLIM_INFINITY;
  #lentMemlock = RLIM_INFINITY;

  constructor(traits: ClientTraits) {
    this.pid = traits.pid;
    this.user = traits.user;
    this.#lend = traits.lend;
    this.manners = traits.manners;
    this.space = new ProcessSpace(traits.pid, traits.memory, traits.files, traits.holdPolicy);
  }

  /** The program changed what it may do: what it holds of the loan, or only that the system has to be asked again. */
  privilegesChanged(capabilities: bigint, memlock: bigint): void {
    this.#effective = this.#lend ? capabilities : null;
    this.#lentMemlock = memlock;
  }

  capable(capability: Capability): boolean {
    this.#effective ??= effectiveCapabilities(this.pid);
    return (this.#effective & capabilityBits[capability]) !== 0n;
  }

  /** Soft RLIMIT_MEMLOCK, bytes; after the process is gone, what it was last. */
  get memlockLimit(): bigint {
    if (this.#lend && this.#lentMemlock !== RLIM_INFINITY) return this.#lentMemlock;
    this.#memlock = sys.memlockLimit(this.pid) ?? this.#memlock;
    return this.#memlock;
  }
}

function effectiveCapabilities(pid: number): bigint {
  try {
    const found = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
    return BigInt(`0x${found?.[1] ?? '0'}`);
  } catch {
    // Gone already: whoever is dead may nothing.
    return 0n;
  }
}
