/**
 * Page requests of a device (PRI): pages that were missed go out as a group with an index, the last of it marked, and
 * whoever waits for the group is told of the one response. A device has a limit of requests that are out.
 */
import { NO_PASID, type Translator } from '../bus/dma.js';

/** Page request group indices. */
const GROUPS = 512;

/** What is asked for: consecutive pages of one address space. */
export interface MissedPages {
  readonly pasid: number;
  /** First byte of the first page. */
  readonly address: bigint;
  readonly count: number;
  /** DMA_READ | DMA_WRITE | DMA_EXEC | DMA_PRIV. */
  readonly access: number;
}

interface Group {
  readonly pasid: number;
  readonly count: number;
  /** With the response code; null: nobody waits any more. */
  answered: ((code: number) => void) | null;
}

const PAGE = 4096n;

export class PageRequests {
  /** By group index. */
  readonly #groups = new Map<number, Group>();
  #next = 0;
  /** Requests that wait for their response. */
  outstanding = 0;
  /** Requests sent, and responses that nobody had asked for. */
  sent = 0;
  unexpected = 0;

  constructor(
    readonly sourceId: number,
    readonly translator: Translator,
    /** Outstanding page request allocation: how many requests may be out. */
    readonly limit: number,
  ) {}

  /**
   * Sends one group. The answer may come before this returns. False: so many are out already that it has to wait.
   * More pages than may be out at all are not asked for.
   */
  request(pages: MissedPages, answered: (code: number) => void): boolean {
    const count = Math.min(pages.count, this.limit);
    if (this.outstanding + count > this.limit || this.#groups.size === GROUPS) return false;
    while (this.#groups.has(this.#next)) this.#next = (this.#next + 1) % GROUPS;
    const index = this.#next;
    this.#next = (index + 1) % GROUPS;
    this.#groups.set(index, { pasid: pages.pasid, count, answered });
    this.outstanding += count;
    this.sent += count;
    for (let i = 0; i < count; i++) {
      this.translator.pageRequest({
        sourceId: this.sourceId,
        pasid: pages.pasid,
        address: pages.address + BigInt(i) * PAGE,
        access: pages.access,
        group: index,
        last: i === count - 1,
      });
    }
    return true;
  }

  /** Takes the response to a group. */
  respond(pasid: number, index: number, code: number): void {
    const group = this.#groups.get(index);
    // A response may leave out the PASID; one that names another is somebody else's.
    if (group === undefined || (pasid !== NO_PASID && pasid !== group.pasid)) {
      this.unexpected += 1;
      return;
    }
    this.#groups.delete(index);
    this.outstanding -= group.count;
    group.answered?.(code);
  }

  /** Nobody waits for what is out. Indices stay taken until they are answered. */
  abandon(): void {
    for (const group of this.#groups.values()) group.answered = null;
  }
}
